//! What injection takes from the mesh's configuration (Istio's `MeshConfig`).

use serde_json::Value;

use crate::{InjectConfig, InjectError};

impl InjectConfig {
    /// Lays the mesh configuration (YAML) over this configuration: `defaultConfig`, `trustDomain` and
    /// `enablePrometheusMerge`. Everything else in it is not injection's.
    ///
    /// # Errors
    /// The text is no YAML map; nothing is changed then.
    pub fn overlay_mesh_config(&mut self, text: &str) -> Result<(), InjectError> {
        let malformed = |reason: String| InjectError::Pod { field: "MeshConfig".to_owned(), reason };
        let mesh: Value = serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let Value::Object(mesh) = mesh else {
            return Err(malformed("must be a map of MeshConfig's fields".into()));
        };
        if let Some(Value::Object(default_config)) = mesh.get("defaultConfig") {
            self.default_config.clone_from(default_config);
        }
        if let Some(Value::String(trust_domain)) = mesh.get("trustDomain") {
            self.trust_domain.clone_from(trust_domain);
        }
        if let Some(Value::Bool(merge)) = mesh.get("enablePrometheusMerge") {
            self.prometheus_merge = *merge;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meshs_defaults_reach_the_sidecar() {
        let mut config = InjectConfig::default();
        config.overlay_mesh_config("defaultConfig: {concurrency: 1}\ntrustDomain: example.org\n").unwrap();
        assert_eq!(config.default_config["concurrency"], 1);
        assert_eq!(config.trust_domain, "example.org");
        assert!(config.overlay_mesh_config("- a list").is_err());
        assert_eq!(config.trust_domain, "example.org");
    }
}
