//! HTTP/1.1 to HTTP/1.1: framing, connections, headers.

use crate::harness::*;
use lateen_proxy::config::*;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_request_goes_up_and_its_answer_comes_back() {
    let (proxy, address) = Proxy::to(echo());
    let answer = get(address, "/x?y=z");
    assert_eq!(answer.status(), 200);
    assert!(answer.body.starts_with("GET /x?y=z HTTP/1.1\r\nhost: test\r\n"), "{}", answer.body);
    assert_eq!(answer.header("server"), Some("envoy"));
    assert!(answer.header("date").is_some());
    assert!(answer.header("x-envoy-upstream-service-time").is_some());
    assert!(answer.body.contains("x-forwarded-proto: http"));
    assert!(answer.body.contains("x-envoy-expected-rq-timeout-ms: 15000"));
    let id = answer.body.lines().find(|line| line.starts_with("x-request-id: ")).unwrap();
    assert_eq!(id.trim().len(), "x-request-id: ".len() + 36);
    assert_eq!(proxy.log.line(0), "200 - -");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let (proxy, address) = Proxy::to(says("hi"));
    let mut client = Client::new(address);
    for _ in 0..5 {
        assert_eq!(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").body, "hi");
    }
    let stats = &proxy.store.cluster_slot("up").stats;
    assert_eq!(stats.sum(|shard| &shard.upstream_cx_total), 1);
    assert_eq!(stats.sum(|shard| &shard.upstream_rq_total), 5);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_proxy, address) = Proxy::to(echo());
    let mut client = Client::new(address);
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.read().unwrap().body.starts_with("GET /1 "));
    assert!(client.read().unwrap().body.starts_with("GET /2 "));
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    let up = upstream(|request| {
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\r\n0\r\nX-Up: {}\r\n\r\n",
            &request.body[..3],
            request.trailers.trim()
        )
    });
    let (_proxy, address) = Proxy::to(up);
    let answer = Client::new(address).request(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-Down: 1\r\n\r\n",
    );
    assert_eq!(answer.body, "abc");
    assert_eq!(answer.trailers.trim(), "x-up: x-down: 1");
}

#[test]
fn bodies_larger_than_every_buffer_pass_both_ways() {
    let (_proxy, address) = Proxy::to(upstream(|request| ok(&request.body)));
    let body = "x".repeat(3 << 20);
    let mut client = Client::new(address);
    let mut writer = client.stream.try_clone().unwrap();
    let sent = body.clone();
    let sending = std::thread::spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", sent.len());
        writer.write_all(head.as_bytes()).unwrap();
        writer.write_all(sent.as_bytes()).unwrap();
    });
    assert_eq!(client.read().unwrap().body.len(), body.len());
    sending.join().unwrap();
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let (_proxy, address) = Proxy::to(upstream(|request| ok(&request.body)));
    let mut client = Client::new(address);
    let answer =
        client.request("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(answer.status(), 100);
    assert_eq!(client.request("ok").body, "ok");
}

#[test]
fn head_and_empty_answers_keep_the_connection() {
    let up = upstream(|request| {
        if request.head.starts_with("HEAD") {
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_owned()
        } else {
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
        }
    });
    let (_proxy, address) = Proxy::to(up);
    let mut client = Client::new(address);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_to_head().unwrap().header("content-length"), Some("100"));
    assert_eq!(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status(), 204);
}

#[test]
fn an_answer_that_ends_with_its_connection_becomes_chunks() {
    let up = server(|mut stream| {
        let mut buffer = Vec::new();
        read_message(&mut stream, &mut buffer, false);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").unwrap();
    });
    let (_proxy, address) = Proxy::to(up);
    let answer = get(address, "/");
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.body, "until the end");
}

#[test]
fn hop_by_hop_headers_end_here() {
    let (_proxy, address) = Proxy::to(echo());
    let answer = get_with(
        address,
        "/",
        "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nProxy-Connection: x\r\n",
    );
    for name in ["x-hop", "keep-alive", "te:", "proxy-connection", "connection"] {
        assert!(!answer.body.contains(name), "{name} in {}", answer.body);
    }
}

