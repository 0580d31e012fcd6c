//! The pools of a cluster: by whose address connections bear, by server name, by endpoint.

use super::connect::Wanted;
use super::pool::HostPool;
use crate::config::UpstreamSource;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Pools by address.
type Pools = HashMap<SocketAddr, Rc<HostPool>>;

/// Pools of a cluster.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    ours: Kinds,
    /// Of connections that bear a client's address: they serve nobody else.
    theirs: HashMap<UpstreamSource, Kinds>,
}

/// Pools of connections from one source.
#[derive(Debug, Default)]
struct Kinds {
    any: Pools,
    /// By the server name that the request named (`auto_sni`): what was verified for one name serves no other.
    named: HashMap<Box<str>, Pools>,
}

impl Kinds {
    fn pool(&mut self, address: SocketAddr, name: Option<&str>) -> Rc<HostPool> {
        let Some(name) = name else { return self.any.entry(address).or_default().clone() };
        if !self.named.contains_key(name) {
            self.named.insert(name.into(), Pools::new());
        }
        // Just inserted where it was missing.
        self.named.get_mut(name).map_or_else(Rc::default, |pools| pools.entry(address).or_default().clone())
    }

    /// Closes what is idle for too long; false when nothing is left.
    fn sweep(&mut self, idle: Option<Duration>) -> bool {
        let in_use = |_: &SocketAddr, pool: &mut Rc<HostPool>| pool.sweep(idle) || Rc::strong_count(pool) > 1;
        self.any.retain(in_use);
        self.named.retain(|_, pools| {
            pools.retain(in_use);
            !pools.is_empty()
        });
        !self.any.is_empty() || !self.named.is_empty()
    }
}

impl Hosts {
    /// The pool of an address, for the server name and from the source that a request wants.
    pub(super) fn pool(&mut self, address: SocketAddr, wanted: &Wanted<'_>) -> Rc<HostPool> {
        let kinds = match wanted.source {
            None => &mut self.ours,
            Some(source) => self.theirs.entry(*source).or_default(),
        };
        kinds.pool(address, wanted.name)
    }

    /// Closes what is idle for too long.
    pub(super) fn sweep(&mut self, idle: Option<Duration>) {
        self.ours.sweep(idle);
        self.theirs.retain(|_, kinds| kinds.sweep(idle));
    }

    /// Whether there is a pool of an address, for whatever source.
    pub(super) fn holds(&self, address: &SocketAddr) -> bool {
        self.ours.any.contains_key(address)
            || self.theirs.values().any(|kinds| kinds.any.contains_key(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_bear_an_address_are_a_clients_own() {
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let source = |last: u8, mark| UpstreamSource { address: [10, 0, 0, last].into(), mark };
        let (one, marked, other) = (source(2, None), source(2, Some(1337)), source(3, None));
        let mut hosts = Hosts::default();
        let wants = [None, Some(&one), Some(&marked), Some(&other)];
        let all = wants.map(|source| hosts.pool(address, &Wanted { source, ..Wanted::default() }));
        for (index, pool) in all.iter().enumerate() {
            let same = all.iter().filter(|other| Rc::ptr_eq(pool, other)).count();
            assert_eq!(same, 1, "pool {index} serves one source");
        }
        let named = Wanted { name: Some("a"), source: Some(&one), ..Wanted::default() };
        let again = hosts.pool(address, &named);
        assert!(Rc::ptr_eq(&again, &hosts.pool(address, &named)), "the same client finds its pool again");
        drop((all, again));
        hosts.sweep(None);
        assert!(hosts.theirs.is_empty() && !hosts.holds(&address), "clients that are gone leave nothing");
    }
}
