//! Sniffing: whether a connection begins with TLS (its server name and ALPN) or HTTP. Bytes are read into a buffer
//! that goes on with the connection.

use crate::config::TransportProtocol;
use crate::http::downstream::Connection;
use crate::http::io::Io;
use bytes::BytesMut;
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Most bytes of a ClientHello.
const MAX_HELLO: usize = 16 << 10;
/// Most bytes of an HTTP request line that are looked at.
const MAX_LINE: usize = 8 << 10;
/// Longest time from the first byte until it is known what is spoken.
const HELLO_TIMEOUT: Duration = Duration::from_secs(15);
/// How HTTP/2 connections begin (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes told.
#[derive(Debug)]
pub struct Sniffed {
    /// TLS, or plain.
    pub transport: TransportProtocol,
    /// The server name that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// ALPN protocols, or what HTTP is spoken.
    pub protocols: Vec<Box<str>>,
}

/// What some first bytes are.
#[derive(Debug, PartialEq, Eq)]
enum Look<T> {
    /// More bytes are needed.
    More,
    /// Something else.
    No,
    /// It is.
    Is(T),
}

/// Reads until it is known what the connection speaks.
///
/// # Errors
/// The connection failed, or ended before a byte came.
pub async fn sniff(tcp: &mut TcpStream, buffer: &mut BytesMut, tls: bool, http: bool) -> io::Result<Sniffed> {
    let (mut ended, mut began) = (false, None);
    loop {
        let mut undecided = false;
        if tls {
            match client_hello(buffer) {
                Look::Is((server_name, protocols)) => {
                    return Ok(Sniffed { transport: TransportProtocol::Tls, server_name, protocols });
                }
                Look::More => undecided = true,
                Look::No => {}
            }
        }
        if http {
            match http_version(buffer) {
                Look::Is(version) => {
                    return Ok(Sniffed { protocols: vec![version.into()], ..Sniffed::default() });
                }
                Look::More => undecided = true,
                Look::No => {}
            }
        }
        if !undecided || ended {
            return Ok(Sniffed::default());
        }
        buffer.reserve(2048);
        ended = match began {
            None => tcp.read_buf(buffer).await? == 0,
            // Who has begun must go on: half a ClientHello may not hold a connection for ever.
            Some(began) => tokio::time::timeout_at(began + HELLO_TIMEOUT, tcp.read_buf(buffer)).await?? == 0,
        };
        began = began.or_else(|| Some(tokio::time::Instant::now()));
        if ended && buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Which HTTP a request line speaks.
fn http_version(bytes: &[u8]) -> Look<&'static str> {
    let preface = bytes.len().min(PREFACE.len());
    if preface > 0 && bytes[..preface] == PREFACE[..preface] {
        return if preface == PREFACE.len() { Look::Is("h2c") } else { Look::More };
    }
    let method =
        bytes.iter().take_while(|b| b.is_ascii_alphabetic() || b"-_!#$%&'*+.^`|~".contains(b)).count();
    if method > 32 || bytes.get(method).is_some_and(|next| *next != b' ' || method == 0) {
        return Look::No;
    }
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(MAX_LINE)]) else {
        return if bytes.len() >= MAX_LINE { Look::No } else { Look::More };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    if line.ends_with(b" HTTP/1.1") {
        Look::Is("http/1.1")
    } else if line.ends_with(b" HTTP/1.0") {
        Look::Is("http/1.0")
    } else {
        Look::No
    }
}

type Hello = (Option<Box<str>>, Vec<Box<str>>);

/// Reads a ClientHello (RFC 8446, 4.1.2), which may lie in several records.
fn client_hello(bytes: &[u8]) -> Look<Hello> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let head = &rest[..rest.len().min(5)];
        if head.first().is_some_and(|kind| *kind != 0x16) || head.get(1).is_some_and(|major| *major != 3) {
            return Look::No;
        }
        if head.len() < 5 {
            return Look::More;
        }
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let body = &rest[5..(5 + length).min(rest.len())];
        message.extend_from_slice(body);
        if message.first().is_some_and(|kind| *kind != 1) || length == 0 || message.len() > MAX_HELLO {
            return Look::No;
        }
        if let Some(declared) = message.get(1..4) {
            let declared =
                usize::from(declared[0]) << 16 | usize::from(declared[1]) << 8 | usize::from(declared[2]);
            if declared > MAX_HELLO {
                return Look::No;
            }
            if message.len() >= declared + 4 {
                return Look::Is(extensions(&message[4..declared + 4]).unwrap_or_default());
            }
        }
        if body.len() < length {
            return Look::More;
        }
        rest = &rest[5 + length..];
    }
}

