//! Sets of fields, in memory and in the form of `fieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{ListType, Node, Type};

/// Metadata that nobody owns.
const UNOWNED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "resourceVersion",
    "generation",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
];

/// A set of fields: a tree whose edges are `f:name`, `k:{...}` (an item of a list by its keys) or `v:...` (a value in
/// a set).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Whether this place itself is in the set.
    member: bool,
    children: BTreeMap<String, Fields>,
}

impl Fields {
    fn leaf() -> Self {
        Self { member: true, children: BTreeMap::new() }
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Reads `fieldsV1`.
    pub fn parse(value: &Value) -> Self {
        let Some(map) = value.as_object() else {
            return Self::leaf();
        };
        let children: BTreeMap<String, Self> = map
            .iter()
            .filter(|(key, _)| *key != ".")
            .map(|(key, value)| (key.clone(), Self::parse(value)))
            .collect();
        Self { member: map.contains_key(".") || children.is_empty(), children }
    }

    /// Writes `fieldsV1`.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        map.extend(self.children.iter().map(|(key, child)| (key.clone(), child.to_value())));
        Value::Object(map)
    }

    /// What is in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(key, child)| {
            let common = child.intersection(other.children.get(key)?);
            (!common.is_empty()).then(|| (key.clone(), common))
        });
        Self { member: self.member && other.member, children: children.collect() }
    }

    /// What is in this set and not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(key, child)| {
            let left = other.children.get(key).map_or_else(|| child.clone(), |o| child.difference(o));
            (!left.is_empty()).then(|| (key.clone(), left))
        });
        Self { member: self.member && !other.member, children: children.collect() }
    }

    /// What is in either set.
    pub fn union(mut self, other: &Self) -> Self {
        self.member |= other.member;
        for (key, child) in &other.children {
            let own = self.children.remove(key).unwrap_or_default();
            self.children.insert(key.clone(), own.union(child));
        }
        self
    }

    /// Leaves out places that have fields of their own, and those of list items.
    pub fn drop_items(&mut self) {
        for (key, child) in &mut self.children {
            child.drop_items();
            if key.starts_with("k:") || !child.children.is_empty() {
                child.member = false;
            }
        }
        self.children.retain(|_, child| !child.is_empty());
    }

    /// Leaves out places below which the other set has fields.
    pub fn spare_parents_of(&mut self, other: &Self) {
        for (key, child) in &mut self.children {
            if let Some(kept) = other.children.get(key) {
                child.member &= kept.children.is_empty();
                child.spare_parents_of(kept);
            }
        }
        self.children.retain(|_, child| !child.is_empty());
    }

    /// The part below an edge.
    pub fn child(&self, key: &str) -> Option<&Self> {
        self.children.get(key)
    }

    /// The edges, with what lies below.
    pub fn children(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.children.iter().map(|(key, child)| (key.as_str(), child))
    }

    /// Whether this place itself is in the set.
    pub fn is_member(&self) -> bool {
        self.member
    }

    /// The places in the set, as paths that users read: `.spec.ports[port=80].name`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.member && !prefix.is_empty() {
            paths.push(prefix.to_owned());
        }
        for (key, child) in &self.children {
            child.collect(&format!("{prefix}{}", shown(key)), paths);
        }
    }
}

fn shown(edge: &str) -> String {
    match edge.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let pairs = keys.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
            format!("[{}]", pairs.collect::<Vec<_>>().join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        _ => format!("[{edge}]"),
    }
}

/// The edge to a list's item: its keys, or its value in a set. None in lists that are owned as a whole.
pub fn edge(list: &ListType, items: Option<&Node>, item: &Value) -> Option<String> {
    match list {
        ListType::Atomic => None,
        ListType::Set => Some(format!("v:{item}")),
        ListType::Map(keys) => {
            // Kubernetes sorts the keys.
            let mut found: BTreeMap<&str, Value> = BTreeMap::new();
            for key in keys {
                let default = items.and_then(|n| n.field(key)).and_then(|n| n.default.as_deref().cloned());
                let value = item.get(&**key).cloned().or(default);
                let value = value.or_else(|| (&**key == "protocol").then(|| "TCP".into()));
                if let Some(value) = value {
                    found.insert(key, value);
                }
            }
            let map: Map<String, Value> = found.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            Some(format!("k:{}", Value::Object(map)))
        }
    }
}

/// Whether an object's fields are owned one by one.
pub fn granular(node: Option<&Node>) -> bool {
    node.is_none_or(|n| !n.atomic && matches!(n.kind, Type::Object | Type::Map | Type::Any))
}

