//! Listeners and filter chains that come to their end: they are asked to close connections at the next chance, and
//! later to close them at once.

use super::listener::{FilterChain, Listener, TrafficDirection};
use super::store::{ActiveListener, Store};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Tells connections to end: at the next chance, or now.
#[derive(Debug, Default)]
pub struct DrainFlag(AtomicU8);

const FAILING: u8 = 1;
const DRAINING: u8 = 2;
const CLOSING: u8 = 4;

impl DrainFlag {
    /// Asks connections to end at the next chance.
    pub fn set(&self) {
        self.0.fetch_or(DRAINING, Ordering::Release);
    }

    /// Asks connections to end now.
    pub fn close(&self) {
        self.0.fetch_or(DRAINING | CLOSING, Ordering::Release);
    }

    /// The health check fails, or no longer: connections end with the answer that is under way.
    pub fn set_failing(&self, failing: bool) {
        if failing {
            self.0.fetch_or(FAILING, Ordering::Release);
        } else {
            self.0.fetch_and(!FAILING, Ordering::Release);
        }
    }

    /// Whether a connection should end with the answer that is under way.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Whether connections should end at the next chance, idle ones included.
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) & DRAINING != 0
    }

    /// Whether connections should end now.
    pub fn is_closing(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSING != 0
    }
}

/// What drains.
#[derive(Debug)]
pub(super) struct Draining {
    /// How long connections may take to end.
    time: Duration,
    chains: Vec<(Instant, Weak<FilterChain>)>,
    closed: u64,
    /// The health check fails: new chains are told as well.
    failing: bool,
    /// Listeners that are asked to drain, however they are replaced meanwhile.
    scope: Option<DrainScope>,
}

impl Default for Draining {
    fn default() -> Self {
        let time = Duration::from_secs(600);
        Draining { time, chains: Vec::new(), closed: 0, failing: false, scope: None }
    }
}

/// Which listeners drain or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainScope {
    /// Inbound ones.
    Inbound,
    /// All.
    All,
}

impl DrainScope {
    /// Whether a listener is meant.
    pub fn holds(self, listener: &Listener) -> bool {
        self == DrainScope::All || listener.direction == TrafficDirection::Inbound
    }
}

impl Store {
    fn draining(&self) -> MutexGuard<'_, Draining> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long connections of chains that drain may take to end; Envoy's `--drain-time-s`, 600 s by default.
    pub fn set_drain_time(&self, time: Duration) {
        self.draining().time = time;
    }

    /// Asks the connections of listeners to end at the next chance; sockets stay open.
    pub fn drain_connections(&self, scope: DrainScope) {
        let mut draining = self.draining();
        draining.scope = draining.scope.max(Some(scope));
        for active in self.listeners().by_name.values().filter(|active| scope.holds(&active.config)) {
            chains(&active.config).for_each(|chain| chain.drain.set());
        }
    }

    /// Closes the sockets of listeners, also of those that come later; open connections go on.
    pub fn stop_listeners(&self, scope: DrainScope) {
        self.change_listeners(|table| {
            table.stopped = table.stopped.max(Some(scope));
        });
    }

    /// Drains listeners, or the inbound ones alone: sockets are closed, connections end at the next chance, or when
    /// the time to drain is over.
    pub fn drain_listeners(&self, scope: DrainScope) {
        self.drain_connections(scope);
        for active in self.listeners().by_name.values().filter(|active| scope.holds(&active.config)) {
            self.drain_chains(&active.config, None);
        }
        self.stop_listeners(scope);
    }

    /// The health check fails, or passes again: answers of listeners that heed it close their connections meanwhile.
    pub fn set_failing(&self, failing: bool) {
        self.draining().failing = failing;
        for active in self.listeners().by_name.values() {
            tell_failing(&active.config, failing);
        }
    }

    /// Tells chains that come into force what older ones were told.
    pub(super) fn prepare_listener(&self, listener: &Listener) {
        let draining = self.draining();
        tell_failing(listener, draining.failing);
        if draining.scope.is_some_and(|scope| scope.holds(listener)) {
            chains(listener).for_each(|chain| chain.drain.set());
        }
    }

