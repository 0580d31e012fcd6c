//! The annotation in which `kubectl apply` without server-side apply keeps what it applied.
//!
//! Kubernetes keeps it up to date when kubectl goes over to server-side apply, so that one may go back.

use serde_json::{Map, Value};

use crate::object;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// kubectl's own field manager: others opt out by their name.
const KUBECTL: &str = "kubectl";

/// Notes what kubectl applies, where the object has the annotation.
pub fn sync(manager: &str, applied: &Value, object: &mut Value) {
    if manager != KUBECTL || object::at(object, &["metadata", "annotations", ANNOTATION]).is_none() {
        return;
    }
    let mut plain = applied.clone();
    object::remove(&mut plain, &["metadata", "managedFields"]);
    object::remove(&mut plain, &["metadata", "annotations", ANNOTATION]);
    let text = format!("{}\n", sorted(&plain));
    object::map_mut(object, &["metadata", "annotations"]).insert(ANNOTATION.into(), text.into());
}

/// With keys in the order of their names, as Go writes them.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            Value::Object(
                entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_kubectls_own_apply_renews_the_annotation_and_never_adds_it() {
        let applied = json!({"kind": "ConfigMap", "data": {"b": "2", "a": "1"}});
        let old = json!({"metadata": {"annotations": {ANNOTATION: "old"}}});
        let after = |manager: &str, object: &Value| {
            let mut object = object.clone();
            sync(manager, &applied, &mut object);
            object["metadata"]["annotations"][ANNOTATION].clone()
        };
        assert_eq!(after("kubectl", &old), "{\"data\":{\"a\":\"1\",\"b\":\"2\"},\"kind\":\"ConfigMap\"}\n");
        assert_eq!(after("me", &old), "old");
        assert_eq!(after("kubectl", &json!({"metadata": {}})), Value::Null);
    }
}