/// The schema of a field.
pub fn below<'a>(node: Option<&'a Node>, key: &str) -> Option<&'a Node> {
    node.and_then(|n| n.field(key).or(n.items.as_ref())).map(AsRef::as_ref)
}

fn owned(depth: usize, parent: &str, key: &str) -> bool {
    match depth {
        0 => !matches!(key, "apiVersion" | "kind"),
        1 if parent == "metadata" => !UNOWNED.contains(&key),
        _ => true,
    }
}

/// The fields that an object sets.
pub fn of(node: &Node, object: &Value) -> Fields {
    changed(node, None, object)
}

/// The fields whose values differ from the old object's, or are new.
pub fn changed(node: &Node, old: Option<&Value>, new: &Value) -> Fields {
    walk(Some(node), old, new, Place::root(node, false))
}

/// As [`changed`]; objects and lists that are new count themselves, as in Kubernetes' entries of updates.
pub fn written(node: &Node, old: Option<&Value>, new: &Value) -> Fields {
    walk(Some(node), old, new, Place::root(node, true))
}

/// Parts that Kubernetes' built-in objects always have: writing into them does not make them.
const ALWAYS: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "template",
    "strategy",
    "updateStrategy",
    "jobTemplate",
    "containers",
    "loadBalancer",
];

/// Where a walk is.
#[derive(Clone, Copy)]
struct Place<'a> {
    depth: usize,
    /// The field's name.
    parent: &'a str,
    /// Whether objects and lists count themselves.
    parents: bool,
    /// Whether all around is new.
    whole: bool,
    /// Whether the object is of a custom kind.
    custom: bool,
}

impl Place<'_> {
    fn root(node: &Node, parents: bool) -> Self {
        // Built-in types have names.
        Place { depth: 0, parent: "", parents, whole: false, custom: node.name.is_empty() }
    }

    /// Whether an object or list at this place counts itself.
    fn counts(self, old: Option<&Value>) -> bool {
        let always =
            !self.whole && (self.parent == "metadata" || !self.custom && ALWAYS.contains(&self.parent));
        self.parents && self.depth > 0 && old.is_none() && !always
    }
}

fn walk(node: Option<&Node>, old: Option<&Value>, new: &Value, place: Place<'_>) -> Fields {
    let Place { depth, parent, .. } = place;
    if old == Some(new) {
        return Fields::default();
    }
    match new {
        Value::Object(map) if granular(node) && (!map.is_empty() || depth == 0) => {
            let mut fields = Fields::default();
            let counts = place.counts(old);
            let old = old.and_then(Value::as_object);
            for (key, value) in map.iter().filter(|(key, _)| owned(depth, parent, key)) {
                let place = Place { depth: depth + 1, parent: key, ..place };
                let child = walk(below(node, key), old.and_then(|o| o.get(key)), value, place);
                if !child.is_empty() {
                    fields.children.insert(format!("f:{key}"), child);
                }
            }
            fields.member = counts && !fields.children.is_empty();
            fields
        }
        Value::Array(list) if !list.is_empty() && node.is_some_and(|n| n.list != ListType::Atomic) => {
            let Some(node) = node else { return Fields::leaf() };
            let items = node.items.as_deref();
            let before = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let mut fields = Fields { member: place.counts(old), ..Fields::default() };
            for item in list {
                let Some(edge) = edge(&node.list, items, item) else { continue };
                let same = before.iter().find(|b| self::edge(&node.list, items, b).as_deref() == Some(&edge));
                let mut child = if node.list == ListType::Set {
                    Fields::default()
                } else {
                    let whole = place.whole || same.is_none();
                    walk(items, same, item, Place { depth: depth + 1, parent: "", whole, ..place })
                };
                child.member = same.is_none();
                if !child.is_empty() {
                    fields.children.insert(edge, child);
                }
            }
            fields
        }
        _ => Fields::leaf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::trace::Tracer;
    use serde_json::json;

    #[test]
    fn fields_of_a_deployment_read_as_in_kubernetes() {
        let node = Tracer::default().trace::<k8s_openapi::api::apps::v1::Deployment>();
        let object = json!({"apiVersion": "apps/v1", "metadata": {"name": "d", "labels": {"a": "b"}},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "args": ["x"]}]}}}});
        let fields = of(&node, &object);
        let want = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:template": {"f:spec":
            {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:args": {}, "f:name": {}}}}}}});
        assert_eq!(fields.to_value(), want);
        assert_eq!(Fields::parse(&want), fields);
        assert_eq!(fields.difference(&fields), Fields::default());
        assert!(fields.paths().contains(&".spec.template.spec.containers[name=\"c\"].args".to_owned()));
    }
}
