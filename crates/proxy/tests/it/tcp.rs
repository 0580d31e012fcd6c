//! Plain TCP.

use crate::harness::*;
use lateen_proxy::config::*;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

fn tcp(proxy: &Proxy, change: impl FnOnce(&mut TcpProxy), upstreams: &[SocketAddr]) -> SocketAddr {
    let slot = proxy.cluster("up", upstreams);
    let mut settings = TcpProxy::to("tcp", slot, proxy.store.workers());
    settings.access_logs.push(proxy.log.clone());
    change(&mut settings);
    proxy.listen_on("tcp", FilterChain::plain(Terminal::Tcp(Arc::new(settings))))
}

/// Answers the bytes it got once the client has ended its side.
fn after_half_close() -> SocketAddr {
    server(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    })
}

#[test]
fn bytes_pass_both_ways_and_half_close_is_kept() {
    let proxy = Proxy::start();
    let address = tcp(&proxy, |_| {}, &[after_half_close()]);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(WAIT)).unwrap();
    let data = vec![b'x'; 1 << 20];
    client.write_all(&data).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back.len(), data.len());
    assert_eq!(proxy.log.line(0), "0 - -");
    let stats = &proxy.store.cluster_slot("up").stats;
    assert_eq!(stats.sum(|shard| &shard.upstream_cx_rx_bytes_total), 1 << 20);
}

#[test]
fn weights_divide_connections() {
    let proxy = Proxy::start();
    let say = |text: &'static str| server(move |mut stream| stream.write_all(text.as_bytes()).unwrap());
    let other = proxy.cluster("other", &[say("b")]);
    let address = tcp(
        &proxy,
        |settings| settings.clusters.push(TcpTarget { cluster: other, weight: 1, subset: None }),
        &[say("a")],
    );
    let first = (0..200)
        .filter(|_| {
            let mut text = String::new();
            TcpStream::connect(address).unwrap().read_to_string(&mut text).unwrap();
            text == "a"
        })
        .count();
    assert!((60..140).contains(&first), "{first}");
}

#[test]
fn silence_ends_a_session() {
    let proxy = Proxy::start();
    let idle = Some(Duration::from_millis(100));
    let address = tcp(&proxy, |settings| settings.idle_timeout = idle, &[after_half_close()]);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(WAIT)).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(proxy.log.line(0), "0 SI -");
}

#[test]
fn a_dead_endpoint_closes_the_client_unless_another_may_be_tried() {
    let proxy = Proxy::start();
    let address = tcp(&proxy, |_| {}, &[nobody()]);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(WAIT)).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    assert!(proxy.log.line(0).starts_with("0 UF "));

    let proxy = Proxy::start();
    let address = tcp(&proxy, |settings| settings.max_connect_attempts = 3, &[nobody(), after_half_close()]);
    for _ in 0..4 {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"hi").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
    }
}

#[test]
fn sessions_end_when_their_time_to_drain_is_over() {
    let proxy = Proxy::start();
    proxy.store.set_drain_time(Duration::from_millis(1));
    let address =
        tcp(&proxy, |_| {}, &[server(|mut stream| while stream.read(&mut [0]).unwrap_or(0) > 0 {})]);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(WAIT)).unwrap();
    client.write_all(b"x").unwrap();
    while proxy.store.cluster_slot("up").stats.sum(|shard| &shard.upstream_cx_active) == 0 {
        std::thread::yield_now();
    }
    proxy.store.drain_listeners(DrainScope::All);
    proxy.workers.sync_listeners();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
