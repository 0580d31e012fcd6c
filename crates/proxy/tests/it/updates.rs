//! Configuration that changes while traffic flows.

use crate::harness::*;
use lateen_proxy::config::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn routes_and_endpoints_change_under_load_without_a_failed_request() {
    let proxy = Proxy::with_workers(2);
    let (a, b) = (says("a"), says("b"));
    let slots = [proxy.cluster("a", &[a]), proxy.cluster("b", &[b])];
    proxy.routes(vec![forward(RouteAction::to(slots[0].clone()))]);
    let address = proxy.listen(proxy.manager());
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let (mut client, mut count) = (Client::new(address), 0);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for round in 0..200 {
        proxy.routes(vec![forward(RouteAction::to(slots[round % 2].clone()))]);
        proxy.cluster("a", &[a]);
        proxy.cluster("b", &[[b].as_slice(), &[a]].concat()[..1 + round % 2]);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    stop.store(true, Ordering::Relaxed);
    assert!(clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>() > 100);
}

#[test]
fn an_endpoint_update_keeps_connections() {
    let proxy = Proxy::start();
    let up = says("kept");
    let endpoints = proxy.store.endpoint_slot("eds");
    endpoints.store(EndpointSet::of([up]));
    let slot = proxy.put(Cluster::with("c", Discovery::Eds, endpoints));
    proxy.routes(vec![forward(RouteAction::to(slot.clone()))]);
    let address = proxy.listen(proxy.manager());
    for _ in 0..5 {
        assert_eq!(get(address, "/").body, "kept");
        proxy.store.put_endpoints("eds", EndpointSet::of([up]));
    }
    assert_eq!(slot.stats.sum(|shard| &shard.upstream_cx_total), 1);
}

#[test]
fn a_drained_listener_finishes_its_request_and_closes() {
    let (proxy, address) = Proxy::to(says("last"));
    let mut busy = Client::new(address);
    assert_eq!(busy.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").header("connection"), None);
    let idle = Client::new(address);
    proxy.store.drain_listeners(DrainScope::All);
    proxy.workers.sync_listeners();
    drop(idle);
    assert_eq!(busy.rest(), "", "an idle connection is closed");
    let refused = || std::net::TcpStream::connect(address).is_err();
    let deadline = std::time::Instant::now() + WAIT;
    while !refused() {
        assert!(std::time::Instant::now() < deadline, "the socket is still open");
        std::thread::yield_now();
    }
}

#[test]
fn a_removed_route_answers_404_and_a_new_virtual_host_is_found() {
    let proxy = Proxy::start();
    let slot = proxy.cluster("up", &[says("yes")]);
    proxy.hosts(vec![host("a", &["a"], vec![forward(RouteAction::to(slot.clone()))])]);
    let address = proxy.listen(proxy.manager());
    assert_eq!(get_with(address, "/", "Host: b\r\n").status(), 404);
    let b = Arc::new(host("b", &["b"], vec![forward(RouteAction::to(slot))]));
    proxy.store.put_virtual_hosts("routes", vec![b], &["a".into()]).unwrap();
    assert_eq!(get_with(address, "/", "Host: b\r\n").body, "yes");
    assert_eq!(get_with(address, "/", "Host: a\r\n").status(), 404);
}

#[test]
fn a_cluster_that_is_found_by_dns_gets_its_endpoints() {
    let proxy = Proxy::start();
    let up = says("by name");
    let target = DnsTarget { host: "localhost".into(), port: up.port(), template: Endpoint::new(up) };
    let refresh = std::time::Duration::from_secs(5);
    let dns = DnsDiscovery { targets: vec![target], refresh, family: DnsFamily::V4Only };
    let endpoints = Arc::new(EndpointSlot::empty("dns"));
    let slot = proxy.put(Cluster::with("dns", Discovery::StrictDns(dns), endpoints.clone()));
    let deadline = std::time::Instant::now() + WAIT;
    while !endpoints.is_known() {
        assert!(std::time::Instant::now() < deadline, "not looked up");
        std::thread::yield_now();
    }
    proxy.routes(vec![forward(RouteAction::to(slot))]);
    assert_eq!(get(proxy.listen(proxy.manager()), "/").body, "by name");
}
