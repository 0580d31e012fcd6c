use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::ConfigMap;
use lateen_inject::{InjectConfig, InjectError};

/// How pods are injected: the control plane's own settings, overlaid by the values and the mesh configuration of the
/// moment.
#[derive(Clone, Debug)]
pub struct Injection {
    base: Arc<InjectConfig>,
    texts: Arc<Mutex<Texts>>,
    now: Arc<ArcSwap<InjectConfig>>,
}

/// The last readable overlays.
#[derive(Clone, Debug, Default)]
struct Texts {
    values: Option<String>,
    mesh_config: Option<String>,
}

impl Injection {
    /// Starts with the control plane's own settings.
    pub fn new(base: InjectConfig) -> Injection {
        let base = Arc::new(base);
        Injection { texts: Arc::default(), now: Arc::new(ArcSwap::new(Arc::clone(&base))), base }
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<InjectConfig> {
        self.now.load_full()
    }

    /// Takes the mesh configuration; one that cannot be read changes nothing.
    pub(super) fn take_mesh_config(&self, map: &ConfigMap) {
        self.take(|texts| texts.mesh_config = text(map, "mesh"));
    }

    /// Takes the values of the injector's ConfigMap; such that cannot be read change nothing.
    pub(super) fn take_values(&self, map: &ConfigMap) {
        self.take(|texts| texts.values = text(map, "values"));
    }

    fn take(&self, change: impl FnOnce(&mut Texts)) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = texts.clone();
        change(&mut changed);
        match self.overlaid(&changed) {
            Ok(config) => {
                self.now.store(Arc::new(config));
                *texts = changed;
            }
            Err(error) => tracing::warn!(%error, "injection keeps its last settings"),
        }
    }

    fn overlaid(&self, texts: &Texts) -> Result<InjectConfig, InjectError> {
        let mut config = InjectConfig::clone(&self.base);
        if let Some(values) = &texts.values {
            config.overlay_values(values)?;
        }
        if let Some(mesh_config) = &texts.mesh_config {
            config.overlay_mesh_config(mesh_config)?;
        }
        Ok(config)
    }
}

fn text(map: &ConfigMap, key: &str) -> Option<String> {
    map.data.as_ref()?.get(key).filter(|text| !text.trim().is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(key: &str, text: &str) -> ConfigMap {
        ConfigMap { data: Some([(key.to_owned(), text.to_owned())].into()), ..ConfigMap::default() }
    }

    #[test]
    fn overlays_are_joined_and_broken_ones_leave_what_was() {
        let injection = Injection::new(InjectConfig::default());
        injection.take_values(&map("values", "global: {network: n1}"));
        injection.take_mesh_config(&map("mesh", "trustDomain: example.org"));
        injection.take_values(&map("values", "global: {network: [1]}"));
        let config = injection.config();
        assert_eq!((&*config.network, &*config.trust_domain), ("n1", "example.org"));
    }
}
