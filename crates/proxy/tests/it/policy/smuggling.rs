//! HTTP/2 requests that would be another request in HTTP/1: none reaches the upstream.

use crate::harness::{Proxy, WAIT, by_number, ok, server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Name and value of a header.
type Field<'a> = (&'a [u8], &'a [u8]);

/// A header field as a literal without indexing (RFC 7541, 6.2.2), whatever bytes it holds.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    [&[0, length(name)], name, &[length(value)], value].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What became of a request of these fields: `:status 200`, another answer, a reset, or the end of the connection.
#[derive(Debug, PartialEq)]
enum Fate {
    Served,
    Answered,
    Reset,
    Closed,
}

fn send(address: SocketAddr, fields: &[Field<'_>]) -> Fate {
    send_with(address, fields, None)
}

/// The same with a body.
fn send_with(address: SocketAddr, fields: &[Field<'_>], body: Option<&[u8]>) -> Fate {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, if body.is_some() { 0x4 } else { 0x5 }, 1, &block));
    if let Some(body) = body {
        bytes.extend(frame(0, 0x1, 1, body));
    }
    stream.write_all(&bytes).unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Fate::Closed;
        }
        let mut payload =
            vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        if stream.read_exact(&mut payload).is_err() {
            return Fate::Closed;
        }
        match head[3] {
            // `:status: 200` stands in the static table.
            1 if payload.first() == Some(&0x88) => return Fate::Served,
            1 => return Fate::Answered,
            3 => return Fate::Reset,
            7 => return Fate::Closed,
            _ => {}
        }
    }
}

const GOOD: [Field<'_>; 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/public")];

#[test]
fn malformed_http2_requests_never_reach_the_upstream() {
    let (up, count) = by_number(|_| ok("served"));
    let (proxy, address) = Proxy::to(up);
    assert_eq!(send(address, &GOOD), Fate::Served);
    let with = |name: &'static [u8], value: &'static [u8]| [&GOOD[..], &[(name, value)]].concat();
    let replaced = |at: usize, value: &'static [u8]| {
        let mut fields = GOOD.to_vec();
        fields[at].1 = value;
        fields
    };
    let cases: Vec<(&str, Vec<Field<'_>>)> = vec![
        ("line feed in a value", with(b"x-a", b"1\r\nx-admin: 1")),
        ("carriage return in a value", with(b"x-a", b"1\rx")),
        ("NUL in a value", with(b"x-a", b"1\0x")),
        ("line feed in a name", with(b"x-a\r\nx-admin", b"1")),
        ("colon in a name", with(b"x-a:", b"1")),
        ("space in a name", with(b"x a", b"1")),
        ("upper case in a name", with(b"X-Admin", b"1")),
        ("empty name", with(b"", b"1")),
        ("line feed in the path", replaced(3, b"/public HTTP/1.1\r\nx-admin: 1\r\n\r\n")),
        ("space in the path", replaced(3, b"/public /admin")),
        ("path without a slash", replaced(3, b"admin")),
        ("empty path", replaced(3, b"")),
        ("line feed in the method", replaced(0, b"GET / HTTP/1.1\r\nx: y")),
        ("space in the authority", replaced(2, b"a.test b.test")),
        ("slash in the authority", replaced(2, b"a.test/admin")),
        ("user in the authority", replaced(2, b"a.test@evil.test\r\n")),
        ("two paths", with(b":path", b"/admin")),
        ("two methods", with(b":method", b"POST")),
        ("two authorities", with(b":authority", b"admin.test")),
        ("unknown pseudo-header", with(b":admin", b"1")),
        ("status of a response", with(b":status", b"200")),
        ("connection", with(b"connection", b"close")),
        ("transfer-encoding", with(b"transfer-encoding", b"chunked")),
        ("upgrade", with(b"upgrade", b"websocket")),
        ("keep-alive", with(b"keep-alive", b"1")),
        ("proxy-connection", with(b"proxy-connection", b"close")),
        ("te", with(b"te", b"gzip")),
        ("a length without a body", with(b"content-length", b"5")),
        ("two lengths", [with(b"content-length", b"0"), vec![(b"content-length", b"5")]].concat()),
        ("pseudo-header after a header", {
            let mut fields = vec![(&b"x-a"[..], &b"1"[..])];
            fields.extend(GOOD);
            fields
        }),
        ("no method", GOOD[1..].to_vec()),
        ("no path", GOOD[..3].to_vec()),
    ];
    for (at, (what, fields)) in cases.into_iter().enumerate() {
        let fate = send(address, &fields);
        assert_ne!(fate, Fate::Served, "{what}");
        let line = proxy.log.line(at + 1);
        assert!(fate == Fate::Answered || line.starts_with("0 DPE http2."), "{what}: {fate:?}, {line}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1, "only the good one");
    assert_eq!(send(address, &GOOD), Fate::Served, "and the proxy goes on");
}

/// An upstream that answers each head and keeps all that came.
fn recorder() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let kept = all.clone();
    let address = server(move |mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            kept.lock().unwrap().extend_from_slice(&buffer[..n]);
            if buffer[..n].windows(4).any(|end| end == b"\r\n\r\n") {
                let _ = stream.write_all(ok("served").as_bytes());
            }
        }
    });
    (address, all)
}

#[test]
fn a_body_of_another_length_does_not_become_a_request_of_its_own() {
    let (up, seen) = recorder();
    let (_proxy, address) = Proxy::to(up);
    let hidden: &[u8] = b"12345GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let sized = |length: &'static [u8]| {
        let mut fields = GOOD.to_vec();
        fields[0].1 = b"POST";
        fields.push((b"content-length", length));
        fields
    };
    // Longer than it says, and shorter: what follows on that connection must not be taken for the rest.
    for (length, body) in [(&b"5"[..], hidden), (b"500", b"12345"), (b"0", hidden)] {
        let fate = send_with(address, &sized(length), Some(body));
        let text = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
        let heads = text.lines().filter(|line| line.ends_with(" HTTP/1.1"));
        assert!(!heads.clone().any(|line| line.starts_with("GET /admin")), "{fate:?}: {text}");
        assert_eq!(send(address, &GOOD), Fate::Served, "the next request gets its own answer");
    }
    let text = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(!text.contains("/admin"), "{text}");
    // The body of a length that is right may hold what it likes.
    let right = hidden.len().to_string();
    let fields =
        [&GOOD[1..], &[(&b":method"[..], &b"POST"[..]), (b"content-length", right.as_bytes())]].concat();
    assert_eq!(send_with(address, &fields, Some(hidden)), Fate::Served);
}
