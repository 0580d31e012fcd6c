use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::node::{Condition, Document, Entry, Expr, Item, Node, Piece};

/// What a manifest is evaluated with.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// The chart's values.
    pub values: &'a Value,
    /// Name of the release.
    pub release: &'a str,
    /// Namespace of the release.
    pub namespace: &'a str,
    /// Variables that are bound.
    pub locals: BTreeMap<&'static str, Value>,
}

/// What installs, where it is not Helm: `app.kubernetes.io/managed-by`.
pub const SERVICE: &str = "lateen";

impl Scope<'_> {
    /// The object, if it is there.
    pub fn document(&self, document: &Document) -> Option<Value> {
        document.when.as_ref().is_none_or(|when| self.holds(when)).then(|| self.node(&document.node))
    }

    fn get(&self, expr: &Expr) -> Value {
        match expr {
            Expr::Values(path) => lookup(self.values, path),
            Expr::Local(name, path) => self.locals.get(name).map_or(Value::Null, |value| lookup(value, path)),
            Expr::Namespace => self.namespace.into(),
            Expr::Release => self.release.into(),
            Expr::Service => SERVICE.into(),
        }
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Set(expr) => truth(&self.get(expr)),
            Condition::Is(expr, text) => self.get(expr).as_str() == Some(text),
            Condition::Not(inner) => !self.holds(inner),
            Condition::All(all) => all.iter().all(|one| self.holds(one)),
        }
    }

    fn node(&self, node: &Node) -> Value {
        match node {
            Node::Constant(value) => value.clone(),
            Node::Quoted(expr) => plain(&self.get(expr)).into(),
            Node::Scalar(expr) | Node::Tree(expr) => self.get(expr),
            Node::YamlText(expr) => {
                // A tree of JSON always has a form in YAML.
                serde_saphyr::to_string(&self.get(expr)).unwrap_or_default().trim_end().into()
            }
            Node::JsonText(expr) => self.get(expr).to_string().into(),
            Node::Text(pieces) => self.text(pieces).into(),
            Node::Object(entries) => self.object(entries),
            Node::List(items) => self.list(items),
        }
    }

    fn text(&self, pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Plain(text) => (*text).to_owned(),
            Piece::Value(expr) => plain(&self.get(expr)),
            Piece::When(condition, pieces) if self.holds(condition) => self.text(pieces),
            Piece::When(..) => String::new(),
        };
        pieces.iter().map(piece).collect()
    }

    fn object(&self, entries: &[Entry]) -> Value {
        let mut object = Map::new();
        for entry in entries {
            match entry {
                Entry::Field { key, when, node } => {
                    if when.as_ref().is_none_or(|when| self.holds(when)) {
                        object.insert(key.clone(), self.node(node));
                    }
                }
                Entry::Spread(expr) => {
                    if let Value::Object(more) = self.get(expr) {
                        object.extend(more);
                    }
                }
            }
        }
        Value::Object(object)
    }

    fn list(&self, items: &[Item]) -> Value {
        let mut list = Vec::new();
        for item in items {
            match item {
                Item::One { when, node } => {
                    if when.as_ref().is_none_or(|when| self.holds(when)) {
                        list.push(self.node(node));
                    }
                }
                Item::Spread(expr) => {
                    if let Value::Array(more) = self.get(expr) {
                        list.extend(more);
                    }
                }
                Item::Each { map, node } => {
                    for (key, value) in pairs(self.get(map)) {
                        let mut scope = self.clone();
                        scope.locals.insert("key", key);
                        scope.locals.insert("value", value);
                        list.push(scope.node(node));
                    }
                }
            }
        }
        Value::Array(list)
    }
}

/// The entries of a map by key, or of a list by place, as Go's templates walk over them.
pub fn pairs(value: Value) -> Vec<(Value, Value)> {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map.into_iter().collect();
            sorted.into_iter().map(|(key, value)| (key.into(), value)).collect()
        }
        Value::Array(items) => items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect(),
        _ => Vec::new(),
    }
}

/// Whether a value counts as true in Go's templates.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn lookup(value: &Value, path: &str) -> Value {
    let mut names = path.split('.').filter(|name| !name.is_empty());
    let found = names.try_fold(value, |value, name| value.get(name));
    found.cloned().unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::values;

    #[test]
    fn places_are_filled_and_parts_left_out_by_the_values() {
        let values = json!({"a": {"b": 1, "off": false}, "env": {"B": 2, "A": "x"}, "more": {"k": "v"}});
        let scope = Scope { values: &values, release: "r", namespace: "ns", locals: BTreeMap::new() };
        let node = object! {
            "number": Node::Scalar(crate::template::values("a.b")),
            "text": Node::Quoted(crate::template::values("a.b")),
            if (Condition::set("a.off")) "off": 1,
            if (Condition::set("a.off").negated()) "on": 1,
            "name": Node::Text(vec![Piece::Plain("x-"), Piece::Value(Expr::Namespace)]),
            "env": list! { each (super::super::values("env")) object! {
                "name": Node::Quoted(Expr::Local("key", String::new())),
                "value": Node::Quoted(Expr::Local("value", String::new())),
            }, },
            ..(super::super::values("more")),
        };
        let expected = json!({
            "number": 1, "text": "1", "on": 1, "name": "x-ns", "k": "v",
            "env": [{"name": "A", "value": "x"}, {"name": "B", "value": "2"}],
        });
        assert_eq!(scope.node(&node), expected);
        assert_eq!(scope.get(&self::values("a.none.deeper")), Value::Null);
    }
}
