use k8s_openapi::api::core::v1::ConfigMap;
use lateen_identity::TrustBundle;
use serde_json::Value;
use tokio::sync::watch;

/// Further roots that MeshConfig names (`caCertificates`): those of signers outside, and of other meshes.
#[derive(Clone, Debug)]
pub struct MeshRoots {
    now: watch::Sender<Vec<Entry>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    bundle: TrustBundle,
    signers: Vec<String>,
}

impl Default for MeshRoots {
    fn default() -> Self {
        MeshRoots { now: watch::Sender::new(Vec::new()) }
    }
}

impl MeshRoots {
    /// Takes `caCertificates` of the mesh configuration. One that is no certificate is reported and left out.
    pub fn take(&self, map: &ConfigMap) {
        let text = map.data.as_ref().and_then(|data| data.get("mesh")).map_or("{}", String::as_str);
        // What is not YAML is reported where the whole of MeshConfig is read.
        let Ok(mesh) = serde_saphyr::from_str::<Value>(text) else { return };
        let list = mesh.get("caCertificates").and_then(Value::as_array);
        let mut entries = Vec::new();
        for (index, certificate) in list.into_iter().flatten().enumerate() {
            let field = format!("caCertificates[{index}].pem");
            let Some(pem) = certificate.get("pem").and_then(Value::as_str) else {
                tracing::warn!(field, "only certificates in `pem` are supported; left out");
                continue;
            };
            let signers = certificate.get("certSigners").and_then(Value::as_array);
            let signers = signers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            match TrustBundle::from_pem(pem) {
                Ok(bundle) => entries.push(Entry { bundle, signers: signers.collect() }),
                Err(error) => tracing::warn!(field, %error, "mesh configuration: root left out"),
            }
        }
        self.now.send_if_modified(|now| {
            let changed = *now != entries;
            *now = entries;
            changed
        });
    }

    /// All of them.
    pub fn all(&self) -> TrustBundle {
        let mut all = TrustBundle::default();
        self.now.borrow().iter().for_each(|entry| all.extend(&entry.bundle));
        all
    }

    /// Those of one signer.
    pub fn of_signer(&self, signer: &str) -> TrustBundle {
        let mut all = TrustBundle::default();
        let now = self.now.borrow();
        let own = now.iter().filter(|entry| entry.signers.iter().any(|name| name == signer));
        own.for_each(|entry| all.extend(&entry.bundle));
        all
    }

    /// Follows changes.
    pub fn subscribe(&self) -> MeshRootsChanges {
        MeshRootsChanges(self.now.subscribe())
    }
}

/// Changes of the roots.
#[derive(Debug)]
pub struct MeshRootsChanges(watch::Receiver<Vec<Entry>>);

impl MeshRootsChanges {
    /// Resolves at the next change; never when there will be none.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lateen_identity::Authority;

    use super::*;

    #[test]
    fn roots_belong_to_their_signers_and_bad_ones_are_left_out() {
        let root = Authority::create("a", Duration::from_secs(3600)).unwrap();
        let indented = root.certificate_pem().replace('\n', "\n    ");
        let text = format!(
            "caCertificates:\n- pem: nonsense\n- certSigners: [example.com/one]\n  pem: |\n    {indented}\n"
        );
        let map = ConfigMap { data: Some([("mesh".to_owned(), text)].into()), ..ConfigMap::default() };
        let roots = MeshRoots::default();
        roots.take(&map);
        assert!(roots.all().contains(root.certificate()));
        assert!(roots.of_signer("example.com/one").contains(root.certificate()));
        assert!(roots.of_signer("example.com/two").is_empty());
        roots.take(&ConfigMap::default());
        assert!(roots.all().is_empty());
    }
}
