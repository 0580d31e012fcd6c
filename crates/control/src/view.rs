use std::sync::Arc;

use lateen_generate::ProxyResources;
use lateen_xds::server::Resources;
use lateen_xds::{Encoded, TypeUrl};

/// What a proxy may see, as the ADS protocol reads it.
#[derive(Clone, Debug)]
pub struct View(pub ProxyResources);

impl Resources for View {
    fn get(&self, type_url: TypeUrl, name: &str) -> Option<&Arc<Encoded>> {
        self.0.get(type_url, name)
    }

    fn visit(&self, type_url: TypeUrl, prefix: &str, visitor: &mut dyn FnMut(&Arc<Encoded>)) {
        if prefix.is_empty() {
            self.0.iter(type_url).for_each(visitor);
        } else {
            self.0.with_prefix(type_url, prefix).for_each(visitor);
        }
    }

    fn visit_changed(&self, old: &Self, type_url: TypeUrl, visitor: &mut dyn FnMut(&Arc<str>)) {
        for delta in self.0.diff(&old.0).of(type_url) {
            delta.changed.iter().for_each(|r| visitor(&r.name));
            delta.removed.iter().for_each(&mut *visitor);
        }
    }
}
