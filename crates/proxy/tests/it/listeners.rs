//! Sniffing and filter chains over real sockets.

use crate::harness::*;
use lateen_proxy::config::*;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// HTTP goes to the connection manager, everything else to the TCP proxy.
fn sniffing(proxy: &Proxy, timeout: Duration) -> SocketAddr {
    let raw = server(|mut stream| {
        let mut bytes = [0; 64];
        let n = stream.read(&mut bytes).unwrap();
        stream.write_all(b"raw:").unwrap();
        stream.write_all(&bytes[..n]).unwrap();
    });
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("web", &[says("http")])))]);
    let slot = proxy.cluster("raw", &[raw]);
    let mut http = FilterChain::plain(Terminal::Http(Arc::new(proxy.manager())));
    http.matches.application_protocols = vec!["http/1.1".into(), "h2c".into()];
    let tcp = FilterChain::plain(Terminal::Tcp(Arc::new(TcpProxy::to("raw", slot, 1))));
    let mut listener = Listener::simple("sniff", "127.0.0.1:0".parse().unwrap(), http);
    listener.default_chain = Some(Arc::new(tcp));
    listener.listener_filters.http_inspector = Some(Vec::new());
    listener.listener_filters.tls_inspector = Some(Vec::new());
    listener.listener_filters.timeout = timeout;
    listener.listener_filters.continue_on_timeout = true;
    proxy.listener(listener)
}

#[test]
fn http_and_other_bytes_take_their_own_chains() {
    let proxy = Proxy::start();
    let address = sniffing(&proxy, Duration::from_secs(10));
    assert_eq!(get(address, "/").body, "http");
    let mut client = Client::new(address);
    client.send("\x01\x02hello");
    assert_eq!(client.rest(), "raw:\x01\x02hello");
}

#[test]
fn a_client_that_says_nothing_goes_on_after_the_limit() {
    let proxy = Proxy::start();
    let address = sniffing(&proxy, Duration::from_millis(100));
    let mut client = Client::new(address);
    std::thread::sleep(Duration::from_millis(300));
    client.send("GET late");
    assert_eq!(client.rest(), "raw:GET late");
}

#[test]
fn proxy_protocol_tells_the_client() {
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("up", &[echo()])))]);
    let mut manager = proxy.manager();
    manager.use_remote_address = true;
    let chain = FilterChain::plain(Terminal::Http(Arc::new(manager)));
    let mut listener = Listener::simple("pp", "127.0.0.1:0".parse().unwrap(), chain);
    listener.listener_filters.proxy_protocol = Some(ProxyProtocol { optional: false });
    let address = proxy.listener(listener);
    let mut client = Client::new(address);
    let answer = client.request("PROXY TCP4 9.8.7.6 1.1.1.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.body.contains("x-forwarded-for: 9.8.7.6"), "{}", answer.body);
    let mut client = Client::new(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.rest(), "");
}

#[test]
fn what_no_chain_takes_is_closed() {
    let proxy = Proxy::start();
    let mut chain = FilterChain::plain(Terminal::Close);
    chain.matches.destination_port = Some(1);
    let address = proxy.listen_on("none", chain);
    assert_eq!(Client::new(address).rest(), "");
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let proxy = Proxy::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    proxy
        .store
        .update_listeners(vec![Listener::simple("x", address, FilterChain::plain(Terminal::Close))], &[]);
    let errors = proxy.workers.sync_listeners();
    assert!(errors[0].to_string().contains(&address.to_string()), "{errors:?}");
}
