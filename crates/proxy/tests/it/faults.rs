//! Delays and aborts.

use crate::harness::*;
use lateen_proxy::config::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn with_fault(policy: FaultPolicy) -> (Proxy, std::net::SocketAddr) {
    let proxy = Proxy::start();
    let mut route = forward(RouteAction::to(proxy.cluster("up", &[says("through")])));
    route.filters.fault = Some(Arc::new(policy));
    proxy.routes(vec![route]);
    let mut manager = proxy.manager();
    manager.filters.push(HttpFilter::Fault(Arc::default()));
    let address = proxy.listen(manager);
    (proxy, address)
}

fn jason() -> Vec<HeaderMatcher> {
    vec![HeaderMatcher {
        name: "end-user".into(),
        value: HeaderValueMatch::String(StringMatcher::exact("jason")),
        invert: false,
        treat_missing_as_empty: false,
    }]
}

#[test]
fn an_abort_hits_those_it_is_meant_for() {
    let kind = FaultSource::Fixed(AbortStatus::Http(500));
    let abort = Some(FaultAbort { kind, percentage: Fraction::ALL });
    let (proxy, address) = with_fault(FaultPolicy { abort, headers: jason(), ..FaultPolicy::default() });
    let answer = get_with(address, "/", "end-user: jason\r\n");
    assert_eq!((answer.status(), &*answer.body), (500, "fault filter abort"));
    assert_eq!(proxy.log.line(0), "500 FI fault_filter_abort");
    assert_eq!(get(address, "/").body, "through");
}

#[test]
fn a_delay_holds_the_request() {
    let time = Duration::from_millis(300);
    let delay = Some(FaultDelay { kind: FaultSource::Fixed(time), percentage: Fraction::ALL });
    let (proxy, address) = with_fault(FaultPolicy { delay, ..FaultPolicy::default() });
    let start = Instant::now();
    assert_eq!(get(address, "/").body, "through");
    let took = start.elapsed();
    assert!(took >= time && took < time + Duration::from_millis(250), "{took:?}");
    assert_eq!(proxy.log.line(0), "200 DI -");
}

#[test]
fn a_percentage_divides() {
    let kind = FaultSource::Fixed(AbortStatus::Http(500));
    let percentage = Fraction { numerator: 50, denominator: 100 };
    let (_proxy, address) =
        with_fault(FaultPolicy { abort: Some(FaultAbort { kind, percentage }), ..FaultPolicy::default() });
    let mut client = Client::new(address);
    let aborted =
        (0..400).filter(|_| client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status() == 500).count();
    assert!((140..260).contains(&aborted), "{aborted}");
}

#[test]
fn headers_may_ask_for_faults_where_the_policy_lets_them() {
    let abort = Some(FaultAbort { kind: FaultSource::Header, percentage: Fraction::ALL });
    let (_proxy, address) = with_fault(FaultPolicy { abort, ..FaultPolicy::default() });
    assert_eq!(get_with(address, "/", "x-envoy-fault-abort-request: 418\r\n").status(), 418);
    assert_eq!(get(address, "/").status(), 200);
}
