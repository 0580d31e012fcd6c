use std::sync::Arc;

use lateen_xds::{Encoded, TypeUrl};

/// What a proxy has to be told to get from one resource set to another, for one type.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// Resources that are new or whose content differs, sorted by name.
    pub changed: Vec<Arc<Encoded>>,
    /// Names of resources that are gone, sorted.
    pub removed: Vec<Arc<str>>,
}

impl Delta {
    /// Whether nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// A [`Delta`] for each resource type.
#[derive(Clone, Debug, Default)]
pub struct Deltas {
    pub(crate) by_type: [Delta; TypeUrl::ALL.len()],
}

impl Deltas {
    /// The difference of one type.
    pub fn of(&self, type_url: TypeUrl) -> &Delta {
        &self.by_type[slot(type_url)]
    }

    /// Whether no type differs.
    pub fn is_empty(&self) -> bool {
        self.by_type.iter().all(Delta::is_empty)
    }
}

/// The place of a type in arrays that hold something for each type.
pub(crate) fn slot(type_url: TypeUrl) -> usize {
    TypeUrl::ALL.iter().position(|t| *t == type_url).unwrap_or(0)
}

/// Compares two lists that are sorted by name.
pub(crate) fn between(old: &[Arc<Encoded>], new: &[Arc<Encoded>]) -> Delta {
    let mut delta = Delta::default();
    let (mut o, mut n) = (0, 0);
    while let (Some(a), Some(b)) = (old.get(o), new.get(n)) {
        if Arc::ptr_eq(a, b) {
            (o, n) = (o + 1, n + 1);
            continue;
        }
        match a.name.cmp(&b.name) {
            std::cmp::Ordering::Less => {
                delta.removed.push(a.name.clone());
                o += 1;
            }
            std::cmp::Ordering::Greater => {
                delta.changed.push(b.clone());
                n += 1;
            }
            std::cmp::Ordering::Equal => {
                if a.version != b.version {
                    delta.changed.push(b.clone());
                }
                (o, n) = (o + 1, n + 1);
            }
        }
    }
    delta.removed.extend(old[o..].iter().map(|r| r.name.clone()));
    delta.changed.extend(new[n..].iter().cloned());
    delta
}
