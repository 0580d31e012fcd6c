//! Subsets of a cluster's endpoints by their labels (Envoy, "Load Balancer Subsets").

use serde_json::{Map, Value};

/// Which subsets a cluster has (`lb_subset_config`).
#[derive(Clone, Debug, PartialEq)]
pub struct SubsetConfig {
    /// Which keys make subsets; not empty.
    pub selectors: Vec<SubsetSelector>,
    /// Where a request goes that no subset is there for.
    pub fallback: SubsetFallback,
    /// Labels of the default subset.
    pub default_subset: SubsetMatch,
    /// Localities weigh within subsets.
    pub locality_weight_aware: bool,
    /// The weight of a locality falls with the share of its endpoints that are in the subset.
    pub scale_locality_weight: bool,
    /// Any endpoint where the fallback finds none.
    pub panic_mode_any: bool,
    /// A list of an endpoint's label matches by any of its items.
    pub list_as_any: bool,
    /// Try the variants that a route's `fallback_list` names.
    pub metadata_fallback: bool,
}

/// Keys that make subsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetSelector {
    /// The keys, sorted.
    pub keys: Vec<Box<str>>,
    /// A subset has one endpoint.
    pub single_host: bool,
    /// What replaces the cluster's fallback.
    pub fallback: Option<SelectorFallback>,
}

/// Where a request goes that no subset is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubsetFallback {
    /// Nowhere.
    #[default]
    None,
    /// To any endpoint.
    Any,
    /// To the default subset.
    Default,
}

/// A selector's own fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorFallback {
    /// As a cluster's.
    Plain(SubsetFallback),
    /// To the subset of these keys alone (sorted).
    Keys(Vec<Box<str>>),
}

/// The labels that a request asks for (`metadata_match`, namespace `envoy.lb`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubsetMatch {
    /// Sorted by key; values as JSON, so that texts and numbers differ.
    labels: Vec<(Box<str>, Box<str>)>,
    /// All of them as one text, by which balancers find the subset.
    key: Box<str>,
    /// What to try instead, in order (`fallback_list`).
    variants: Vec<SubsetMatch>,
}

/// The key that lists variants.
const FALLBACK_LIST: &str = "fallback_list";

impl SubsetMatch {
    /// Labels as metadata give them. Values of `fallback_list` are variants, which replace the others.
    pub fn new(labels: &Map<String, Value>) -> Self {
        let mut all = SubsetMatch::of(labels);
        if let Some(Value::Array(variants)) = labels.get(FALLBACK_LIST) {
            let variant = |over: &Value| {
                let mut merged = labels.clone();
                merged.extend(over.as_object().cloned().unwrap_or_default());
                merged.remove(FALLBACK_LIST);
                SubsetMatch::of(&merged)
            };
            all.variants = variants.iter().map(variant).collect();
        }
        all
    }

    fn of(labels: &Map<String, Value>) -> Self {
        let labels = labels.iter().map(|(key, value)| (key.as_str().into(), value.to_string().into()));
        SubsetMatch::sorted(labels.collect())
    }

    fn sorted(mut labels: Vec<(Box<str>, Box<str>)>) -> Self {
        labels.sort();
        // Neither a quoted text nor a number holds a newline; a key with one is told apart by its value's quotes.
        let key = labels.iter().map(|(key, value)| format!("{key:?}={value}\n")).collect::<String>();
        SubsetMatch { labels, key: key.into(), variants: Vec::new() }
    }

    /// The labels, sorted by key.
    pub fn labels(&self) -> &[(Box<str>, Box<str>)] {
        &self.labels
    }

    /// All labels as one text.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What to try instead, in order.
    pub fn variants(&self) -> &[SubsetMatch] {
        &self.variants
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Whether the keys are these (sorted).
    pub fn has_keys(&self, keys: &[Box<str>]) -> bool {
        self.labels.iter().map(|(key, _)| key).eq(keys)
    }

    /// Those of these keys (sorted) alone.
    pub fn only(&self, keys: &[Box<str>]) -> Self {
        let kept = self.labels.iter().filter(|(key, _)| keys.binary_search(key).is_ok());
        SubsetMatch::sorted(kept.cloned().collect())
    }
}

/// A label that an endpoint bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetLabel {
    /// Key.
    pub key: Box<str>,
    /// Value as JSON.
    pub value: Box<str>,
    /// The items of a list, as JSON.
    pub items: Box<[Box<str>]>,
}

impl SubsetLabel {
    /// Labels as metadata give them, sorted by key.
    pub fn all(labels: &Map<String, Value>) -> Box<[SubsetLabel]> {
        let label = |(key, value): (&String, &Value)| {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let items = items.iter().map(|item| item.to_string().into()).collect();
            SubsetLabel { key: key.as_str().into(), value: value.to_string().into(), items }
        };
        let mut all: Vec<_> = labels.iter().map(label).collect();
        all.sort_by(|one, other| one.key.cmp(&other.key));
        all.into()
    }
}

impl SubsetConfig {
    /// Whether an endpoint with these labels is in a subset.
    pub fn includes(&self, wanted: &SubsetMatch, labels: &[SubsetLabel]) -> bool {
        wanted.labels.iter().all(|(key, value)| {
            labels
                .iter()
                .find(|label| label.key == *key)
                .is_some_and(|label| label.value == *value || self.list_as_any && label.items.contains(value))
        })
    }

    /// The selector for these labels.
    pub fn selector(&self, wanted: &SubsetMatch) -> Option<&SubsetSelector> {
        self.selectors.iter().find(|selector| wanted.has_keys(&selector.keys))
    }
}
