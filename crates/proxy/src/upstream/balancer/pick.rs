//! Choosing one of several endpoints by a policy.

use super::{hash_bytes, mix};
use crate::config::{Endpoint, LbPolicy};
use std::cmp::{Ordering as Order, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Points of a ring or table at most, whatever the configuration asks for: every worker has its own.
const MOST_POINTS: u64 = 1 << 20;

/// Endpoints and how to choose one.
#[derive(Debug)]
pub(super) struct Picker {
    hosts: Vec<Arc<Endpoint>>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Equal weights: in turn.
    Turn(usize),
    /// Unequal weights: earliest deadline first.
    Schedule(Schedule),
    /// The least busy of so many random ones.
    Least(u32),
    /// Unequal weights, which fall with the requests under way: the weight over this power of them.
    Busy(Schedule, f64),
    /// Points on a ring with their host, sorted.
    Ring(Vec<(u64, u32)>),
    /// Cumulative weights.
    Random(Vec<f64>),
}

/// Takes turns by weight: earliest deadline first.
#[derive(Debug)]
pub(super) struct Schedule {
    due: BinaryHeap<Reverse<Due>>,
    weights: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Due {
    at: f64,
    which: usize,
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Order {
        self.at.total_cmp(&other.at).then(self.which.cmp(&other.which))
    }
}

impl Schedule {
    /// Turns for things of these weights, which are above zero.
    pub(super) fn new(weights: impl Iterator<Item = f64>, random: u64) -> Self {
        let weights: Vec<f64> = weights.collect();
        // A random phase each, so that many workers do not all begin with the heaviest.
        let due = |(which, weight): (usize, &f64)| {
            let phase = (mix(random ^ which as u64) >> 11) as f64 / (1u64 << 53) as f64;
            Reverse(Due { at: phase / weight, which })
        };
        Schedule { due: weights.iter().enumerate().map(due).collect(), weights }
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<usize> {
        self.next_by(|weight, _| weight)
    }

    /// Whose turn it is, where a weight depends on the moment as well.
    fn next_by(&mut self, weigh: impl FnOnce(f64, usize) -> f64) -> Option<usize> {
        let mut first = self.due.peek_mut()?;
        let Due { at, which } = first.0;
        first.0.at = at + 1.0 / weigh(self.weights[which], which);
        Some(which)
    }
}

impl Picker {
    /// A picker of endpoints with their weights.
    pub(super) fn new(policy: &LbPolicy, hosts: Vec<(Arc<Endpoint>, f64)>, random: u64) -> Self {
        let kind = Kind::new(policy, &hosts, random);
        Picker { hosts: hosts.into_iter().map(|(host, _)| host).collect(), kind }
    }

    pub(super) fn choose(&mut self, random: u64, hash: Option<u64>) -> Option<&Arc<Endpoint>> {
        let hosts = &self.hosts;
        let count = hosts.len();
        if count <= 1 {
            return hosts.first();
        }
        let at = match &mut self.kind {
            Kind::Turn(next) => {
                *next = if *next + 1 >= count { 0 } else { *next + 1 };
                *next
            }
            Kind::Schedule(schedule) => schedule.next()?,
            Kind::Least(choices) => least_busy(hosts, *choices, random),
            Kind::Busy(schedule, bias) => {
                let bias = *bias;
                schedule.next_by(|weight, at| {
                    let busy = f64::from(hosts[at].state.active.load(Ordering::Relaxed)) + 1.0;
                    if bias == 1.0 { weight / busy } else { weight / busy.powf(bias) }
                })?
            }
            Kind::Ring(ring) => {
                let point = hash.unwrap_or(random);
                let at = ring.partition_point(|(at, _)| *at < point);
                ring.get(at).or(ring.first()).map_or(0, |(_, host)| *host as usize)
            }
            Kind::Random(sums) => {
                let unit = ((random >> 8) & ((1 << 52) - 1)) as f64 / (1u64 << 52) as f64;
                let point = unit * sums.last().copied().unwrap_or(1.0);
                sums.partition_point(|sum| *sum <= point).min(count - 1)
            }
        };
        hosts.get(at)
    }
}

/// Power of choices: the least busy of some random hosts.
fn least_busy(hosts: &[Arc<Endpoint>], choices: u32, random: u64) -> usize {
    let (mut best, mut seed) = ((random % hosts.len() as u64) as usize, random);
    let load = |host: usize| hosts[host].state.active.load(Ordering::Relaxed);
    for _ in 1..choices.max(2) {
        seed = mix(seed);
        let other = (seed % hosts.len() as u64) as usize;
        if load(other) < load(best) {
            best = other;
        }
    }
    best
}

impl Kind {
    fn new(policy: &LbPolicy, hosts: &[(Arc<Endpoint>, f64)], random: u64) -> Self {
        let equal = hosts.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let weights = || hosts.iter().map(|(_, weight)| *weight);
        match policy {
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided if equal => {
                Kind::Turn(random as usize % hosts.len().max(1))
            }
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided => {
                Kind::Schedule(Schedule::new(weights(), random))
            }
            LbPolicy::LeastRequest { choices, .. } if equal => Kind::Least(*choices),
            // Without a bias, weights alone count (Envoy, "Weighted least request").
            LbPolicy::LeastRequest { bias, .. } if *bias <= 0.0 => {
                Kind::Schedule(Schedule::new(weights(), random))
            }
            LbPolicy::LeastRequest { bias, .. } => Kind::Busy(Schedule::new(weights(), random), *bias),
            LbPolicy::Random => {
                let mut sum = 0.0;
                let add = |weight: f64| {
                    sum += weight;
                    sum
                };
                Kind::Random(weights().map(add).collect())
            }
            LbPolicy::RingHash { min_size, max_size } => Kind::Ring(ring(hosts, *min_size, *max_size)),
            LbPolicy::Maglev { table_size } => Kind::Ring(ring(hosts, *table_size, *table_size)),
        }
    }
}

/// A ring on which every host has points in proportion to its weight. A point depends on the host's address alone, so
/// that all workers and proxies agree and a change moves only what it must.
fn ring(hosts: &[(Arc<Endpoint>, f64)], min_size: u64, max_size: u64) -> Vec<(u64, u32)> {
    let total: f64 = hosts.iter().map(|(_, weight)| weight).sum();
    let size = min_size.max(hosts.len() as u64).min(max_size.max(1)).min(MOST_POINTS);
    let mut ring = Vec::with_capacity(size as usize);
    for (at, (host, weight)) in hosts.iter().enumerate() {
        let points = ((size as f64 * weight / total.max(f64::MIN_POSITIVE)).ceil() as u64).min(MOST_POINTS);
        let seed = hash_bytes(host.address.to_string().as_bytes());
        ring.extend((0..points).map(|point| (mix(seed.wrapping_add(mix(point))), at as u32)));
    }
    ring.sort_unstable();
    ring
}