#[test]
fn a_websocket_passes_when_upgrades_are_on_and_is_refused_otherwise() {
    let up = server(|mut stream| {
        let mut buffer = Vec::new();
        let request = read_message(&mut stream, &mut buffer, false).unwrap();
        assert_eq!(request.header("upgrade"), Some("websocket"));
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            )
            .unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("up", &[up])))]);
    let mut manager = proxy.manager();
    manager.upgrades.push(("websocket".into(), true));
    let address = proxy.listen(manager);
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    let mut client = Client::new(address);
    let answer = client.request(ask);
    assert_eq!((answer.status(), answer.header("upgrade")), (101, Some("websocket")));
    client.send("ping");
    assert_eq!(client.rest(), "ping");

    let (_proxy, address) = Proxy::to(up);
    assert_eq!(Client::new(address).request(ask).status(), 403);
}

#[test]
fn connect_is_refused() {
    let (_proxy, address) = Proxy::to(says("no"));
    let answer = Client::new(address).request("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    assert_eq!(answer.status(), 403);
}

#[test]
fn a_stale_connection_is_replaced_without_a_word() {
    // Every connection serves one request and is closed when the next comes.
    let up = server(|mut stream| {
        let mut buffer = Vec::new();
        if read_message(&mut stream, &mut buffer, false).is_some() {
            stream.write_all(ok("fresh").as_bytes()).unwrap();
            let mut byte = [0];
            let _ = stream.read(&mut byte);
        }
    });
    let (_proxy, address) = Proxy::to(up);
    for _ in 0..3 {
        assert_eq!(get(address, "/").body, "fresh");
    }
}

#[test]
fn failures_of_the_upstream_are_told_as_envoy_tells_them() {
    let (proxy, address) = Proxy::to(nobody());
    let answer = get(address, "/");
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.body,
        "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, \
         transport failure reason: delayed connect error: Connection refused"
    );
    assert!(proxy.log.line(0).starts_with("503 UF "));

    let (proxy, address) = Proxy::to(server(|mut stream| {
        read_message(&mut stream, &mut Vec::new(), false);
    }));
    assert!(get(address, "/").body.ends_with("reset reason: connection termination"));
    assert!(proxy.log.line(0).starts_with("503 UC "));

    let (proxy, address) = Proxy::to(upstream(|_| "nonsense\r\n\r\n".to_owned()));
    assert!(get(address, "/").body.ends_with("reset reason: protocol error"));
    assert!(proxy.log.line(0).starts_with("503 UPE "));
}

