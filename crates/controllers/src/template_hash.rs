//! The stable name of a pod template (`pod-template-hash`).

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// Label that keeps the ReplicaSets of one Deployment apart.
pub(crate) const LABEL: &str = "pod-template-hash";

/// Kubernetes' alphabet for generated names: no vowels, so no words, and nothing that looks like another.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short hash of a template; `collisions` is counted up where two templates have the same.
pub(crate) fn of(template: &PodTemplateSpec, collisions: i32) -> String {
    // The types write their fields and maps in one order, so equal templates have equal texts.
    let mut text = serde_json::to_vec(template).unwrap_or_default();
    if collisions > 0 {
        text.extend(collisions.to_le_bytes());
    }
    encode(fnv(&text))
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn encode(hash: u32) -> String {
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// Whether two templates are the same but for the hash label that the controller adds.
pub(crate) fn equal(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let bare = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
            labels.remove(LABEL);
        }
        template
    };
    bare(a) == bare(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "a", "image": image }] },
        }))
        .unwrap()
    }

    #[test]
    fn the_hash_is_the_same_for_ever_and_differs_by_template_and_collision() {
        assert_eq!(of(&template("x:1"), 0), of(&template("x:1"), 0));
        assert_ne!(of(&template("x:1"), 0), of(&template("x:2"), 0));
        assert_ne!(of(&template("x:1"), 0), of(&template("x:1"), 1));
        assert!(of(&template("x:1"), 0).bytes().all(|b| ALPHABET.contains(&b)));
    }

    #[test]
    fn the_hash_label_does_not_make_templates_differ() {
        let mut marked = template("x:1");
        marked.metadata.as_mut().unwrap().labels.as_mut().unwrap().insert(LABEL.into(), "abc".into());
        assert!(equal(&marked, &template("x:1")));
        assert!(!equal(&marked, &template("x:2")));
    }
}
