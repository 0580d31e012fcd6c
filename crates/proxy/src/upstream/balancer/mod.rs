//! Load balancing over the endpoints of a cluster; a balancer belongs to one worker.
//!
//! Envoy's "Load balancing": a priority is chosen by its share of the load, then a locality where localities weigh,
//! then an endpoint by the policy.

mod pick;
mod pool;
mod priority;
mod subset;
#[cfg(test)]
mod subset_tests;
#[cfg(test)]
mod tests;

use crate::config::{Cluster, Endpoint, EndpointSet, LbPolicy, SubsetConfig, SubsetMatch};
use pool::Pools;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use subset::Subsets;

/// Counts ejections and returns of endpoints everywhere, so that balancers know when to look again.
static HEALTH_EPOCH: AtomicU64 = AtomicU64::new(0);

/// Tells balancers that an endpoint's health changed.
pub fn health_changed() {
    HEALTH_EPOCH.fetch_add(1, Ordering::Release);
}

/// How to balance.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The policy within a locality.
    pub policy: &'a LbPolicy,
    /// Send to any endpoint when fewer than this percentage can be used.
    pub panic_threshold: u32,
    /// Rather fail than send to any endpoint.
    pub fail_on_panic: bool,
    /// Localities take load by their weights.
    pub locality_weighted: bool,
    /// Subsets of the endpoints.
    pub subsets: Option<&'a Arc<SubsetConfig>>,
}

impl<'a> Settings<'a> {
    /// Those of a cluster.
    pub fn of(cluster: &'a Cluster) -> Self {
        Settings {
            policy: &cluster.lb,
            panic_threshold: cluster.panic_threshold,
            fail_on_panic: cluster.fail_on_panic,
            locality_weighted: cluster.locality_weighted,
            subsets: cluster.subsets.as_ref(),
        }
    }
}

/// A balancer over one endpoint set.
#[derive(Debug)]
pub struct Balancer {
    set: Arc<EndpointSet>,
    epoch: u64,
    pools: Pools,
    subsets: Option<Box<Subsets>>,
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
    /// Labels that the host must bear, where the cluster has subsets.
    pub subset: Option<&'a SubsetMatch>,
}

/// What was chosen.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// It was chosen among all, because too few can be used.
    pub panicking: bool,
    /// Of which part, in a cluster with subsets.
    pub part: Part,
}

/// Which part of a cluster an endpoint was chosen from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// The cluster has no subsets.
    #[default]
    Whole,
    /// The subset that the labels name.
    Subset,
    /// Where the fallback leads.
    Fallback,
    /// Any endpoint, because the fallback had none.
    FallbackPanic,
}

impl Balancer {
    /// A balancer over `set`.
    pub fn new(set: Arc<EndpointSet>, settings: Settings<'_>, random: u64) -> Self {
        let epoch = HEALTH_EPOCH.load(Ordering::Acquire);
        let pools = pool::pools(&set, settings, random);
        Balancer { set, epoch, pools, subsets: Subsets::new(settings) }
    }

    /// Whether it balances over `set` as it is now.
    pub fn is_current(&self, set: &Arc<EndpointSet>) -> bool {
        Arc::ptr_eq(&self.set, set) && self.epoch == HEALTH_EPOCH.load(Ordering::Acquire)
    }

    /// The next host; none: there is no host that may be used.
    pub fn choose(&mut self, choice: Choice<'_>) -> Option<Chosen> {
        let (avoid, attempts) = choice.avoid;
        let mut chosen = self.choose_once(choice)?;
        let mut random = choice.random;
        for _ in 0..attempts {
            if !avoid.contains(&chosen.endpoint.address) {
                break;
            }
            random = mix(random.wrapping_add(1));
            let hash = choice.hash.map(|hash| mix(hash ^ random));
            chosen = self.choose_once(Choice { random, hash, ..choice })?;
        }
        Some(chosen)
    }

    fn choose_once(&mut self, choice: Choice<'_>) -> Option<Chosen> {
        let Some(subsets) = &mut self.subsets else {
            return choose_of(&mut self.pools, choice, Part::Whole);
        };
        let variants = choice.subset.map(|wanted| subsets.variants(wanted)).unwrap_or_default();
        let (set, any) = (&*self.set, &mut self.pools);
        if variants.is_empty() {
            return choose_part(subsets, set, any, choice);
        }
        variants.iter().find_map(|one| choose_part(subsets, set, any, Choice { subset: Some(one), ..choice }))
    }
}

fn choose_part(
    subsets: &mut Subsets,
    set: &EndpointSet,
    any: &mut Pools,
    choice: Choice<'_>,
) -> Option<Chosen> {
    let way = subsets.way(set, choice.subset, choice.random);
    let part = if way.named { Part::Subset } else { Part::Fallback };
    let chosen = subsets.pools(way, any).and_then(|pools| choose_of(pools, choice, part));
    if chosen.is_none() && way.panics { choose_of(any, choice, Part::FallbackPanic) } else { chosen }
}

fn choose_of(pools: &mut Pools, choice: Choice<'_>, part: Part) -> Option<Chosen> {
    let Choice { random, hash, .. } = choice;
    let pool = match pools.as_mut_slice() {
        [(_, only)] => only,
        pools => {
            // Another number than the one that chooses the host, which must not depend on the priority.
            let point = (mix(hash.unwrap_or(random) ^ 0x5bd1_e995) % 100) as u32;
            let at = pools.partition_point(|(sum, _)| *sum <= point);
            &mut pools.get_mut(at)?.1
        }
    };
    let endpoint = pool.choose(random, hash)?.clone();
    Some(Chosen { endpoint, panicking: pool.panicking, part })
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
