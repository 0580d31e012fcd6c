//! What takes a share of the load: the healthy or degraded endpoints of a priority, or all of them in panic.

use super::Settings;
use super::pick::{Picker, Schedule};
use super::priority::{self, Counts};
use crate::config::{Endpoint, EndpointSet, Health, LbPolicy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What takes load, with the sum of the percentages up to it; the last sum is 100.
pub(super) type Pools = Vec<(u32, Pool)>;

/// Endpoints to choose from.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) panicking: bool,
    groups: Groups,
}

#[derive(Debug)]
enum Groups {
    One(Picker),
    /// Localities in turn, by weight.
    ByLocality(Schedule, Vec<Picker>),
}

impl Pool {
    pub(super) fn choose(&mut self, random: u64, hash: Option<u64>) -> Option<&Arc<Endpoint>> {
        match &mut self.groups {
            Groups::One(picker) => picker.choose(random, hash),
            Groups::ByLocality(schedule, pickers) => pickers.get_mut(schedule.next()?)?.choose(random, hash),
        }
    }
}

type Hosts<'a> = Vec<&'a Arc<Endpoint>>;

fn is_healthy(endpoint: &Endpoint) -> bool {
    endpoint.usable() && endpoint.health == Health::Healthy
}

fn is_degraded(endpoint: &Endpoint) -> bool {
    endpoint.usable() && endpoint.health == Health::Degraded
}

fn counts(hosts: &Hosts<'_>, weighted: bool) -> Counts {
    let mut counts = Counts::default();
    for host in hosts {
        let size = if weighted { u64::from(host.weight) } else { 1 };
        counts.total += size;
        counts.healthy += if is_healthy(host) { size } else { 0 };
        counts.degraded += if is_degraded(host) { size } else { 0 };
    }
    counts
}

/// The pools that take load, with the sum of percentages up to each.
pub(super) fn pools(set: &EndpointSet, settings: Settings<'_>, random: u64) -> Pools {
    let mut priorities: BTreeMap<u32, Hosts<'_>> = BTreeMap::new();
    for endpoint in &set.endpoints {
        priorities.entry(endpoint.priority).or_default().push(endpoint);
    }
    let priorities: Vec<Hosts<'_>> = priorities.into_values().collect();
    let counts: Vec<_> = priorities.iter().map(|hosts| counts(hosts, set.weighted_health)).collect();
    let loads = priority::loads(&counts, set.overprovisioning, settings.panic_threshold);
    let (mut pools, mut sum) = (Vec::new(), 0);
    let mut add = |load: u32, pool: &dyn Fn() -> Pool| {
        if load > 0 {
            sum += load;
            pools.push((sum, pool()));
        }
    };
    for (hosts, load) in priorities.iter().zip(loads) {
        add(load.healthy, &|| match load.panics {
            true if settings.fail_on_panic => one(Vec::new(), true, settings.policy, random),
            true => one(hosts.clone(), true, settings.policy, random),
            false => usable(hosts, is_healthy, set.overprovisioning, settings, random),
        });
        add(load.degraded, &|| usable(hosts, is_degraded, set.overprovisioning, settings, random));
    }
    pools
}

fn one(hosts: Hosts<'_>, panicking: bool, policy: &LbPolicy, random: u64) -> Pool {
    let hosts = hosts.into_iter().map(|host| (host.clone(), f64::from(host.weight.max(1)))).collect();
    Pool { panicking, groups: Groups::One(Picker::new(policy, hosts, random)) }
}

/// A locality of a priority: all of its endpoints, and how much it weighs by what can be used.
struct Locality<'a> {
    hosts: Hosts<'a>,
    weight: f64,
}

/// The endpoints of a priority that can be used, by locality where localities weigh.
fn usable(
    all: &Hosts<'_>,
    can_be: fn(&Endpoint) -> bool,
    overprovisioning: u32,
    settings: Settings<'_>,
    random: u64,
) -> Pool {
    let localities =
        if settings.locality_weighted { localities(all, can_be, overprovisioning) } else { Vec::new() };
    if localities.is_empty() {
        let hosts = all.iter().copied().filter(|host| can_be(host)).collect();
        return one(hosts, false, settings.policy, random);
    }
    if settings.policy.is_consistent() {
        // One ring for all, so that a hash finds its host whatever came before.
        let weigh = |locality: &Locality<'_>| -> Vec<(Arc<Endpoint>, f64)> {
            let sum: f64 = locality.hosts.iter().map(|host| f64::from(host.weight.max(1))).sum();
            let share = |host: &&Arc<Endpoint>| f64::from(host.weight.max(1)) * locality.weight / sum;
            locality.hosts.iter().map(|host| ((*host).clone(), share(host))).collect()
        };
        let hosts = localities.iter().flat_map(weigh).collect();
        let picker = Picker::new(settings.policy, hosts, random);
        return Pool { panicking: false, groups: Groups::One(picker) };
    }
    let schedule = Schedule::new(localities.iter().map(|locality| locality.weight), random);
    let pickers = localities.into_iter().map(|locality| {
        let hosts = locality.hosts.into_iter();
        let hosts = hosts.map(|host| (host.clone(), f64::from(host.weight.max(1)))).collect();
        Picker::new(settings.policy, hosts, random)
    });
    Pool { panicking: false, groups: Groups::ByLocality(schedule, pickers.collect()) }
}

/// Localities that take load, with their effective weights (Envoy, "Locality weighted load balancing").
fn localities<'a>(
    all: &Hosts<'a>,
    can_be: fn(&Endpoint) -> bool,
    overprovisioning: u32,
) -> Vec<Locality<'a>> {
    let mut by_name: BTreeMap<Option<&str>, (usize, u32, Hosts<'a>)> = BTreeMap::new();
    for host in all {
        let (total, weight, hosts) = by_name.entry(host.locality.as_deref()).or_default();
        *total += 1;
        *weight = (*weight).max(host.locality_weight);
        if can_be(host) {
            hosts.push(host);
        }
    }
    let weigh = |(total, weight, hosts): (usize, u32, Hosts<'a>)| {
        let available = f64::from(overprovisioning) / 100.0 * hosts.len() as f64 / total as f64;
        Locality { weight: f64::from(weight) * available.min(1.0), hosts }
    };
    by_name.into_values().map(weigh).filter(|locality| locality.weight > 0.0).collect()
}
