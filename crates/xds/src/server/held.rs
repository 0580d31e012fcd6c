use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Encoded;

/// What a client holds under a name that is due to be looked at again.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// Nothing, and it did not ask by name.
    Nothing,
    /// It asked by name and must be answered, even when there is no such resource.
    Asked,
    /// What it said that it kept from an earlier stream; `None` when that is another server's version.
    Version(Option<u64>),
    /// What we sent it.
    Sent(Arc<Encoded>),
}

impl Held {
    /// Whether the client has this very content already.
    pub(super) fn is(&self, resource: &Encoded) -> bool {
        match self {
            Held::Nothing | Held::Asked => false,
            Held::Version(version) => *version == Some(resource.version),
            Held::Sent(sent) => sent.version == resource.version,
        }
    }

    /// Whether the client has something under the name.
    pub(super) fn something(&self) -> bool {
        matches!(self, Held::Version(_) | Held::Sent(_))
    }
}

/// Names that are due, with what the client holds under them. For every other name the client holds what the
/// session's target has.
pub(super) type Due = BTreeMap<Arc<str>, Held>;
