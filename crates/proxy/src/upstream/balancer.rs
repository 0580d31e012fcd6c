//! Load balancing over the endpoints of a cluster; a balancer belongs to one worker.

use crate::config::{Endpoint, EndpointSet, Health, LbPolicy};
use std::cmp::{Ordering as Order, Reverse};
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts ejections and returns of endpoints everywhere, so that balancers know when to look again.
static HEALTH_EPOCH: AtomicU64 = AtomicU64::new(0);

/// Tells balancers that an endpoint's health changed.
pub fn health_changed() {
    HEALTH_EPOCH.fetch_add(1, Ordering::Release);
}

/// A balancer over one endpoint set.
#[derive(Debug)]
pub struct Balancer {
    set: Arc<EndpointSet>,
    epoch: u64,
    hosts: Vec<Arc<Endpoint>>,
    panicking: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Equal weights: in turn.
    Turn(usize),
    /// Unequal weights: earliest deadline first.
    Schedule(BinaryHeap<Reverse<Due>>),
    Least(u32),
    /// Points on a ring with their host, sorted.
    Ring(Vec<(u64, u32)>),
    /// Cumulative weights.
    Random(Vec<u64>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Due {
    at: f64,
    host: usize,
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Order {
        self.at.total_cmp(&other.at).then(self.host.cmp(&other.host))
    }
}

/// What a choice may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// A random number.
    pub random: u64,
    /// The request's hash.
    pub hash: Option<u64>,
    /// Hosts to avoid if there are others, and how often to try.
    pub avoid: (&'a [SocketAddr], u32),
}

impl Balancer {
    /// A balancer over `set`.
    pub fn new(set: Arc<EndpointSet>, policy: &LbPolicy, panic_threshold: u32, random: u64) -> Self {
        let epoch = HEALTH_EPOCH.load(Ordering::Acquire);
        let (hosts, panicking) = candidates(&set, panic_threshold);
        let kind = Kind::new(policy, &hosts, random);
        Balancer { set, epoch, hosts, panicking, kind }
    }

    /// Whether it balances over `set` as it is now.
    pub fn is_current(&self, set: &Arc<EndpointSet>) -> bool {
        Arc::ptr_eq(&self.set, set) && self.epoch == HEALTH_EPOCH.load(Ordering::Acquire)
    }

    /// Whether unhealthy hosts are used because too few are healthy.
    pub fn is_panicking(&self) -> bool {
        self.panicking
    }

    /// The next host; none: there is no host.
    pub fn choose(&mut self, choice: Choice<'_>) -> Option<Arc<Endpoint>> {
        if self.hosts.is_empty() {
            return None;
        }
        let mut host = self.choose_once(choice.random, choice.hash);
        let (avoid, attempts) = choice.avoid;
        let mut random = choice.random;
        for _ in 0..attempts {
            if !avoid.contains(&self.hosts[host].address) {
                break;
            }
            random = mix(random.wrapping_add(1));
            host = self.choose_once(random, choice.hash.map(|hash| mix(hash ^ random)));
        }
        Some(self.hosts[host].clone())
    }

    fn choose_once(&mut self, random: u64, hash: Option<u64>) -> usize {
        let count = self.hosts.len();
        match &mut self.kind {
            Kind::Turn(next) => {
                *next = if *next + 1 >= count { 0 } else { *next + 1 };
                *next
            }
            Kind::Schedule(heap) => match heap.pop() {
                Some(Reverse(due)) => {
                    let weight = f64::from(self.hosts[due.host].weight.max(1));
                    heap.push(Reverse(Due { at: due.at + 1.0 / weight, host: due.host }));
                    due.host
                }
                None => 0,
            },
            Kind::Least(choices) => least_busy(&self.hosts, *choices, random),
            Kind::Ring(ring) => {
                let point = hash.unwrap_or(random);
                let at = ring.partition_point(|(at, _)| *at < point);
                ring.get(at).or(ring.first()).map_or(0, |(_, host)| *host as usize)
            }
            Kind::Random(sums) => {
                let point = random % sums.last().copied().unwrap_or(1).max(1);
                sums.partition_point(|sum| *sum <= point).min(count - 1)
            }
        }
    }
}

/// Power of choices: the least busy, by weight, of some random hosts.
fn least_busy(hosts: &[Arc<Endpoint>], choices: u32, random: u64) -> usize {
    let (mut best, mut seed) = ((random % hosts.len() as u64) as usize, random);
    if hosts.len() == 1 {
        return 0;
    }
    let load = |host: usize| {
        let endpoint = &hosts[host];
        f64::from(endpoint.state.active.load(Ordering::Relaxed) + 1) / f64::from(endpoint.weight.max(1))
    };
    for _ in 1..choices.max(2) {
        seed = mix(seed);
        let other = (seed % hosts.len() as u64) as usize;
        if load(other) < load(best) {
            best = other;
        }
    }
    best
}

/// The hosts that may be used: the first priority that has usable ones; degraded ones when no other is; all in panic.
fn candidates(set: &EndpointSet, panic_threshold: u32) -> (Vec<Arc<Endpoint>>, bool) {
    let mut priorities: Vec<u32> = set.endpoints.iter().map(|endpoint| endpoint.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let of = |priority: u32| set.endpoints.iter().filter(move |endpoint| endpoint.priority == priority);
    for priority in &priorities {
        let total = of(*priority).count();
        let usable: Vec<_> =
            of(*priority).filter(|e| e.usable() && e.health == Health::Healthy).cloned().collect();
        let enough = usable.len() * 100 >= total * panic_threshold as usize;
        if !usable.is_empty() && (enough || priorities.len() > 1) {
            return (usable, false);
        }
    }
    let degraded: Vec<_> = set.endpoints.iter().filter(|endpoint| endpoint.usable()).cloned().collect();
    if !degraded.is_empty() && degraded.len() * 100 >= set.endpoints.len() * panic_threshold as usize {
        return (degraded, false);
    }
    if panic_threshold == 0 {
        return (degraded, false);
    }
    let Some(first) = priorities.first() else { return (Vec::new(), false) };
    (of(*first).cloned().collect(), true)
}

impl Kind {
    fn new(policy: &LbPolicy, hosts: &[Arc<Endpoint>], random: u64) -> Self {
        let equal = hosts.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let start = random as usize % hosts.len().max(1);
        match policy {
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided if equal => Kind::Turn(start),
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided => {
                // A random phase each, so that many workers do not all begin with the heaviest.
                let due = |(host, endpoint): (usize, &Arc<Endpoint>)| {
                    let phase = (mix(random ^ host as u64) >> 11) as f64 / (1u64 << 53) as f64;
                    Reverse(Due { at: phase / f64::from(endpoint.weight.max(1)), host })
                };
                Kind::Schedule(hosts.iter().enumerate().map(due).collect())
            }
            LbPolicy::LeastRequest { choices } => Kind::Least(*choices),
            LbPolicy::Random => {
                let mut sum = 0;
                let add = |endpoint: &Arc<Endpoint>| {
                    sum += u64::from(endpoint.weight);
                    sum
                };
                Kind::Random(hosts.iter().map(add).collect())
            }
            LbPolicy::RingHash { min_size, max_size } => Kind::Ring(ring(hosts, *min_size, *max_size)),
            LbPolicy::Maglev { table_size } => Kind::Ring(ring(hosts, *table_size, *table_size)),
        }
    }
}

/// A ring on which every host has points in proportion to its weight. A point depends on the host's address alone, so
/// that all workers and proxies agree and a change moves only what it must.
fn ring(hosts: &[Arc<Endpoint>], min_size: u64, max_size: u64) -> Vec<(u64, u32)> {
    let total: u64 = hosts.iter().map(|endpoint| u64::from(endpoint.weight.max(1))).sum();
    let size = min_size.max(hosts.len() as u64).min(max_size.max(1)).min(1 << 20);
    let mut ring = Vec::with_capacity(size as usize);
    for (at, host) in hosts.iter().enumerate() {
        let points = (size * u64::from(host.weight.max(1))).div_ceil(total.max(1));
        let seed = hash_bytes(host.address.to_string().as_bytes());
        ring.extend((0..points).map(|point| (mix(seed.wrapping_add(mix(point))), at as u32)));
    }
    ring.sort_unstable();
    ring
}

/// Mixes a number well (splitmix64's finalizer).
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A hash of bytes that is the same in every process (FNV-1a, mixed).
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    mix(bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn set(weights: &[u32]) -> Arc<EndpointSet> {
        let endpoint = |(at, weight): (usize, &u32)| {
            let address = SocketAddr::from(([10, 0, 0, at as u8], 80));
            Arc::new(Endpoint { weight: *weight, ..Endpoint::new(address) })
        };
        Arc::new(EndpointSet {
            endpoints: weights.iter().enumerate().map(endpoint).collect(),
            overprovisioning: 140,
        })
    }

    fn counts(set: &Arc<EndpointSet>, policy: LbPolicy, tries: u64) -> Vec<u64> {
        let mut balancer = Balancer::new(set.clone(), &policy, 50, 1);
        let mut counts: HashMap<SocketAddr, u64> = HashMap::new();
        for n in 0..tries {
            let choice = Choice { random: mix(n), hash: Some(mix(n)), avoid: (&[], 0) };
            *counts.entry(balancer.choose(choice).unwrap().address).or_default() += 1;
        }
        set.endpoints.iter().map(|e| counts.get(&e.address).copied().unwrap_or(0)).collect()
    }

    #[test]
    fn round_robin_takes_turns_and_heeds_weights() {
        assert_eq!(counts(&set(&[1, 1, 1]), LbPolicy::RoundRobin, 30), [10, 10, 10]);
        let weighted = counts(&set(&[1, 3]), LbPolicy::RoundRobin, 400);
        assert!(weighted[0].abs_diff(100) <= 1, "{weighted:?}");
    }

    #[test]
    fn rings_and_random_choices_follow_weights() {
        for policy in [LbPolicy::Random, LbPolicy::RingHash { min_size: 4096, max_size: 8192 }] {
            let got = counts(&set(&[1, 3]), policy, 4000);
            assert!((800..1200).contains(&got[0]), "{got:?}");
        }
    }

    #[test]
    fn the_same_hash_goes_to_the_same_host() {
        let policy = LbPolicy::RingHash { min_size: 1024, max_size: 8192 };
        let choose = |random| {
            let choice = Choice { random, hash: Some(42), avoid: (&[], 0) };
            Balancer::new(set(&[1, 1, 1]), &policy, 50, random).choose(choice).unwrap().address
        };
        assert_eq!(choose(1), choose(99));
    }

    #[test]
    fn least_request_prefers_the_idle_host() {
        let set = set(&[1, 1]);
        set.endpoints[0].state.active.store(100, Ordering::Relaxed);
        let got = counts(&set, LbPolicy::LeastRequest { choices: 2 }, 400);
        assert!(got[1] > 250, "{got:?}");
    }

    #[test]
    fn ejected_hosts_are_left_out_unless_too_many_are() {
        let set = set(&[1, 1, 1, 1]);
        set.endpoints[0].state.ejected.store(true, Ordering::Relaxed);
        assert_eq!(counts(&set, LbPolicy::RoundRobin, 30), [0, 10, 10, 10]);
        for at in 1..3 {
            set.endpoints[at].state.ejected.store(true, Ordering::Relaxed);
        }
        assert!(counts(&set, LbPolicy::RoundRobin, 40).iter().all(|count| *count == 10), "panic uses all");
    }

    #[test]
    fn a_retry_avoids_hosts_that_were_tried() {
        let set = set(&[1, 1]);
        let mut balancer = Balancer::new(set.clone(), &LbPolicy::Random, 50, 1);
        let tried = [set.endpoints[0].address];
        for n in 0..50 {
            let choice = Choice { random: mix(n), hash: None, avoid: (&tried, 20) };
            assert_eq!(balancer.choose(choice).unwrap().address, set.endpoints[1].address);
        }
    }
}
