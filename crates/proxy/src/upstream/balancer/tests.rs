use super::*;
use crate::config::Health;
use std::collections::HashMap;

fn set(weights: &[u32]) -> Arc<EndpointSet> {
    let endpoint = |(at, weight): (usize, &u32)| {
        let address = SocketAddr::from(([10, 0, 0, at as u8], 80));
        Arc::new(Endpoint { weight: *weight, ..Endpoint::new(address) })
    };
    Arc::new(EndpointSet {
        endpoints: weights.iter().enumerate().map(endpoint).collect(),
        ..EndpointSet::default()
    })
}

fn plain(policy: &LbPolicy) -> Settings<'_> {
    Settings { policy, panic_threshold: 50, fail_on_panic: false, locality_weighted: false, subsets: None }
}

fn counts(set: &Arc<EndpointSet>, policy: LbPolicy, tries: u64) -> Vec<u64> {
    let mut balancer = Balancer::new(set.clone(), plain(&policy), 1);
    let mut counts: HashMap<SocketAddr, u64> = HashMap::new();
    for n in 0..tries {
        let choice = Choice { random: mix(n), hash: Some(mix(n)), avoid: (&[], 0), subset: None };
        *counts.entry(balancer.choose(choice).unwrap().endpoint.address).or_default() += 1;
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
        let choice = Choice { random, hash: Some(42), avoid: (&[], 0), subset: None };
        Balancer::new(set(&[1, 1, 1]), plain(&policy), random).choose(choice).unwrap().endpoint.address
    };
    assert_eq!(choose(1), choose(99));
}

#[test]
fn least_request_prefers_the_idle_host() {
    let set = set(&[1, 1]);
    set.endpoints[0].state.active.store(100, Ordering::Relaxed);
    let got = counts(&set, LbPolicy::LeastRequest { choices: 2, bias: 1.0 }, 400);
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
    let mut balancer = Balancer::new(set.clone(), plain(&LbPolicy::Random), 1);
    let tried = [set.endpoints[0].address];
    for n in 0..50 {
        let choice = Choice { random: mix(n), hash: None, avoid: (&tried, 20), subset: None };
        assert_eq!(balancer.choose(choice).unwrap().endpoint.address, set.endpoints[1].address);
    }
}

/// Endpoints of (locality, locality weight, priority, health).
fn placed(endpoints: &[(&str, u32, u32, Health)]) -> Arc<EndpointSet> {
    let endpoint =
        |(at, (locality, locality_weight, priority, health)): (usize, &(&str, u32, u32, Health))| {
            Arc::new(Endpoint {
                locality: Some((*locality).into()),
                locality_weight: *locality_weight,
                priority: *priority,
                health: *health,
                ..Endpoint::new(SocketAddr::from(([10, 0, 0, at as u8], 80)))
            })
        };
    let endpoints = endpoints.iter().enumerate().map(endpoint).collect();
    Arc::new(EndpointSet { endpoints, ..EndpointSet::default() })
}

fn shares(set: &Arc<EndpointSet>, settings: Settings<'_>) -> Vec<i64> {
    let mut balancer = Balancer::new(set.clone(), settings, 7);
    let mut counts: HashMap<SocketAddr, i64> = HashMap::new();
    for n in 0..10_000 {
        let choice = Choice { random: mix(n), hash: Some(mix(n)), avoid: (&[], 0), subset: None };
        if let Some(chosen) = balancer.choose(choice) {
            *counts.entry(chosen.endpoint.address).or_default() += 1;
        }
    }
    let share = |e: &Arc<Endpoint>| (counts.get(&e.address).copied().unwrap_or(0) + 50) / 100;
    set.endpoints.iter().map(share).collect()
}

fn near(got: &[i64], wanted: &[i64]) {
    let near = got.iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() <= 3);
    assert!(near && got.len() == wanted.len(), "{got:?} is not {wanted:?}");
}

const UP: Health = Health::Healthy;
const DOWN: Health = Health::Unhealthy;

#[test]
fn load_spills_over_to_the_next_priority_by_what_is_missing() {
    let set = placed(&[("a", 0, 0, UP), ("a", 0, 0, DOWN), ("b", 0, 1, UP), ("b", 0, 1, UP)]);
    // Half of two endpoints times 1.4: 70% stay.
    near(&shares(&set, plain(&LbPolicy::RoundRobin)), &[70, 0, 15, 15]);
    near(&shares(&set, plain(&LbPolicy::RingHash { min_size: 4096, max_size: 8192 })), &[70, 0, 15, 15]);
}

#[test]
fn degraded_endpoints_take_what_healthy_ones_cannot() {
    let set = placed(&[("a", 0, 0, UP), ("a", 0, 0, Health::Degraded)]);
    near(&shares(&set, plain(&LbPolicy::RoundRobin)), &[70, 30]);
}

#[test]
fn localities_take_load_by_weight_where_that_is_asked_for() {
    let set = placed(&[("a", 3, 0, UP), ("b", 1, 0, UP), ("b", 1, 0, UP), ("c", 0, 0, UP)]);
    let weighted = |policy| Settings { locality_weighted: true, ..plain(policy) };
    near(&shares(&set, weighted(&LbPolicy::RoundRobin)), &[75, 12, 12, 0]);
    near(
        &shares(&set, weighted(&LbPolicy::RingHash { min_size: 65_536, max_size: 65_536 })),
        &[75, 12, 12, 0],
    );
    near(&shares(&set, plain(&LbPolicy::RoundRobin)), &[25, 25, 25, 25]);
}

#[test]
fn a_locality_that_loses_endpoints_loses_weight() {
    let set = placed(&[("a", 1, 0, UP), ("a", 1, 0, DOWN), ("b", 1, 0, UP), ("b", 1, 0, UP)]);
    // 0.7 : 1, both within priority 0.
    let settings = Settings { locality_weighted: true, ..plain(&LbPolicy::RoundRobin) };
    near(&shares(&set, settings), &[41, 0, 29, 29]);
}

#[test]
fn panic_uses_all_or_fails_as_configured() {
    let set = placed(&[("a", 0, 0, DOWN), ("a", 0, 0, DOWN)]);
    near(&shares(&set, plain(&LbPolicy::RoundRobin)), &[50, 50]);
    let settings = Settings { fail_on_panic: true, ..plain(&LbPolicy::RoundRobin) };
    near(&shares(&set, settings), &[0, 0]);
    let settings = Settings { panic_threshold: 0, ..plain(&LbPolicy::RoundRobin) };
    near(&shares(&set, settings), &[0, 0]);
}

#[test]
fn weights_fall_with_the_requests_under_way() {
    let set = set(&[1, 3]);
    let policy = |bias| LbPolicy::LeastRequest { choices: 2, bias };
    near(&shares(&set, plain(&policy(1.0))), &[25, 75]);
    set.endpoints[1].state.active.store(2, Ordering::Relaxed);
    near(&shares(&set, plain(&policy(1.0))), &[50, 50]);
    near(&shares(&set, plain(&policy(0.0))), &[25, 75]);
}
