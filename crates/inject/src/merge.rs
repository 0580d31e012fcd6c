//! Laying one part of a pod over another, as Kubernetes' strategic merge does
//! (<https://kubernetes.io/docs/reference/kubernetes-api/>: "patch strategy: merge on key").

use serde_json::{Map, Value};

/// `$patch: delete` in an item of a list takes the item away, `$patch: replace` in a map takes what was there away.
const DIRECTIVE: &str = "$patch";

/// How the items of a list that have the same key are joined.
enum Join {
    /// Field by field.
    Deep(&'static str),
    /// The upper one takes the place of the lower one: it is one choice among several sources.
    Replace(&'static str),
}

/// Keys by which Kubernetes merges the lists of pods and containers.
fn list_join(field: &str) -> Option<Join> {
    match field {
        "containers" | "initContainers" | "ephemeralContainers" => Some(Join::Deep("name")),
        "env" | "volumes" | "imagePullSecrets" => Some(Join::Replace("name")),
        "ports" => Some(Join::Replace("containerPort")),
        "volumeMounts" => Some(Join::Replace("mountPath")),
        "volumeDevices" => Some(Join::Replace("devicePath")),
        "hostAliases" => Some(Join::Replace("ip")),
        "topologySpreadConstraints" => Some(Join::Replace("topologyKey")),
        _ => None,
    }
}

/// Joins two objects; `over` wins, maps are joined, and lists that have a merge key are joined by it.
pub(crate) fn overlay(base: &mut Map<String, Value>, over: Map<String, Value>) {
    if over.get(DIRECTIVE).and_then(Value::as_str) == Some("replace") {
        base.clear();
    }
    for (field, value) in over.into_iter().filter(|(field, _)| field != DIRECTIVE) {
        match (base.get_mut(&field), value, list_join(&field)) {
            (Some(Value::Object(below)), Value::Object(above), _) => overlay(below, above),
            (Some(Value::Array(below)), Value::Array(above), Some(join)) => merge_list(below, above, &join),
            (_, Value::Null, _) => {}
            (_, Value::Array(items), Some(_)) => {
                let kept = items.into_iter().filter(|item| !is_deletion(item)).collect();
                base.insert(field, Value::Array(kept));
            }
            (_, value, _) => {
                base.insert(field, value);
            }
        }
    }
}

fn is_deletion(item: &Value) -> bool {
    item.get(DIRECTIVE).and_then(Value::as_str) == Some("delete")
}

fn merge_list(below: &mut Vec<Value>, above: Vec<Value>, join: &Join) {
    let (Join::Deep(key) | Join::Replace(key)) = join;
    for item in above {
        let position =
            below.iter().position(|other| other.get(key).is_some() && other.get(key) == item.get(key));
        match (position, item) {
            (Some(at), item) if is_deletion(&item) => {
                below.remove(at);
            }
            (None, item) if is_deletion(&item) => {}
            (Some(at), Value::Object(item)) if matches!(join, Join::Deep(_)) => match below.get_mut(at) {
                Some(Value::Object(other)) => overlay(other, item),
                _ => below.push(Value::Object(item)),
            },
            (Some(at), item) => below[at] = item,
            (None, item) => below.push(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn laid(base: Value, over: Value) -> Value {
        let (Value::Object(mut base), Value::Object(over)) = (base, over) else { panic!("objects") };
        overlay(&mut base, over);
        Value::Object(base)
    }

    #[test]
    fn lists_are_joined_by_their_key_and_others_replaced() {
        let base = json!({ "containers": [
            { "name": "a", "image": "a:1", "args": ["x", "y"], "env": [{ "name": "A", "value": "1" }] },
            { "name": "b" },
        ] });
        let over = json!({ "containers": [
            { "name": "a", "args": ["z"], "env": [{ "name": "A", "valueFrom": {} }, { "name": "B", "value": "2" }] },
            { "name": "c" },
        ] });
        let expected = json!({ "containers": [
            { "name": "a", "image": "a:1", "args": ["z"],
              "env": [{ "name": "A", "valueFrom": {} }, { "name": "B", "value": "2" }] },
            { "name": "b" },
            { "name": "c" },
        ] });
        assert_eq!(laid(base, over), expected);
    }

    #[test]
    fn directives_take_away() {
        let base = json!({ "containers": [{ "name": "a", "resources": { "limits": { "cpu": 1 } } }, { "name": "b" }] });
        let over = json!({ "containers": [
            { "name": "a", "resources": { "$patch": "replace", "requests": {} } },
            { "name": "b", "$patch": "delete" },
            { "name": "never there", "$patch": "delete" },
        ] });
        assert_eq!(
            laid(base, over),
            json!({ "containers": [{ "name": "a", "resources": { "requests": {} } }] })
        );
    }
}
