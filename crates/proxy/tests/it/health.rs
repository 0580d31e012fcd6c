//! Active health checks.

use crate::harness::*;
use lateen_proxy::config::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub fn check(probe: Probe) -> Option<Box<HealthCheck>> {
    let soon = Duration::from_millis(20);
    Some(Box::new(HealthCheck {
        timeout: Duration::from_secs(2),
        intervals: Intervals {
            healthy: soon,
            healthy_edge: soon,
            unhealthy: soon,
            unhealthy_edge: soon,
            no_traffic: soon,
            no_traffic_healthy: soon,
        },
        jitter: Duration::ZERO,
        jitter_percent: 0,
        initial_jitter: Duration::ZERO,
        unhealthy_threshold: 2,
        healthy_threshold: 2,
        port: None,
        probe,
    }))
}

fn http_probe() -> Probe {
    Probe::Http(Box::new(HttpProbe {
        http2: false,
        method: http::Method::GET,
        path: "/healthz".to_owned(),
        host: Some("checked".to_owned()),
        headers: vec![("x-check".to_owned(), "1".to_owned())],
        expected: vec![200..=200],
        retriable: Vec::new(),
    }))
}

/// Without panic: an endpoint that fails gets nothing.
fn checked(addresses: &[SocketAddr], probe: Probe) -> Cluster {
    let cluster = Cluster::fixed("up", addresses.iter().copied());
    Cluster { health_check: check(probe), panic_threshold: 0, ..cluster }
}

pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

pub fn usable(slot: &ClusterSlot) -> Vec<bool> {
    let cluster = slot.load().clone().unwrap();
    cluster.endpoints.load().endpoints.iter().map(|endpoint| endpoint.usable()).collect()
}

#[test]
fn an_endpoint_gets_requests_only_while_its_http_check_passes() {
    let status = Arc::new(AtomicU16::new(503));
    let tells = status.clone();
    let up = upstream(move |request| {
        if !request.head.starts_with("GET /healthz ") {
            return ok("served");
        }
        let told = (request.header("host"), request.header("x-check"), request.header("user-agent"));
        assert_eq!(told, (Some("checked"), Some("1"), Some("Envoy/HC")));
        format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", tells.load(Ordering::SeqCst))
    });
    let proxy = Proxy::start();
    let slot = proxy.put(checked(&[up], http_probe()));
    assert_eq!(usable(&slot), [false], "not before it was checked");
    proxy.routes(vec![forward(RouteAction::to(slot.clone()))]);
    let address = proxy.listen(proxy.manager());
    let failures = || slot.health.get().map_or(0, |stats| stats.failure.load(Ordering::Relaxed));
    wait_for("a failed check", || failures() > 0);
    assert_eq!(get(address, "/").status(), 503);
    assert_eq!(proxy.log.line(0), "503 UH no_healthy_upstream");
    status.store(200, Ordering::SeqCst);
    wait_for("healthy", || usable(&slot) == [true]);
    assert_eq!(get(address, "/").body, "served");
    status.store(500, Ordering::SeqCst);
    wait_for("unhealthy again", || usable(&slot) == [false]);
}

#[test]
fn a_tcp_check_sends_and_expects() {
    let greets = server(|mut stream| {
        use std::io::{Read, Write};
        let mut asked = [0; 4];
        if stream.read_exact(&mut asked).is_ok() && &asked == b"ping" {
            let _ = stream.write_all(b"+pong\r\n");
        }
    });
    let mute = server(|mut stream| drop(std::io::Read::read(&mut stream, &mut [0; 64])));
    let proxy = Proxy::start();
    let probe = Probe::Tcp { send: "ping".into(), receive: vec!["pong".into()] };
    let slot = proxy.put(checked(&[greets, mute, nobody()], probe));
    wait_for("one is healthy", || usable(&slot) == [true, false, false]);
}

#[test]
fn a_check_that_is_taken_away_leaves_nobody_out() {
    let proxy = Proxy::start();
    let slot = proxy.put(checked(&[nobody()], http_probe()));
    assert_eq!(usable(&slot), [false]);
    proxy.put(Cluster { health_check: None, ..checked(&[nobody()], http_probe()) });
    let cluster = Cluster::fixed("up", [nobody()]);
    proxy.put(cluster);
    assert_eq!(usable(&slot), [true]);
}

#[test]
fn new_endpoints_of_a_checked_cluster_wait_for_their_check() {
    let proxy = Proxy::start();
    let endpoints = proxy.store.endpoint_slot("eds");
    let cluster = Cluster::with("up", Discovery::Eds, endpoints.clone());
    let slot = proxy.put(Cluster { health_check: check(http_probe()), ..cluster });
    let disabled = Some(Box::new(EndpointCheck { disabled: true, ..EndpointCheck::default() }));
    let unchecked = Endpoint { check: disabled, ..Endpoint::new(nobody()) };
    let all =
        vec![Arc::new(Endpoint::new(says("x"))), Arc::new(unchecked), Arc::new(Endpoint::new(nobody()))];
    proxy.store.put_endpoints("eds", EndpointSet { endpoints: all, ..EndpointSet::default() });
    assert_eq!(usable(&slot), [false, true, false]);
    wait_for("the first is found healthy", || usable(&slot) == [true, true, false]);
}
