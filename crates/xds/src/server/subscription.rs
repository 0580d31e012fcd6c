use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// The name that means every resource of a type.
pub(super) const WILDCARD: &str = "*";

/// What a client wants of one type: everything, names, and whole collections (`<route configuration>/*`).
#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub(super) wildcard: bool,
    names: HashSet<Arc<str>>,
    /// Prefixes with their slash: `9080/`.
    collections: BTreeSet<Box<str>>,
}

/// What a subscribed name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pattern<'a> {
    /// `*`.
    Everything,
    /// `9080/*`, given as `9080/`.
    Collection(&'a str),
    /// One resource.
    Name(&'a str),
}

impl<'a> Pattern<'a> {
    pub(super) fn parse(name: &'a str) -> Pattern<'a> {
        match name.strip_suffix('*') {
            Some("") => Pattern::Everything,
            Some(prefix) if prefix.ends_with('/') => Pattern::Collection(prefix),
            _ => Pattern::Name(name),
        }
    }
}

impl Subscription {
    /// Whether a resource of that name is wanted.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name) || self.in_collection(name)
    }

    fn in_collection(&self, name: &str) -> bool {
        if self.collections.is_empty() {
            return false;
        }
        name.match_indices('/').any(|(slash, _)| self.collections.contains(&name[..=slash]))
    }

    /// Adds one name. Returns whether it is new.
    pub(super) fn insert(&mut self, name: Arc<str>) -> bool {
        self.names.insert(name)
    }

    /// Adds a collection. Returns whether it is new.
    pub(super) fn insert_collection(&mut self, prefix: &str) -> bool {
        self.collections.insert(prefix.into())
    }

    /// Takes one name out.
    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Takes a collection out.
    pub(super) fn remove_collection(&mut self, prefix: &str) {
        self.collections.remove(prefix);
    }

    /// Keeps only the names that the client still lists.
    pub(super) fn retain(&mut self, listed: &HashSet<&str>) {
        self.names.retain(|name| listed.contains(&**name));
    }

    /// How many names and collections there are.
    pub(super) fn len(&self) -> usize {
        self.names.len() + self.collections.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_covers_names_below_it_only() {
        let mut subscription = Subscription::default();
        subscription.insert_collection("9080/");
        assert!(subscription.wants("9080/reviews.default.svc.cluster.local:9080"));
        assert!(!subscription.wants("9080"));
        assert!(!subscription.wants("90801/reviews"));
        subscription.remove_collection("9080/");
        assert!(!subscription.wants("9080/reviews"));
    }

    #[test]
    fn patterns_are_told_apart() {
        assert_eq!(Pattern::parse("*"), Pattern::Everything);
        assert_eq!(Pattern::parse("9080/*"), Pattern::Collection("9080/"));
        assert_eq!(Pattern::parse("*.example.com"), Pattern::Name("*.example.com"));
        assert_eq!(Pattern::parse("outbound|80||*"), Pattern::Name("outbound|80||*"));
    }
}
