use std::collections::HashMap;
use std::sync::Arc;

use lateen_api::networking::envoy_filter::PatchContext;
use lateen_xds::{Encoded, TypeUrl};

use super::PatchIds;

/// Which resource was patched: its type, name and content.
type Key = (TypeUrl, Arc<str>, u64);
/// What came of it; `None` when it was removed.
type Outcome = Option<Arc<Encoded>>;
type Outcomes = HashMap<Key, Outcome>;

/// What patches made of which resource. The same resource stays the same bytes, although maps within messages have no
/// order, and costs nothing the second time.
#[derive(Debug, Default)]
pub(super) struct Memo {
    now: HashMap<(PatchIds, PatchContext), Outcomes>,
    before: HashMap<(PatchIds, PatchContext), Outcomes>,
}

impl Memo {
    /// Forgets what was not asked for since the last step.
    pub fn step(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// The outcomes of some patches.
    pub fn of(&mut self, patches: &PatchIds, context: PatchContext) -> Known<'_> {
        let key = (patches.clone(), context);
        let before = self.before.get(&key);
        Known { before, now: self.now.entry(key).or_default() }
    }

    /// Forgets everything: patches of the same name have another content.
    pub fn clear(&mut self) {
        *self = Memo::default();
    }
}

/// The outcomes of some patches.
pub(super) struct Known<'a> {
    before: Option<&'a Outcomes>,
    now: &'a mut Outcomes,
}

impl Known<'_> {
    /// Patches each resource of a list, or remembers what came of it.
    pub fn each(
        &mut self,
        list: &[Arc<Encoded>],
        patch: impl Fn(&Arc<Encoded>) -> Outcome,
    ) -> Vec<Arc<Encoded>> {
        list.iter().filter_map(|resource| self.one(resource, || patch(resource))).collect()
    }

    /// Patches one resource, or remembers what came of it.
    pub fn one(&mut self, resource: &Arc<Encoded>, patch: impl FnOnce() -> Outcome) -> Outcome {
        let key = (resource.type_url, resource.name.clone(), resource.version);
        let remembered = || self.before.and_then(|before| before.get(&key).cloned()).unwrap_or_else(patch);
        match self.now.get(&key) {
            Some(known) => known.clone(),
            None => {
                let outcome = remembered();
                self.now.insert(key, outcome.clone());
                outcome
            }
        }
    }
}
