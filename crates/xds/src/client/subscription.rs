use std::collections::{BTreeMap, BTreeSet};

use crate::pb::google::rpc::Status;

/// What is wanted and held of one resource type.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Every resource is wanted.
    pub(super) all: bool,
    /// The names that are wanted.
    pub(super) wanted: BTreeSet<String>,
    /// The names that the server knows we want, on this stream.
    pub(super) asked: BTreeSet<String>,
    /// Whether a request of this type has gone out on this stream.
    pub(super) started: bool,
    /// Accepted resources and their versions.
    pub(super) versions: BTreeMap<String, String>,
    /// The version of the last response that was accepted as a whole (state of the world).
    pub(super) accepted_version: String,
    /// Nonce of the last response that was answered.
    pub(super) last_nonce: String,
    /// Answers that are due: nonce, and the error of a NACK.
    pub(super) answers: Vec<(String, Option<Status>)>,
}

impl Subscription {
    pub(super) fn want_all(&mut self) {
        self.all = true;
    }

    pub(super) fn want(&mut self, names: BTreeSet<String>) {
        self.versions.retain(|name, _| wants(&names, name));
        self.wanted = names;
    }

    pub(super) fn restart(&mut self) {
        self.started = false;
        self.asked.clear();
        self.answers.clear();
        self.last_nonce.clear();
    }

    /// Whether there is anything to ask for: an empty first request would mean "everything".
    pub(super) fn idle(&self) -> bool {
        !self.started && !self.all && self.wanted.is_empty()
    }
}

/// Whether a name is wanted itself or by a `prefix/*`.
fn wants(names: &BTreeSet<String>, name: &str) -> bool {
    names.contains(name)
        || name.match_indices('/').any(|(slash, _)| {
            let mut pattern = String::with_capacity(slash + 2);
            pattern.push_str(&name[..slash]);
            pattern.push_str("/*");
            names.contains(&pattern)
        })
}
