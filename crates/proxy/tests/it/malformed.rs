//! Requests that break the protocol: 400 or a closed connection, never at the application, never the worker's end.

use crate::harness::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn counting() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    by_number(|_| ok("fine"))
}

#[test]
fn malformed_requests_get_400_and_never_reach_the_application() {
    let (up, count) = counting();
    let (proxy, address) = Proxy::to(up);
    let cases: &[(&str, &[u8])] = &[
        ("bad request line", b"GARBAGE\r\n\r\n"),
        ("bad method", b"G@T\x01 / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bad version", b"GET / HTTP/3.7\r\nHost: a\r\n\r\n"),
        ("no host", b"GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (
            "length and chunks",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        ),
        ("two lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
        ("negative length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n"),
        ("signed length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"),
        ("huge length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        ("CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0Y: a\r\n\r\n"),
        ("space before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n"),
        ("folded header", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nXYZ\r\n\r\n"),
        ("bad target", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bad host", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("chunks in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ];
    for (what, bytes) in cases {
        let mut client = Client::new(address);
        std::io::Write::write_all(&mut client.stream, bytes).unwrap();
        let all = client.rest();
        assert!(all.starts_with("HTTP/1.1 400 "), "{what}: {all:?}");
        assert!(all.contains("connection: close"), "{what}: {all:?}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0, "none reached the application");
    assert_eq!(proxy.log.line(0), "400 DPE http1.codec_error");
    assert_eq!(get(address, "/").body, "fine", "the worker lives");
}

#[test]
fn unknown_codings_get_501() {
    let (up, count) = counting();
    let (_proxy, address) = Proxy::to(up);
    let mut client = Client::new(address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    assert!(client.rest().starts_with("HTTP/1.1 501 "));
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn oversized_heads_get_431() {
    let (up, count) = counting();
    let (_proxy, address) = Proxy::to(up);
    for head in [
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70_000)),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(150)),
    ] {
        let mut client = Client::new(address);
        // The proxy may answer and close before it has read all.
        let _ = std::io::Write::write_all(&mut client.stream, head.as_bytes());
        let all = client.rest();
        assert!(all.starts_with("HTTP/1.1 431 "), "{all:?}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn bad_chunks_end_the_request_and_the_upstream_never_sees_its_end() {
    let (complete, seen) = std::sync::mpsc::channel();
    let complete = std::sync::Mutex::new(complete);
    let up = server(move |mut stream| {
        let mut all = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut all);
        complete.lock().unwrap().send(String::from_utf8_lossy(&all).into_owned()).unwrap();
    });
    let (proxy, address) = Proxy::to(up);
    for body in ["zz\r\n", "-1\r\n\r\n", "3\r\nabcd\r\n", "ffffffffffffffffff\r\n", "5 5\r\nhello\r\n"] {
        let mut client = Client::new(address);
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        let all = client.rest();
        assert!(all.is_empty() || all.starts_with("HTTP/1.1 400 "), "{body:?}: {all:?}");
        let upstream = seen.recv_timeout(WAIT).unwrap();
        assert!(!upstream.ends_with("0\r\n\r\n"), "{upstream:?}");
    }
    assert!(proxy.log.line(0).contains("DPE"));
}

#[test]
fn a_request_that_is_smuggled_after_a_body_is_only_a_next_request() {
    let (_proxy, address) = Proxy::to(echo());
    let mut client = Client::new(address);
    client.send(
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert!(client.read().unwrap().body.ends_with("\nabc"));
    assert!(client.read().unwrap().body.starts_with("GET /b "));
}

#[test]
fn connections_that_end_within_a_request_do_no_harm() {
    let (_proxy, address) = Proxy::to(says("fine"));
    for text in [
        "",
        "G",
        "GET / HT",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage",
    ] {
        let mut client = Client::new(address);
        client.send(text);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        client.rest();
    }
    assert_eq!(get(address, "/").body, "fine");
}
