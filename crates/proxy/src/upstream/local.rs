//! A cluster as one worker sees it: its balancer and its pools.

use super::balancer::{Balancer, Choice, Part, Settings};
use super::connect::{Opened, Wanted};
use super::hosts::Hosts;
use super::permit::ConnectionPermit;
use super::pool::{ClientConn, HostPool, Reuse};
use crate::config::{CircuitBreakers, Cluster, ClusterSlot, Discovery, Endpoint};
use crate::error::Failure;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// A cluster as one worker sees it. Made anew when the cluster's configuration is replaced; pools live on when the
/// content stayed the same. Endpoint updates touch only the balancer.
#[derive(Debug)]
pub struct LocalCluster {
    /// Its place.
    pub slot: Arc<ClusterSlot>,
    /// Its configuration.
    pub config: Arc<Cluster>,
    /// The worker's number.
    pub worker: usize,
    balancer: RefCell<Option<Balancer>>,
    hosts: Rc<RefCell<Hosts>>,
    /// Endpoints of original destinations.
    destinations: RefCell<HashMap<SocketAddr, Arc<Endpoint>>>,
    freed: Rc<Notify>,
}

impl LocalCluster {
    /// The worker's side of `config`; takes over pools from `old` when nothing changed but the pointer.
    pub fn new(
        slot: Arc<ClusterSlot>,
        config: Arc<Cluster>,
        old: Option<&Rc<LocalCluster>>,
        worker: usize,
    ) -> Self {
        let same = old.filter(|old| config.hash != 0 && old.config.hash == config.hash);
        let hosts = same.map_or_else(Rc::default, |old| old.hosts.clone());
        LocalCluster {
            slot,
            config,
            worker,
            balancer: RefCell::new(None),
            hosts,
            destinations: RefCell::default(),
            freed: Rc::default(),
        }
    }

    /// Circuit breakers of a priority.
    pub fn limits(&self, high: bool) -> &CircuitBreakers {
        if high { &self.config.high_limits } else { &self.config.limits }
    }

    /// This worker's counters.
    pub fn stats(&self) -> &super::stats::ClusterShard {
        self.slot.stats.of(self.worker)
    }

    /// Chooses an endpoint. `destination`: the original destination, for clusters that go there.
    ///
    /// # Errors
    /// [`Failure::NoHealthyUpstream`].
    pub fn choose(
        &self,
        choice: Choice<'_>,
        destination: Option<SocketAddr>,
    ) -> Result<Arc<Endpoint>, Failure> {
        if let Discovery::OriginalDst { port, .. } = &self.config.discovery {
            let mut address = destination.ok_or(Failure::NoHealthyUpstream)?;
            if let Some(port) = port {
                address.set_port(*port);
            }
            return Ok(self.destination(address));
        }
        let set = self.config.endpoints.load();
        let mut balancer = self.balancer.borrow_mut();
        let current = match &mut *balancer {
            Some(current) if current.is_current(&set) => current,
            other => other.insert(Balancer::new(set.clone(), Settings::of(&self.config), choice.random)),
        };
        let Some(chosen) = current.choose(choice) else {
            self.stats().upstream_cx_none_healthy.inc();
            return Err(Failure::NoHealthyUpstream);
        };
        if chosen.panicking {
            self.stats().lb_healthy_panic.inc();
        }
        match chosen.part {
            Part::Whole => {}
            Part::Subset => self.stats().lb_subsets_selected.inc(),
            Part::Fallback => self.stats().lb_subsets_fallback.inc(),
            Part::FallbackPanic => self.stats().lb_subsets_fallback_panic.inc(),
        }
        Ok(chosen.endpoint)
    }

    fn destination(&self, address: SocketAddr) -> Arc<Endpoint> {
        let mut destinations = self.destinations.borrow_mut();
        destinations.entry(address).or_insert_with(|| Arc::new(Endpoint::new(address))).clone()
    }

    /// Whether the policy wants a hash of the request.
    pub fn wants_hash(&self) -> bool {
        self.config.lb.is_consistent()
    }

    /// The pool of an address, for the server name and from the source that a request wants.
    pub fn pool(&self, address: SocketAddr, wanted: &Wanted<'_>) -> Rc<HostPool> {
        self.hosts.borrow_mut().pool(address, wanted)
    }

    /// When connections of this cluster are given up.
    pub fn reuse(&self) -> Reuse {
        Reuse {
            idle: self.config.idle_timeout,
            requests: self.config.max_requests_per_connection,
            age: self.config.max_connection_duration,
        }
    }

