use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::ConfigMap;
use lateen_inject::InjectConfig;

/// How pods are injected: the control plane's own settings, overlaid by the mesh configuration of the moment.
#[derive(Clone, Debug)]
pub struct Injection {
    base: Arc<InjectConfig>,
    now: Arc<ArcSwap<InjectConfig>>,
}

impl Injection {
    /// Starts with the control plane's own settings.
    pub fn new(base: InjectConfig) -> Injection {
        let base = Arc::new(base);
        Injection { now: Arc::new(ArcSwap::new(Arc::clone(&base))), base }
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<InjectConfig> {
        self.now.load_full()
    }

    /// Takes the mesh configuration; one that cannot be read changes nothing.
    pub(super) fn take(&self, map: &ConfigMap) {
        let text = map.data.as_ref().and_then(|data| data.get("mesh")).map_or("{}", String::as_str);
        let mut config = InjectConfig::clone(&self.base);
        match config.overlay_mesh_config(text) {
            Ok(()) => self.now.store(Arc::new(config)),
            Err(error) => tracing::warn!(%error, "injection keeps its last settings"),
        }
    }
}
