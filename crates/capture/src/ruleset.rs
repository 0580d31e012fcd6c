//! The whole ruleset of a pod.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lateen_netfilter::{Chain, Cmp, CtState, Family, Hook, HookPoint, Prefix, Proto, Rule, Table, Verdict};

use crate::{Backend, Capture, Error, Mode, dns, redirect, tproxy};

/// The table that holds capture; nothing else in the namespace is touched.
pub(crate) const TABLE: &str = "lateen-capture";

/// Capture as one table, with Istio's chains; it prints as nftables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    table: Table,
    ipv6: bool,
}

impl Ruleset {
    /// The rules of a capture; pure.
    pub fn new(capture: &Capture) -> Self {
        let mut table = Table::new(Family::Inet, TABLE);
        table.chains.extend(watching(capture));
        table.chains.extend(dns::zones(capture));
        if capture.mode == Mode::Tproxy {
            table.chains.extend(tproxy::chains(capture));
        }
        table.chains.extend(redirect::chains(capture));
        Self { table, ipv6: capture.ipv6 }
    }

    /// All of it.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Whether IPv6 is captured too.
    pub(crate) fn ipv6(&self) -> bool {
        self.ipv6
    }

    pub(crate) fn has_zones(&self) -> bool {
        self.table.chains.iter().any(|chain| dns::ZONES.contains(&chain.name.as_str()))
    }

    /// For kernels that track connections without zones.
    pub(crate) fn without_zones(&self) -> Table {
        let mut table = self.table.clone();
        table.chains.retain(|chain| !dns::ZONES.contains(&chain.name.as_str()));
        table
    }

    /// Whether the calling thread's network namespace is captured, with whatever arguments, by nftables or iptables.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn is_applied() -> Result<bool, Error> {
        Backend::is_any_applied()
    }

    /// Removes capture, if there is any, from nftables and iptables.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn remove() -> Result<(), Error> {
        Backend::remove_all()
    }
}

/// What looks at every packet before capture: traces, and what belongs to no connection.
fn watching(capture: &Capture) -> Vec<Chain> {
    let mut chains = Vec::new();
    if capture.trace {
        for (name, point) in
            [("TRACE_PREROUTING", HookPoint::Prerouting), ("TRACE_OUTPUT", HookPoint::Output)]
        {
            chains.push(Chain::base(name, Hook::raw(point)).rule(Rule::new().trace()));
        }
    }
    if capture.drop_invalid {
        let invalid = Rule::new().proto(Cmp::Eq, Proto::Tcp).ct_state(&[CtState::Invalid]);
        let chain = Chain::base("ISTIO_DROP", Hook::mangle_prerouting());
        chains.push(chain.rule(invalid.verdict(Verdict::Drop)));
    }
    chains
}

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.table.fmt(f)
    }
}

/// The addresses with a part in capture, for one IP version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local {
    /// `127.0.0.1/32` or `::1/128`: an application that speaks to itself.
    pub loopback: Prefix,
    /// `127.0.0.6` or `::6`: the proxy's connections to the application come from here.
    pub passthrough: Prefix,
}

/// The IP versions that are captured.
pub(crate) fn locals(capture: &Capture) -> Vec<Local> {
    let v4 = Local {
        loopback: Prefix::host(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        passthrough: Prefix::host(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6))),
    };
    let v6 = Local {
        loopback: Prefix::host(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        passthrough: Prefix::host(IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6))),
    };
    std::iter::once(v4).chain(capture.ipv6.then_some(v6)).collect()
}