/// A reader of length-prefixed fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// A field whose length stands before it in `size` bytes.
    fn field(&mut self, size: usize) -> Option<Fields<'a>> {
        let length = self.take(size)?.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        self.take(length).map(Fields)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

fn extensions(hello: &[u8]) -> Option<Hello> {
    let mut fields = Fields(hello);
    fields.take(2 + 32)?;
    fields.field(1)?;
    fields.field(2)?;
    fields.field(1)?;
    let (mut name, mut protocols) = (None, Vec::new());
    let Some(mut extensions) = fields.field(2) else { return Some((name, protocols)) };
    while let Some(kind) = extensions.number() {
        let mut body = extensions.field(2)?;
        match kind {
            0 => name = server_name(&mut body),
            16 => {
                let mut list = body.field(2)?;
                while let Some(protocol) = list.field(1) {
                    if protocols.len() < 32 {
                        protocols.push(String::from_utf8_lossy(protocol.0).into());
                    }
                }
            }
            _ => {}
        }
    }
    Some((name, protocols))
}

fn server_name(body: &mut Fields<'_>) -> Option<Box<str>> {
    let mut list = body.field(2)?;
    if list.take(1)? != [0] {
        return None;
    }
    let name = std::str::from_utf8(list.field(2)?.0).ok()?;
    Some(name.to_ascii_lowercase().into())
}

/// Whether the connection begins with HTTP/2's preface; reads as much as it takes to know.
pub async fn is_http2_preface(io: &mut Io, prefix: &mut BytesMut, connection: &Connection) -> bool {
    let read = async {
        loop {
            let n = prefix.len().min(PREFACE.len());
            if prefix[..n] != PREFACE[..n] {
                return false;
            }
            if n == PREFACE.len() {
                return true;
            }
            prefix.reserve(4096);
            if !matches!(io.read_buf(prefix).await, Ok(1..)) {
                return false;
            }
        }
    };
    let idle = connection.manager.idle_timeout.filter(|idle| !idle.is_zero());
    match idle {
        Some(idle) => tokio::time::timeout(idle, read).await.unwrap_or(false),
        None => read.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello as rustls writes it.
    fn hello(name: &str, protocols: &[&str]) -> Vec<u8> {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        out
    }

    #[test]
    fn a_client_hello_tells_server_name_and_alpn_when_it_is_complete() {
        let bytes = hello("Reviews.example", &["istio", "h2"]);
        for cut in 0..bytes.len() {
            assert_eq!(client_hello(&bytes[..cut]), Look::More, "{cut}");
        }
        let expected = (Some("reviews.example".into()), vec!["istio".into(), "h2".into()]);
        assert_eq!(client_hello(&bytes), Look::Is(expected));
    }

    #[test]
    fn a_hello_cut_into_records_is_put_together() {
        let bytes = hello("a.example", &[]);
        let (first, second) = bytes[5..].split_at(20);
        let record = |part: &[u8]| [&[0x16, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat();
        let cut = [record(first), record(second)].concat();
        assert_eq!(client_hello(&cut), Look::Is((Some("a.example".into()), Vec::new())));
    }

    #[test]
    fn nonsense_is_not_tls_and_never_panics() {
        assert_eq!(client_hello(b"GET / HTTP/1.1"), Look::No);
        assert_eq!(client_hello(&[0x16, 3, 1, 0, 0]), Look::No);
        let bytes = hello("a.example", &["h2"]);
        for at in 9..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            let _ = client_hello(&broken);
        }
    }

    #[test]
    fn http_is_known_by_its_first_line() {
        assert_eq!(http_version(b"GET / HTTP/1.1\r\n"), Look::Is("http/1.1"));
        assert_eq!(http_version(b"GET / HTTP/1.0\n"), Look::Is("http/1.0"));
        assert_eq!(http_version(PREFACE), Look::Is("h2c"));
        assert_eq!(http_version(b"PRI * HT"), Look::More);
        assert_eq!(http_version(b"GE"), Look::More);
        assert_eq!(http_version(b"\x16\x03"), Look::No);
        assert_eq!(http_version(b"SELECT 1;\n"), Look::No);
    }
}
