//! PROXY protocol, versions 1 and 2 (HAProxy's specification).

use crate::config::ProxyProtocol;
use bytes::{Buf, BytesMut};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1.
const V1_MAX: usize = 107;

type Addresses = Option<(SocketAddr, SocketAddr)>;

/// Reads the header; none: it tells of no addresses, or there is none and it may be missing.
///
/// # Errors
/// The header is malformed or missing, or the connection failed.
pub async fn read(
    tcp: &mut TcpStream,
    buffer: &mut BytesMut,
    settings: ProxyProtocol,
) -> io::Result<Addresses> {
    loop {
        match parse(buffer) {
            Ok(Some((length, addresses))) => {
                buffer.advance(length);
                return Ok(addresses);
            }
            Ok(None) => {}
            Err(()) if settings.optional => return Ok(None),
            Err(()) => return Err(io::ErrorKind::InvalidData.into()),
        }
        buffer.reserve(256);
        if tcp.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The length of the header and what it tells; none: more bytes are needed.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Addresses)>, ()> {
    let n = bytes.len().min(V2.len());
    if bytes[..n] == V2[..n] {
        return if n < V2.len() { Ok(None) } else { version2(bytes) };
    }
    let n = bytes.len().min(6);
    if bytes[..n] != b"PROXY "[..n] {
        return Err(());
    }
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(V1_MAX)]) else {
        return if bytes.len() >= V1_MAX { Err(()) } else { Ok(None) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(())?;
    let line = std::str::from_utf8(line).map_err(|_| ())?;
    let words: Vec<_> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "UNKNOWN", ..] => Ok(Some((end + 1, None))),
        ["PROXY", "TCP4" | "TCP6", source, destination, source_port, destination_port] => {
            let address = |ip: &str, port: &str| -> Result<SocketAddr, ()> {
                let ip = ip.parse().map_err(|_| ())?;
                Ok(SocketAddr::new(ip, port.parse().map_err(|_| ())?))
            };
            let pair = (address(source, source_port)?, address(destination, destination_port)?);
            Ok(Some((end + 1, Some(pair))))
        }
        _ => Err(()),
    }
}

fn version2(bytes: &[u8]) -> Result<Option<(usize, Addresses)>, ()> {
    let Some(head) = bytes.get(12..16) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] >> 4 != 2 || length > 4096 {
        return Err(());
    }
    let Some(body) = bytes.get(16..16 + length) else { return Ok(None) };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let addresses = match (head[0] & 15, head[1] >> 4) {
        (0, _) => None,
        (1, 1) if length >= 12 => {
            let ip = |at: usize| IpAddr::from([body[at], body[at + 1], body[at + 2], body[at + 3]]);
            Some((SocketAddr::new(ip(0), port(8)), SocketAddr::new(ip(4), port(10))))
        }
        (1, 2) if length >= 36 => {
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&body[at..at + 16]);
                IpAddr::from(Ipv6Addr::from(octets))
            };
            Some((SocketAddr::new(ip(0), port(32)), SocketAddr::new(ip(16), port(34))))
        }
        (1, _) => None,
        _ => return Err(()),
    };
    Ok(Some((16 + length, addresses)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_tells_addresses() {
        let text = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\nGET";
        let (length, addresses) = parse(text).unwrap().unwrap();
        assert_eq!(&text[length..], b"GET");
        assert_eq!(addresses, Some(("1.2.3.4:1000".parse().unwrap(), "5.6.7.8:80".parse().unwrap())));
        assert_eq!(parse(b"PROXY TCP4 1.2"), Ok(None));
        assert!(parse(b"PROXY TCP4 x y 1 2\r\n").is_err());
        assert!(parse(b"GET / ").is_err());
    }

    #[test]
    fn version_2_tells_addresses_however_it_is_cut() {
        let mut bytes = V2.to_vec();
        bytes.extend([0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0x03, 0xe8, 0, 80]);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None));
        }
        let expected = ("1.2.3.4:1000".parse().unwrap(), "5.6.7.8:80".parse().unwrap());
        assert_eq!(parse(&bytes), Ok(Some((28, Some(expected)))));
    }
}