    /// An HTTP/1 connection to an endpoint: an idle one, or a new one; waits for one to come free when the limit of
    /// connections is reached.
    ///
    /// # Errors
    /// [`Failure::Overflow`] when too many wait already; what [`super::open`] fails with.
    pub async fn http1(
        &self,
        endpoint: &Endpoint,
        high: bool,
        wanted: Wanted<'_>,
    ) -> Result<ClientConn, Failure> {
        let pool = self.pool(endpoint.address, &wanted);
        if let Some(idle) = pool.checkout(self.reuse()) {
            return Ok(idle);
        }
        let permit = match self.connection_permit(endpoint, high) {
            Some(permit) => permit,
            None => match self.wait_for_connection(endpoint, high, &pool).await? {
                Waited::Idle(idle) => return Ok(*idle),
                Waited::Permit(permit) => permit,
            },
        };
        let opened = self.open(endpoint, wanted).await?;
        self.stats().upstream_cx_http1_total.inc();
        Ok(pool.adopt(opened, permit))
    }

    /// Counts a new connection against the limit.
    pub fn connection_permit(&self, endpoint: &Endpoint, high: bool) -> Option<ConnectionPermit> {
        let limit = self.limits(high).max_connections;
        let permit = ConnectionPermit::new(&self.slot, &endpoint.state, limit, self.worker);
        if permit.is_none() {
            self.stats().upstream_cx_overflow.inc();
        }
        permit
    }

    /// Opens a connection and counts failures.
    ///
    /// # Errors
    /// What [`super::open`] fails with.
    pub async fn open(&self, endpoint: &Endpoint, mut wanted: Wanted<'_>) -> Result<Opened, Failure> {
        wanted.alpn = wanted.alpn.filter(|_| self.config.alpn_override);
        let start = std::time::Instant::now();
        let result = super::open(&self.config, endpoint, wanted, self.slot.tls_stats.of(self.worker)).await;
        if result.is_ok() {
            self.stats().upstream_cx_connect_ms.record_time(start.elapsed());
        }
        if let Err(failure) = &result {
            self.stats().upstream_cx_connect_fail.inc();
            if matches!(failure, Failure::ConnectTimeout) {
                self.stats().upstream_cx_connect_timeout.inc();
            }
            endpoint.state.connect_failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Waits until a connection comes free or one more may be opened.
    pub(super) async fn wait_for_connection(
        &self,
        endpoint: &Endpoint,
        high: bool,
        pool: &Rc<HostPool>,
    ) -> Result<Waited, Failure> {
        let _pending = Pending::new(self, high)?;
        loop {
            // Connections of other workers come free without a word: look again now and then.
            let look_again = std::time::Duration::from_millis(5);
            let _ = tokio::time::timeout(look_again, self.freed.notified()).await;
            if let Some(idle) = pool.checkout(self.reuse()) {
                return Ok(Waited::Idle(Box::new(idle)));
            }
            let limit = self.limits(high).max_connections;
            if let Some(permit) = ConnectionPermit::new(&self.slot, &endpoint.state, limit, self.worker) {
                return Ok(Waited::Permit(permit));
            }
        }
    }

    /// Tells a waiting request that a connection came free.
    pub fn freed(&self) {
        self.freed.notify_one();
    }

    /// Closes what is idle for too long; false when nothing is left to keep.
    pub fn sweep(&self) -> bool {
        let mut hosts = self.hosts.borrow_mut();
        hosts.sweep(self.config.idle_timeout);
        self.destinations
            .borrow_mut()
            .retain(|address, endpoint| hosts.holds(address) || Arc::strong_count(endpoint) > 1);
        self.slot.load().is_some()
    }
}

/// What came free.
pub(super) enum Waited {
    /// A connection.
    Idle(Box<ClientConn>),
    /// The right to open one.
    Permit(ConnectionPermit),
}

/// A request that waits for a connection.
struct Pending<'a>(&'a LocalCluster);

impl<'a> Pending<'a> {
    fn new(cluster: &'a LocalCluster, high: bool) -> Result<Self, Failure> {
        let pending = &cluster.slot.in_use.pending;
        if pending.fetch_add(1, Ordering::Relaxed) >= cluster.limits(high).max_pending_requests {
            pending.fetch_sub(1, Ordering::Relaxed);
            cluster.stats().upstream_rq_pending_overflow.inc();
            return Err(Failure::Overflow);
        }
        cluster.stats().upstream_rq_pending_total.inc();
        Ok(Pending(cluster))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.slot.in_use.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
