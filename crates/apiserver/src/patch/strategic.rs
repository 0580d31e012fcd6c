//! Strategic merge patches: JSON merge patches in which lists of objects merge by a key, with Kubernetes' directives
//! (`$patch`, `$retainKeys`, `$setElementOrder`, `$deleteFromPrimitiveList`).

use serde_json::{Map, Value};

use crate::object;
use crate::schema::{Node, PatchStrategy};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Merges a patch into an object.
///
/// # Errors
/// What is wrong with the patch.
pub fn merge(schema: Option<&Node>, target: &mut Value, patch: &Value) -> Result<(), String> {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            let mut patch = patch.clone();
            patch.shift_remove(PATCH);
            *target = Value::Object(patch);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("Unknown patch type: {other}")),
    }
    let map = object::map_mut(target, &[]);
    if let Some(keep) = patch.get(RETAIN).and_then(Value::as_array) {
        map.retain(|key, _| keep.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let node = schema.and_then(|s| s.field(key).or(s.items.as_ref())).map(AsRef::as_ref);
        field(node, map, key, value, patch)?;
    }
    directives(schema, map, patch);
    Ok(())
}

fn field(
    node: Option<&Node>,
    map: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    match value {
        Value::Null => {
            map.shift_remove(key);
        }
        Value::Object(_) => {
            let target = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            merge(node, target, value)?;
            let deleted = value.get(PATCH).and_then(Value::as_str) == Some("delete");
            if deleted {
                map.shift_remove(key);
            }
        }
        Value::Array(items) => match node.map(|n| &n.patch) {
            Some(PatchStrategy::MergeKey(merge_key)) => {
                let item = node.and_then(|n| n.items.as_deref());
                let target = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                let order = patch.get(&format!("{ORDER}{key}")).and_then(Value::as_array);
                merge_list(item, target, items, merge_key, order)?;
            }
            Some(PatchStrategy::MergeSet) => {
                let target = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                if let Some(target) = target.as_array_mut() {
                    for item in items {
                        if !target.contains(item) {
                            target.push(item.clone());
                        }
                    }
                }
            }
            _ => {
                map.insert(key.to_owned(), value.clone());
            }
        },
        scalar => {
            map.insert(key.to_owned(), scalar.clone());
        }
    }
    Ok(())
}

fn merge_list(
    item: Option<&Node>,
    target: &mut Value,
    patches: &[Value],
    key: &str,
    order: Option<&Vec<Value>>,
) -> Result<(), String> {
    if patches.iter().any(|p| p.get(PATCH).and_then(Value::as_str) == Some("replace")) {
        let kept = patches.iter().filter(|p| p.get(PATCH).is_none()).cloned().collect();
        *target = Value::Array(kept);
        return Ok(());
    }
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Some(list) = target.as_array_mut() else { return Ok(()) };
    for patch in patches {
        let id = patch
            .get(key)
            .ok_or_else(|| format!("map: {patch} does not contain declared merge key: {key}"))?;
        let delete = patch.get(PATCH).and_then(Value::as_str) == Some("delete");
        let position = list.iter().position(|existing| existing.get(key) == Some(id));
        match (position, delete) {
            (Some(_), true) => list.retain(|existing| existing.get(key) != Some(id)),
            (None, true) => {}
            (Some(position), false) => merge(item, &mut list[position], patch)?,
            (None, false) => {
                let mut new = Value::Object(Map::new());
                merge(item, &mut new, patch)?;
                list.push(new);
            }
        }
    }
    if let Some(order) = order {
        sort(list, Some(key), order);
    }
    Ok(())
}

/// Brings the elements that `order` names (by a key, or as they are) into its order; others keep their place behind
/// what they followed.
fn sort(list: &mut Vec<Value>, key: Option<&str>, order: &[Value]) {
    let id = |value: &Value| key.map_or_else(|| Some(value.clone()), |key| value.get(key).cloned());
    let order: Vec<Option<Value>> = order.iter().map(id).collect();
    let mut last = 0;
    let mut ranked: Vec<(usize, Value)> = Vec::with_capacity(list.len());
    for value in list.drain(..) {
        let own = id(&value);
        let rank = own.is_some().then(|| order.iter().position(|o| *o == own)).flatten();
        last = rank.unwrap_or(last);
        ranked.push((last, value));
    }
    ranked.sort_by_key(|(place, _)| *place);
    list.extend(ranked.into_iter().map(|(_, value)| value));
}

/// Directives that stand beside the list they are about.
fn directives(schema: Option<&Node>, map: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        let Some(listed) = value.as_array() else { continue };
        if let Some(field) = key.strip_prefix(DELETE)
            && let Some(list) = map.get_mut(field).and_then(Value::as_array_mut)
        {
            list.retain(|item| !listed.contains(item));
        }
        if let Some(field) = key.strip_prefix(ORDER)
            && let Some(list) = map.get_mut(field).and_then(Value::as_array_mut)
        {
            match schema.and_then(|s| s.field(field)).map(|n| &n.patch) {
                Some(PatchStrategy::MergeKey(id)) => sort(list, Some(id), listed),
                _ => sort(list, None, listed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::trace::Tracer;
    use serde_json::json;

    fn merged(mut target: Value, patch: Value) -> Value {
        let schema = Tracer::default().trace::<k8s_openapi::api::core::v1::Pod>();
        merge(Some(&schema), &mut target, &patch).expect("merges");
        target
    }

    #[test]
    fn containers_merge_by_name_and_keep_the_order_that_is_asked_for() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}],
            "containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}, {"name": "a", "$patch": "delete"}]}});
        let want =
            json!({"spec": {"containers": [{"name": "c", "image": "3"}, {"name": "b", "image": "2"}]}});
        assert_eq!(merged(old, patch), want);
    }

    #[test]
    fn directives_replace_retain_and_delete() {
        let old = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{"key": "a"}]},
            "metadata": {"finalizers": ["x", "y"], "labels": {"a": "1", "b": "2"}}});
        let patch = json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {}}],
            "tolerations": [{"key": "b"}]},
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "labels": {"$patch": "replace", "c": "3"}}});
        let want = json!({"spec": {"volumes": [{"name": "v", "secret": {}}], "tolerations": [{"key": "b"}]},
            "metadata": {"finalizers": ["y"], "labels": {"c": "3"}}});
        assert_eq!(merged(old, patch), want);
    }

    #[test]
    fn a_list_item_without_its_key_is_refused() {
        let mut target = json!({"spec": {}});
        let schema = Tracer::default().trace::<k8s_openapi::api::core::v1::Pod>();
        let patch = json!({"spec": {"containers": [{"image": "x"}]}});
        assert!(merge(Some(&schema), &mut target, &patch).unwrap_err().contains("merge key: name"));
    }
}
