use std::collections::BTreeSet;
use std::sync::Arc;

/// To which namespaces an object is visible (`exportTo`).
///
/// Source: Istio, `exportTo`: `*` is everywhere, `.` the object's own namespace, `~` nowhere, anything else the
/// namespace of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visibility {
    everywhere: bool,
    nowhere: bool,
    namespaces: BTreeSet<Arc<str>>,
}

impl Visibility {
    /// Visible in every namespace.
    pub fn public() -> Self {
        Visibility { everywhere: true, ..Self::default() }
    }

    /// Reads a list of an object in `namespace`; `None` when the list is empty, which means the mesh's default.
    pub fn parse<S: AsRef<str>>(export_to: &[S], namespace: &str) -> Option<Self> {
        if export_to.is_empty() {
            return None;
        }
        let mut visibility = Self::default();
        for entry in export_to {
            match entry.as_ref().trim() {
                "*" => visibility.everywhere = true,
                "~" => visibility.nowhere = true,
                "." => drop(visibility.namespaces.insert(namespace.into())),
                other => drop(visibility.namespaces.insert(other.into())),
            }
        }
        Some(visibility)
    }

    /// A default that leaves objects in their own namespace, whichever that is.
    pub fn own() -> Self {
        Visibility { namespaces: BTreeSet::from([".".into()]), ..Self::default() }
    }

    /// Whether this is the default [`Visibility::own`].
    pub(crate) fn is_own(&self) -> bool {
        self.namespaces.contains(".")
    }

    /// Whether clients in a namespace see the object.
    pub fn allows(&self, client_namespace: &str) -> bool {
        !self.nowhere && (self.everywhere || self.namespaces.contains(client_namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_everywhere_here_nowhere_or_namespaces() {
        let see =
            |list: &[&str], client: &str| Visibility::parse(list, "home").expect("not empty").allows(client);
        assert!(see(&["*"], "away"));
        assert!(see(&["."], "home") && !see(&["."], "away"));
        assert!(!see(&["~"], "home"));
        assert!(see(&["away", "."], "away") && !see(&["away"], "third"));
        assert_eq!(Visibility::parse::<&str>(&[], "home"), None);
    }
}
