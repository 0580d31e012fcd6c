//! The roots that were made known, kept over restarts: whoever still holds a certificate below one must be understood.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::Secret;
use lateen_identity::TrustBundle;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rotation::{Retired, Rotation};

/// The Secret that holds them.
pub(super) const NAME: &str = "istio-ca-trust";
const KEY: &str = "roots.json";

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// The root, as PEM.
    root: String,
    /// Seconds since 1970 at which it need no longer be trusted; none while it signs.
    until: Option<u64>,
}

/// The roots of an earlier process. One that signed until then is trusted until `issued_until`.
///
/// A Secret that cannot be read is no reason not to start: its loss shortens an overlap at worst.
pub(super) fn read(secret: Option<&Secret>, issued_until: SystemTime) -> Vec<Retired> {
    let Some(bytes) = secret.and_then(|secret| secret.data.as_ref()?.get(KEY)) else { return Vec::new() };
    let entries: Vec<Entry> = match serde_json::from_slice(&bytes.0) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(secret = NAME, field = KEY, %error, "roots of the past cannot be read; left out");
            return Vec::new();
        }
    };
    let mut retired = Vec::new();
    for entry in entries {
        let until = entry.until.map_or(issued_until, |seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let Ok(bundle) = TrustBundle::from_pem(&entry.root) else { continue };
        retired.extend(bundle.certificates().iter().map(|root| Retired { root: root.clone(), until }));
    }
    retired
}

/// The Secret as it should be.
pub(super) fn write(rotation: &Rotation, namespace: &str) -> Value {
    let retired = rotation.retired();
    let entries: Vec<Entry> = rotation
        .trust()
        .certificates()
        .iter()
        .map(|root| {
            let mut bundle = TrustBundle::default();
            bundle.add(root.clone());
            let until = retired.iter().find(|retired| retired.root == *root).map(|retired| retired.until);
            let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
            Entry { root: bundle.to_pem(), until: until.map(seconds) }
        })
        .collect();
    // Strings and numbers only: this cannot fail.
    let text = serde_json::to_string(&entries).unwrap_or_default();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "istio.io/ca-root",
        "metadata": {"name": NAME, "namespace": namespace},
        "stringData": {KEY: text},
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::ByteString;
    use lateen_identity::Authority;

    use super::*;

    #[test]
    fn roots_survive_a_restart() {
        let now = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        let hour = Duration::from_secs(3600);
        let (old, new) = (Authority::create("old", hour).unwrap(), Authority::create("new", hour).unwrap());
        let mut rotation = Rotation::new(Duration::ZERO, Vec::new(), now);
        let old_root = old.certificate().clone();
        let new_root = new.certificate().clone();
        rotation.offer(Arc::new(old), now);
        rotation.issued(now + hour);
        rotation.offer(Arc::new(new), now);
        rotation.step(now);
        let text = write(&rotation, "istio-system")["stringData"][KEY].as_str().unwrap().to_owned();
        let data = [(KEY.to_owned(), ByteString(text.into_bytes()))].into();
        let secret = Secret { data: Some(data), ..Secret::default() };
        let read = read(Some(&secret), now + 2 * hour);
        assert!(read.contains(&Retired { root: old_root, until: now + hour }));
        assert!(read.contains(&Retired { root: new_root, until: now + 2 * hour }));
    }
}
