//! Listeners that come to their end while they are used.

use crate::harness::*;
use lateen_proxy::config::*;
use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn an_answer_of_a_draining_listener_closes_its_connection() {
    let (proxy, address) = Proxy::to(says("x"));
    let mut client = Client::new(address);
    assert_eq!(client.request(GET).header("connection"), None);
    proxy.store.drain_connections(DrainScope::All);
    proxy.workers.wake_connections();
    assert_eq!(client.request(GET).header("connection"), Some("close"));
    assert_eq!(client.rest(), "");
    assert_eq!(get(address, "/").header("connection"), Some("close"), "sockets are open still");
}

#[test]
fn an_inbound_drain_leaves_other_listeners_alone() {
    let (proxy, address) = Proxy::to(says("x"));
    proxy.store.drain_connections(DrainScope::Inbound);
    proxy.store.stop_listeners(DrainScope::Inbound);
    proxy.workers.sync_listeners();
    let mut client = Client::new(address);
    assert_eq!(client.request(GET).header("connection"), None);
    assert_eq!(client.request(GET).status(), 200);
}

#[test]
fn connections_go_on_when_their_listener_only_stops() {
    let (proxy, address) = Proxy::to(says("x"));
    let mut client = Client::new(address);
    assert_eq!(client.request(GET).status(), 200);
    proxy.store.stop_listeners(DrainScope::All);
    proxy.workers.sync_listeners();
    let deadline = std::time::Instant::now() + WAIT;
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the socket is still open");
    }
    assert_eq!(client.request(GET).header("connection"), None);
}

#[test]
fn a_busy_request_is_cut_when_the_time_to_drain_is_over() {
    let (asked, was_asked) = mpsc::channel();
    let asked = std::sync::Mutex::new(asked);
    let silent = server(move |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = asked.lock().unwrap().send(());
        let _ = stream.read(&mut [0; 1024]);
    });
    let (proxy, address) = Proxy::to(silent);
    proxy.store.set_drain_time(Duration::from_millis(1));
    let mut client = Client::new(address);
    client.send(GET);
    was_asked.recv_timeout(WAIT).unwrap();
    proxy.store.drain_listeners(DrainScope::All);
    proxy.workers.sync_listeners();
    assert_eq!(client.rest(), "");
    assert_eq!(proxy.log.line(0), "0 DC downstream_local_disconnect");
}

#[test]
fn a_failing_health_check_closes_connections_until_it_passes() {
    let (proxy, address) = Proxy::to(says("x"));
    proxy.store.set_failing(true);
    assert_eq!(get(address, "/").header("connection"), Some("close"));
    proxy.store.set_failing(false);
    assert_eq!(get(address, "/").header("connection"), None);
}
