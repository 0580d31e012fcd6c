use std::collections::BTreeSet;
use std::sync::Arc;

/// Resources of a type that the client refused and has not taken since.
#[derive(Debug, Default)]
pub(super) struct Rejected(BTreeSet<Arc<str>>);

impl Rejected {
    /// Notes a refusal. `names` are what the response may have held, `complete` says that they are exactly that.
    ///
    /// A client names the resources that it could not use in its message, and takes the rest of the response; only
    /// where it names none are all of them taken to be refused.
    pub(super) fn note<'a>(
        &mut self,
        names: impl Iterator<Item = &'a Arc<str>> + Clone,
        complete: bool,
        message: &str,
    ) {
        let known = self.0.len();
        self.0.extend(names.clone().filter(|name| mentions(message, name)).cloned());
        if self.0.len() == known && complete {
            self.0.extend(names.cloned());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The client took the resource, or does not want it any more.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether a name stands in a text by itself, and not as a part of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "_-|/*".contains(c);
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + name.len()..].chars();
        // Full stops and colons belong to names, and end sentences.
        let (next, second) = (after.next(), after.next());
        let goes_on = |c: char| inside(c) || (".:".contains(c) && second.is_some_and(inside));
        !before.is_some_and(|c| inside(c) || c == '.') && !next.is_some_and(goes_on)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_where_they_stand_alone() {
        let text = "Error adding/updating listener(s) 0.0.0.0_80: no such filter\n10.0.0.1_8080: bad.";
        assert!(mentions(text, "0.0.0.0_80"));
        assert!(mentions(text, "10.0.0.1_8080"));
        assert!(!mentions(text, "10.0.0.1_80"));
        assert!(!mentions(text, "0.0.0.1_8080"));
        assert!(mentions("cluster `outbound|80|v1|a.b`", "outbound|80|v1|a.b"));
        assert!(!mentions("cluster outbound|80|v1|a.b.c", "outbound|80|v1|a.b"));
    }

    #[test]
    fn a_message_without_names_refuses_all_that_is_known() {
        let names: [Arc<str>; 2] = ["80".into(), "9080".into()];
        let mut rejected = Rejected::default();
        rejected.note(names.iter(), true, "9080: regex too large");
        assert!(rejected.contains("9080") && !rejected.contains("80"));
        rejected.clear();
        rejected.note(names.iter(), false, "regex too large");
        assert!(rejected.is_empty());
        rejected.note(names.iter(), true, "regex too large");
        assert!(rejected.contains("9080") && rejected.contains("80"));
    }
}
