//! Dynamic metadata: what filters tell each other, the access log and routes about one request (Envoy's
//! `filter_metadata`), and the matchers that read it.

use super::matcher::StringMatcher;
use serde_json::{Map, Value};
use std::ops::Range;
use std::sync::Arc;

/// Metadata by namespace. An empty one allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Metadata(Vec<(Arc<str>, Map<String, Value>)>);

impl Metadata {
    /// Whether nobody has told anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A namespace.
    pub fn get(&self, namespace: &str) -> Option<&Map<String, Value>> {
        self.0.iter().find(|(name, _)| &**name == namespace).map(|(_, fields)| fields)
    }

    /// Sets one field of a namespace.
    pub fn set(&mut self, namespace: &Arc<str>, key: &str, value: Value) {
        let at = match self.0.iter().position(|(name, _)| name == namespace) {
            Some(at) => at,
            None => {
                self.0.push((namespace.clone(), Map::new()));
                self.0.len() - 1
            }
        };
        self.0[at].1.insert(key.to_owned(), value);
    }

    /// The value at a path of a namespace; none: a step is missing, or leads into what is no object.
    pub fn at<'a>(&self, namespace: &str, path: impl IntoIterator<Item = &'a str>) -> Option<&Value> {
        let mut steps = path.into_iter();
        let first = self.get(namespace)?.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.as_object()?.get(step))
    }
}

/// Matches a value of dynamic metadata (Envoy's `MetadataMatcher`).
#[derive(Clone, Debug)]
pub struct MetadataMatcher {
    /// The namespace.
    pub namespace: Box<str>,
    /// The way to the value; not empty.
    pub path: Box<[Box<str>]>,
    /// What the value must be.
    pub value: ValueMatcher,
    /// Turns the result round.
    pub invert: bool,
}

impl MetadataMatcher {
    /// Whether the metadata has what is asked for.
    pub fn matches(&self, metadata: &Metadata) -> bool {
        let value = metadata.at(&self.namespace, self.path.iter().map(|step| &**step));
        self.value.matches(value) != self.invert
    }
}

/// What a value must be (Envoy's `ValueMatcher`).
#[derive(Clone, Debug)]
pub enum ValueMatcher {
    /// Null. A missing value is none.
    Null,
    /// A number in a range, its end excluded.
    NumberIn(Range<f64>),
    /// That number.
    Number(f64),
    /// A text that matches.
    Text(StringMatcher),
    /// That truth value.
    Bool(bool),
    /// The value is there (`true`), or the match can never succeed (`false`), as in Envoy.
    Present(bool),
    /// A list of which one item matches.
    OneOf(Box<ValueMatcher>),
    /// One of these matches.
    Either(Vec<ValueMatcher>),
}

impl ValueMatcher {
    /// Whether the value is what is asked for; a missing one matches nothing.
    pub fn matches(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return false };
        match self {
            ValueMatcher::Null => value.is_null(),
            ValueMatcher::NumberIn(range) => value.as_f64().is_some_and(|number| range.contains(&number)),
            ValueMatcher::Number(wanted) => value.as_f64() == Some(*wanted),
            ValueMatcher::Text(matcher) => {
                value.as_str().is_some_and(|text| matcher.matches(text.as_bytes()))
            }
            ValueMatcher::Bool(wanted) => value.as_bool() == Some(*wanted),
            ValueMatcher::Present(wanted) => *wanted,
            ValueMatcher::OneOf(item) => {
                value.as_array().is_some_and(|list| list.iter().any(|value| item.matches(Some(value))))
            }
            ValueMatcher::Either(all) => all.iter().any(|matcher| matcher.matches(Some(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(path: &[&str], value: ValueMatcher, invert: bool) -> MetadataMatcher {
        let path = path.iter().map(|step| Box::from(*step)).collect();
        MetadataMatcher { namespace: "jwt".into(), path, value, invert }
    }

    #[test]
    fn a_path_leads_through_objects_alone() {
        let mut metadata = Metadata::default();
        metadata.set(&"jwt".into(), "payload", serde_json::json!({"a": {"b": ["x", "y"]}, "n": 3}));
        let text = |text: &str| ValueMatcher::Text(StringMatcher::exact(text));
        let found = |path: &[&str], value| matcher(path, value, false).matches(&metadata);
        assert!(found(&["payload", "a", "b"], ValueMatcher::OneOf(Box::new(text("y")))));
        assert!(!found(&["payload", "a", "b"], text("y")), "a list is no text");
        assert!(!found(&["payload", "a", "b", "c"], ValueMatcher::Present(true)));
        assert!(found(&["payload", "n"], ValueMatcher::NumberIn(3.0..4.0)));
        assert!(!found(&["payload", "n"], ValueMatcher::NumberIn(1.0..3.0)));
    }

    #[test]
    fn an_inverted_match_holds_where_there_is_nothing() {
        assert!(matcher(&["x"], ValueMatcher::Present(true), true).matches(&Metadata::default()));
    }
}
