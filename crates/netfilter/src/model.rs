//! Tables and chains.

/// The address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6 at once.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    /// `NFPROTO_*`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Ip => 2,
            Family::Ip6 => 10,
        }
    }

    /// nft's word.
    pub fn word(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        }
    }
}

/// A table with its chains, complete: what [`crate::Batch::replace_table`] puts in place of what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Address family.
    pub family: Family,
    /// Name, unique in the family.
    pub name: String,
    /// Chains, in the order in which they print.
    pub chains: Vec<Chain>,
}

impl Table {
    /// An empty table.
    pub fn new(family: Family, name: impl Into<String>) -> Self {
        Self { family, name: name.into(), chains: Vec::new() }
    }
}

/// A chain of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Name, unique in the table.
    pub name: String,
    /// Where packets enter it; `None` for a chain that others jump to.
    pub hook: Option<Hook>,
    /// Rules, first match first.
    pub rules: Vec<crate::Rule>,
}

impl Chain {
    /// A chain that others jump to.
    pub fn regular(name: impl Into<String>) -> Self {
        Self { name: name.into(), hook: None, rules: Vec::new() }
    }

    /// A chain that the kernel enters at `hook`.
    pub fn base(name: impl Into<String>, hook: Hook) -> Self {
        Self { name: name.into(), hook: Some(hook), rules: Vec::new() }
    }

    /// Adds a rule at the end.
    pub fn rule(mut self, rule: crate::Rule) -> Self {
        self.rules.push(rule);
        self
    }
}

/// Where and when a base chain sees packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// What the chain may do.
    pub kind: ChainKind,
    /// The point in the packet's path.
    pub point: HookPoint,
    /// Order among chains of the hook: -150 mangle, -100 dstnat, 0 filter, 100 srcnat.
    pub priority: i32,
    /// What happens to packets that no rule decides.
    pub policy: Policy,
}

impl Hook {
    /// Destination translation of arriving packets.
    pub fn nat_prerouting() -> Self {
        Self { kind: ChainKind::Nat, point: HookPoint::Prerouting, priority: -100, policy: Policy::Accept }
    }

    /// Destination translation of packets made here.
    pub fn nat_output() -> Self {
        Self { kind: ChainKind::Nat, point: HookPoint::Output, priority: -100, policy: Policy::Accept }
    }

    /// Source translation.
    pub fn nat_postrouting() -> Self {
        Self { kind: ChainKind::Nat, point: HookPoint::Postrouting, priority: 100, policy: Policy::Accept }
    }

    /// Mangling of arriving packets, before translation.
    pub fn mangle_prerouting() -> Self {
        Self { kind: ChainKind::Filter, point: HookPoint::Prerouting, priority: -150, policy: Policy::Accept }
    }

    /// Mangling of packets made here; a changed mark routes them again.
    pub fn mangle_output() -> Self {
        Self { kind: ChainKind::Route, point: HookPoint::Output, priority: -150, policy: Policy::Accept }
    }

    /// Before connection tracking.
    pub fn raw(point: HookPoint) -> Self {
        Self { kind: ChainKind::Filter, point, priority: -300, policy: Policy::Accept }
    }

    /// Filtering at `point`.
    pub fn filter(point: HookPoint) -> Self {
        Self { kind: ChainKind::Filter, point, priority: 0, policy: Policy::Accept }
    }
}

/// `type` of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Accept, drop, mark.
    Filter,
    /// Address translation; sees a connection's first packet only.
    Nat,
    /// As filter, and routes again what was marked.
    Route,
}

impl ChainKind {
    /// nft's and the kernel's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
            ChainKind::Route => "route",
        }
    }
}

/// Netfilter's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPoint {
    /// Arriving, before routing.
    Prerouting,
    /// To a local socket.
    Input,
    /// Passing through.
    Forward,
    /// From a local socket.
    Output,
    /// Leaving, after routing.
    Postrouting,
}

impl HookPoint {
    /// `NF_INET_*`.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }

    /// nft's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        }
    }
}

/// What a base chain does with packets that no rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Let pass.
    Accept,
    /// Discard.
    Drop,
}
