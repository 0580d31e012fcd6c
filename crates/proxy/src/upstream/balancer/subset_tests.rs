//! Where labels lead, by the example of Envoy's documentation ("Load Balancer Subsets").

use super::*;
use crate::config::{
    SelectorFallback, SubsetConfig, SubsetFallback, SubsetLabel, SubsetMatch, SubsetSelector,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NONE: [u8; 0] = [];

fn labels(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().unwrap()
}

/// Hosts 1 to 5 as in the documentation.
fn hosts() -> Arc<EndpointSet> {
    let all = [
        json!({"v": "1.0", "stage": "prod"}),
        json!({"v": "1.0", "stage": "prod"}),
        json!({"v": "1.1", "stage": "canary"}),
        json!({"v": "1.2-pre", "stage": "dev"}),
        json!({"v": ["2.0", "2.1"], "n": 7}),
    ];
    let host = |(at, value): (usize, &Value)| {
        let address = SocketAddr::from(([10, 0, 0, at as u8 + 1], 80));
        Arc::new(Endpoint { labels: SubsetLabel::all(labels(value)), ..Endpoint::new(address) })
    };
    Arc::new(EndpointSet { endpoints: all.iter().enumerate().map(host).collect(), ..EndpointSet::default() })
}

fn selector(keys: &[&str], fallback: Option<SelectorFallback>) -> SubsetSelector {
    let keys = keys.iter().map(|key| Box::from(*key)).collect();
    SubsetSelector { keys, single_host: false, fallback }
}

fn config(fallback: SubsetFallback) -> SubsetConfig {
    SubsetConfig {
        selectors: vec![selector(&["v"], None), selector(&["stage", "v"], None), selector(&["n"], None)],
        fallback,
        default_subset: SubsetMatch::new(labels(&json!({"stage": "prod"}))),
        locality_weight_aware: false,
        scale_locality_weight: false,
        panic_mode_any: false,
        list_as_any: false,
        metadata_fallback: false,
    }
}

/// The last parts of the addresses that labels lead to.
fn chosen(config: SubsetConfig, set: &Arc<EndpointSet>, wanted: Value) -> Vec<u8> {
    let config = Arc::new(config);
    let settings = Settings {
        policy: &LbPolicy::RoundRobin,
        panic_threshold: 0,
        fail_on_panic: false,
        locality_weighted: false,
        subsets: Some(&config),
    };
    let wanted = SubsetMatch::new(labels(&wanted));
    let mut balancer = Balancer::new(set.clone(), settings, 3);
    let next = |random| {
        let choice = Choice { random, hash: None, avoid: (&[], 0), subset: Some(&wanted) };
        balancer.choose(choice).map(|chosen| match chosen.endpoint.address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        })
    };
    (0..20).filter_map(next).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn labels_lead_to_the_hosts_that_bear_them() {
    let of = |wanted| chosen(config(SubsetFallback::None), &hosts(), wanted);
    assert_eq!(of(json!({"v": "1.0"})), [1, 2]);
    assert_eq!(of(json!({"stage": "canary", "v": "1.1"})), [3]);
    assert_eq!(of(json!({"n": 7})), [5]);
    assert_eq!(of(json!({"n": "7"})), NONE, "a text is no number");
    assert_eq!(of(json!({"v": "2.0"})), NONE, "a list is no text");
    let any = SubsetConfig { list_as_any: true, ..config(SubsetFallback::None) };
    assert_eq!(chosen(any, &hosts(), json!({"v": "2.1"})), [5]);
}

#[test]
fn what_no_subset_is_there_for_falls_back() {
    for unknown in [json!({"v": "9"}), json!({"stage": "prod"}), json!({})] {
        let of = |fallback| chosen(config(fallback), &hosts(), unknown.clone());
        assert_eq!(of(SubsetFallback::None), NONE);
        assert_eq!(of(SubsetFallback::Any), [1, 2, 3, 4, 5]);
        assert_eq!(of(SubsetFallback::Default), [1, 2]);
    }
}

#[test]
fn an_empty_default_subset_is_nobody_unless_panic_takes_any() {
    let empty = SubsetMatch::new(labels(&json!({"stage": "none"})));
    let config = SubsetConfig { default_subset: empty, ..config(SubsetFallback::Default) };
    assert_eq!(chosen(config.clone(), &hosts(), json!({"v": "9"})), NONE);
    let panics = SubsetConfig { panic_mode_any: true, ..config };
    assert_eq!(chosen(panics, &hosts(), json!({"v": "9"})), [1, 2, 3, 4, 5]);
}

#[test]
fn a_selector_may_have_its_own_fallback() {
    let keys = Some(SelectorFallback::Keys(vec!["v".into()]));
    let narrower = SubsetConfig {
        selectors: vec![selector(&["stage", "v"], keys), selector(&["v"], None)],
        ..config(SubsetFallback::Any)
    };
    assert_eq!(chosen(narrower, &hosts(), json!({"stage": "gone", "v": "1.0"})), [1, 2]);
    let none = Some(SelectorFallback::Plain(SubsetFallback::None));
    let strict = SubsetConfig { selectors: vec![selector(&["v"], none)], ..config(SubsetFallback::Any) };
    assert_eq!(chosen(strict.clone(), &hosts(), json!({"v": "9"})), NONE);
    assert_eq!(chosen(strict, &hosts(), json!({"other": "9"})), [1, 2, 3, 4, 5]);
}

#[test]
fn a_list_of_variants_is_tried_in_order() {
    let listed = json!({"v": "1.0", "fallback_list": [{"v": "8"}, {"v": "1.1"}, {"v": "1.2-pre"}]});
    let tries = SubsetConfig { metadata_fallback: true, ..config(SubsetFallback::None) };
    assert_eq!(chosen(tries, &hosts(), listed), [3]);
}

#[test]
fn one_host_stands_for_a_subset_where_told() {
    let mut one = config(SubsetFallback::None);
    one.selectors[0].single_host = true;
    assert_eq!(chosen(one, &hosts(), json!({"v": "1.0"})), [1]);
}

#[test]
fn a_subset_whose_hosts_are_out_does_not_fall_back() {
    let set = hosts();
    set.endpoints[..2].iter().for_each(|host| host.state.ejected.store(true, Ordering::Relaxed));
    assert_eq!(chosen(config(SubsetFallback::Any), &set, json!({"v": "1.0"})), NONE);
}

#[test]
fn localities_weigh_within_subsets_by_what_is_left_of_them() {
    let host = |at: u8, place: &str, version: &str| {
        Arc::new(Endpoint {
            labels: SubsetLabel::all(labels(&json!({"v": version}))),
            locality: Some(place.into()),
            locality_weight: 100,
            ..Endpoint::new(([10, 0, 0, at], 80).into())
        })
    };
    // One of four in the east, all of four in the west.
    let mut endpoints = vec![host(1, "east", "new")];
    endpoints.extend((2..5).map(|at| host(at, "east", "old")));
    endpoints.extend((5..9).map(|at| host(at, "west", "new")));
    let set = Arc::new(EndpointSet { endpoints, ..EndpointSet::default() });
    let east = |scaled| {
        let config = Arc::new(SubsetConfig {
            locality_weight_aware: true,
            scale_locality_weight: scaled,
            ..config(SubsetFallback::None)
        });
        let settings = Settings {
            policy: &LbPolicy::RoundRobin,
            panic_threshold: 50,
            fail_on_panic: false,
            locality_weighted: true,
            subsets: Some(&config),
        };
        let wanted = SubsetMatch::new(labels(&json!({"v": "new"})));
        let mut balancer = Balancer::new(set.clone(), settings, 3);
        let mut next = |random| {
            let choice = Choice { random, hash: None, avoid: (&[], 0), subset: Some(&wanted) };
            balancer.choose(choice).unwrap().endpoint.address
        };
        (0..1000).filter(|n| next(*n) == set.endpoints[0].address).count()
    };
    assert!(east(false).abs_diff(500) < 5, "{}", east(false));
    assert!(east(true).abs_diff(200) < 5, "{}", east(true));
}