#[test]
fn a_truncated_answer_is_seen_as_truncated() {
    let up =
        upstream(|_| "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf".to_owned());
    let up = server(move |mut stream| {
        let mut buffer = Vec::new();
        read_message(&mut stream, &mut buffer, false);
        let mut inner = std::net::TcpStream::connect(up).unwrap();
        inner.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut piece = [0; 200];
        let n = inner.read(&mut piece).unwrap();
        stream.write_all(&piece[..n]).unwrap();
    });
    let (proxy, address) = Proxy::to(up);
    let mut client = Client::new(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let all = client.rest();
    assert!(all.ends_with("\r\n\r\nhalf"), "{all}");
    assert!(proxy.log.line(0).starts_with("200 UC "));
}

#[test]
fn a_client_that_goes_away_is_logged_and_its_upstream_let_go() {
    let (gone, went) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let up = server(move |mut stream| {
        let mut buffer = Vec::new();
        read_message(&mut stream, &mut buffer, false);
        gone.lock().unwrap().send(()).unwrap();
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap_or(0), 0);
        gone.lock().unwrap().send(()).unwrap();
    });
    let (proxy, address) = Proxy::to(up);
    let mut client = Client::new(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    went.recv_timeout(WAIT).unwrap();
    drop(client);
    went.recv_timeout(WAIT).unwrap();
    assert!(proxy.log.line(0).starts_with("0 DC "));
}

#[test]
fn timeouts_answer_504_and_idle_streams_408() {
    let never = || {
        server(|stream| {
            std::thread::sleep(WAIT);
            drop(stream);
        })
    };
    let proxy = Proxy::start();
    let slot = proxy.cluster("up", &[never()]);
    let timeout = Some(Duration::from_millis(50));
    proxy.routes(vec![forward(RouteAction { timeout, ..RouteAction::to(slot.clone()) })]);
    let address = proxy.listen(proxy.manager());
    let answer = get(address, "/");
    assert_eq!((answer.status(), &*answer.body), (504, "upstream request timeout"));
    assert_eq!(proxy.log.line(0), "504 UT response_timeout");
    proxy.routes(vec![forward(RouteAction {
        timeout: None,
        idle_timeout: timeout,
        ..RouteAction::to(slot)
    })]);
    let answer = get(address, "/");
    assert_eq!((answer.status(), &*answer.body), (408, "stream timeout"));
    assert_eq!(proxy.log.line(1), "408 SI stream_idle_timeout");
}

#[test]
fn circuit_breakers_answer_503_with_overflow() {
    let proxy = Proxy::start();
    let limits = CircuitBreakers { max_requests: 0, ..CircuitBreakers::default() };
    let slot = proxy.put(Cluster { limits, ..Cluster::fixed("up", [nobody()]) });
    proxy.routes(vec![forward(RouteAction::to(slot))]);
    let answer = get(proxy.listen(proxy.manager()), "/");
    assert_eq!((answer.status(), answer.header("x-envoy-overloaded")), (503, Some("true")));
    assert!(proxy.log.line(0).starts_with("503 UO "));
}

#[test]
fn a_request_waits_for_a_connection_when_the_limit_is_reached() {
    let proxy = Proxy::start();
    let limits = CircuitBreakers { max_connections: 1, ..CircuitBreakers::default() };
    let up = upstream(|_| {
        std::thread::sleep(Duration::from_millis(20));
        ok("one at a time")
    });
    let slot = proxy.put(Cluster { limits, ..Cluster::fixed("up", [up]) });
    proxy.routes(vec![forward(RouteAction::to(slot.clone()))]);
    let address = proxy.listen(proxy.manager());
    let clients: Vec<_> = (0..4).map(|_| std::thread::spawn(move || get(address, "/").status())).collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    assert_eq!(slot.stats.sum(|shard| &shard.upstream_cx_total), 1);
}

#[test]
fn the_client_address_is_told_at_the_edge_and_headers_of_outsiders_are_removed() {
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("up", &[echo()])))]);
    let mut manager = proxy.manager();
    manager.use_remote_address = true;
    manager.server_name = "istio-envoy".into();
    let address = proxy.listen(manager);
    let answer = get_with(
        address,
        "/",
        "X-Forwarded-For: 1.2.3.4\r\nX-Envoy-Max-Retries: 9\r\nX-Envoy-Original-Path: /forged\r\nx-request-id: mine\r\n",
    );
    assert!(answer.body.contains("x-forwarded-for: 1.2.3.4,127.0.0.1"), "{}", answer.body);
    assert!(answer.body.contains("x-envoy-external-address: 127.0.0.1"));
    assert!(!answer.body.contains("x-envoy-max-retries") && !answer.body.contains("forged"));
    assert!(!answer.body.contains("x-request-id: mine"));
    assert_eq!(answer.header("server"), Some("istio-envoy"));
}

#[test]
fn http10_is_refused_unless_it_is_accepted() {
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("up", &[says("old")])))]);
    let mut client = Client::new(proxy.listen(proxy.manager()));
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(client.rest().starts_with("HTTP/1.1 426 "));
    let manager = HttpConnectionManager { accept_http10: true, ..proxy.manager() };
    let chain = FilterChain::plain(Terminal::Http(Arc::new(manager)));
    let mut client = Client::new(proxy.listen_on("old", chain));
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let all = client.rest();
    assert!(all.contains("connection: close") && all.ends_with("old"), "{all}");
}