    /// Drains the chains of `old` that `new` does not hold.
    pub(super) fn drain_chains(&self, old: &Listener, new: Option<&Listener>) {
        let mut draining = self.draining();
        for chain in chains(old) {
            let kept = new.is_some_and(|new| chains(new).any(|kept| Arc::ptr_eq(kept, chain)));
            let weak = Arc::downgrade(chain);
            if !kept && !draining.chains.iter().any(|(_, known)| known.ptr_eq(&weak)) {
                chain.drain.set();
                draining.chains.push((Instant::now(), weak));
            }
        }
    }

    /// Tells chains whose time to drain is over to close their connections; the number of chains told so far.
    pub fn close_drained(&self) -> u64 {
        let mut draining = self.draining();
        let Draining { time, chains, closed, .. } = &mut *draining;
        chains.retain(|(since, chain)| {
            let Some(chain) = chain.upgrade() else { return false };
            let due = since.elapsed() >= *time;
            if due {
                chain.drain.close();
                *closed += 1;
            }
            !due
        });
        *closed
    }

    /// Chains that drain and still have connections.
    pub fn draining_chains(&self) -> usize {
        self.draining().chains.iter().filter(|(_, chain)| chain.strong_count() > 0).count()
    }
}

fn tell_failing(listener: &Listener, failing: bool) {
    if listener.drains_when_failing {
        chains(listener).for_each(|chain| chain.drain.set_failing(failing));
    }
}

pub(super) fn chains(listener: &Listener) -> impl Iterator<Item = &Arc<FilterChain>> {
    listener.filter_chains.iter().chain(&listener.default_chain)
}

/// Whether a listener's sockets are to be open.
impl super::store::ListenerTable {
    /// Whether sockets of a listener are to be open.
    pub fn serves(&self, active: &ActiveListener) -> bool {
        active.config.bind_to_port && !self.stopped.is_some_and(|scope| scope.holds(&active.config))
    }
}

#[cfg(test)]
mod tests {
    use super::super::listener::Terminal;
    use super::*;

    fn listener(hash: u64, direction: TrafficDirection) -> Listener {
        let chain = FilterChain { hash, ..FilterChain::plain(Terminal::Close) };
        Listener { direction, ..Listener::simple("l", "127.0.0.1:0".parse().unwrap(), chain) }
    }

    fn chain(store: &Store) -> Arc<FilterChain> {
        store.listeners().by_name["l"].config.filter_chains[0].clone()
    }

    #[test]
    fn what_replaces_a_draining_listener_drains_as_well() {
        let store = Store::new(1);
        store.update_listeners(vec![listener(1, TrafficDirection::Inbound)], &[]);
        store.drain_connections(DrainScope::Inbound);
        store.update_listeners(vec![listener(2, TrafficDirection::Inbound)], &[]);
        assert!(chain(&store).drain.is_draining());
        store.update_listeners(vec![listener(3, TrafficDirection::Outbound)], &[]);
        assert!(!chain(&store).drain.is_draining());
    }

    #[test]
    fn a_failing_health_check_ends_connections_until_it_passes_again() {
        let store = Store::new(1);
        store.set_failing(true);
        store.update_listeners(vec![listener(1, TrafficDirection::Inbound)], &[]);
        assert!(chain(&store).drain.is_set() && !chain(&store).drain.is_draining());
        store.set_failing(false);
        assert!(!chain(&store).drain.is_set());
        let deaf = Listener { drains_when_failing: false, hash: 9, ..listener(2, TrafficDirection::Inbound) };
        store.update_listeners(vec![deaf], &[]);
        store.set_failing(true);
        assert!(!chain(&store).drain.is_set());
    }

    #[test]
    fn chains_are_closed_when_their_time_is_over() {
        let store = Store::new(1);
        store.update_listeners(vec![listener(1, TrafficDirection::Inbound)], &[]);
        let old = chain(&store);
        store.update_listeners(vec![listener(2, TrafficDirection::Inbound)], &[]);
        assert_eq!((store.close_drained(), old.drain.is_closing()), (0, false));
        store.set_drain_time(Duration::ZERO);
        assert_eq!((store.close_drained(), old.drain.is_closing()), (1, true));
        assert_eq!(store.draining_chains(), 0);
    }
}
