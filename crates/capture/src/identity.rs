//! Whose traffic is not captured.

use lateen_netfilter::{Cmp, Rule};

/// What tells the proxy's own sockets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The socket's owner.
    Uid(u32),
    /// The socket owner's group.
    Gid(u32),
    /// `SO_MARK`, where users cannot be told apart.
    Mark(u32),
}

impl Identity {
    /// Restricts a rule to this identity, or to everyone else.
    pub(crate) fn of(self, rule: Rule, cmp: Cmp) -> Rule {
        match self {
            Identity::Uid(uid) => rule.uid(cmp, uid),
            Identity::Gid(gid) => rule.gid(cmp, gid),
            Identity::Mark(mark) => rule.mark(cmp, mark),
        }
    }
}
