//! Objects that change what single proxies get: Telemetries, EnvoyFilters and ProxyConfigs.

use std::collections::HashMap;
use std::sync::Arc;

use super::{World, put};
use crate::envoy_filter::EnvoyFilters;
use crate::telemetry::Telemetries;
use crate::{Change, ConfigKey, EnvoyFilter, Kind, Mesh, Meta, Telemetry};

#[derive(Debug, Default)]
pub(super) struct Tuning {
    telemetries: HashMap<ConfigKey, Arc<Telemetry>>,
    envoy_filters: HashMap<ConfigKey, Arc<EnvoyFilter>>,
    proxy_configs: HashMap<ConfigKey, Arc<lateen_api::ProxyConfig>>,
}

impl Tuning {
    /// Builds the indexes that are out of date.
    pub(super) fn rebuild(&self, mesh: &mut Mesh, is_stale: impl Fn(Kind) -> bool, root: &Arc<str>) {
        if is_stale(Kind::Telemetry) {
            mesh.telemetries = Arc::new(Telemetries::index(self.telemetries.values(), root));
        }
        if is_stale(Kind::EnvoyFilter) {
            mesh.envoy_filters = Arc::new(EnvoyFilters::index(self.envoy_filters.values(), root));
        }
        if is_stale(Kind::ProxyConfig) {
            let mut all: Vec<_> = self.proxy_configs.values().map(|p| (**p).clone()).collect();
            all.sort_by(|a, b| Meta::of(&a.metadata).by_age(&Meta::of(&b.metadata)));
            mesh.proxy_configs = all.into();
        }
    }
}

impl World {
    pub(super) fn put_telemetry(&mut self, object: lateen_api::Telemetry) -> Change {
        let new = Telemetry::new(Meta::of(&object.metadata), object.spec);
        let key = ConfigKey::new(Kind::Telemetry, &*new.meta.namespace, &*new.meta.name);
        let changed = put(&mut self.tuning.telemetries, &key, new);
        self.config(changed, key)
    }

    pub(super) fn put_envoy_filter(&mut self, object: lateen_api::EnvoyFilter) -> Change {
        let new = EnvoyFilter::new(Meta::of(&object.metadata), object.spec);
        let key = ConfigKey::new(Kind::EnvoyFilter, &*new.meta.namespace, &*new.meta.name);
        let changed = put(&mut self.tuning.envoy_filters, &key, new);
        self.config(changed, key)
    }

    pub(super) fn put_proxy_config(&mut self, object: lateen_api::ProxyConfig) -> Change {
        let meta = Meta::of(&object.metadata);
        let key = ConfigKey::new(Kind::ProxyConfig, &*meta.namespace, &*meta.name);
        let known = self.tuning.proxy_configs.get(&key);
        let changed = known.is_none_or(|known| known.spec != object.spec);
        self.tuning.proxy_configs.insert(key.clone(), Arc::new(object));
        self.config(changed, key)
    }

    pub(super) fn remove_tuning(&mut self, key: &ConfigKey) -> Change {
        let removed = match key.kind {
            Kind::Telemetry => self.tuning.telemetries.remove(key).is_some(),
            Kind::ProxyConfig => self.tuning.proxy_configs.remove(key).is_some(),
            _ => self.tuning.envoy_filters.remove(key).is_some(),
        };
        self.config(removed, key.clone())
    }
}
