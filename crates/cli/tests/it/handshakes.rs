//! TLS handshakes in a packet capture, put together again from its packets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What a client asked for, and the version of TLS that its server chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub server_name: String,
    pub alpn: Vec<String>,
    /// As it stands on the wire: 0x0304 is TLS 1.3. None while the server has not answered.
    pub version: Option<u16>,
}

type End = (Ipv4Addr, u16);

/// A TCP segment.
struct Segment<'a> {
    ends: (End, End),
    sequence: u32,
    /// Whether it opens a connection.
    opens: bool,
    payload: &'a [u8],
}

/// The handshakes of a capture in pcap's format, by `tcpdump -i eth0`.
pub fn handshakes(capture: &[u8]) -> Vec<Handshake> {
    let streams = streams(capture);
    let one = |((client, server), bytes): (&(End, End), &Vec<u8>)| {
        let mut acceptor = rustls::server::Acceptor::default();
        acceptor.read_tls(&mut &bytes[..]).ok()?;
        let accepted = acceptor.accept().ok()??;
        let hello = accepted.client_hello();
        let alpn = hello.alpn().into_iter().flatten();
        Some(Handshake {
            server_name: hello.server_name().unwrap_or_default().to_owned(),
            alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            version: streams.get(&(*server, *client)).and_then(|bytes| chosen_version(bytes)),
        })
    };
    streams.iter().filter_map(one).collect()
}

/// The octets of each direction of each connection, as far as they came without a gap.
fn streams(capture: &[u8]) -> BTreeMap<(End, End), Vec<u8>> {
    let mut found: BTreeMap<(End, End), (u32, Vec<u8>)> = BTreeMap::new();
    // The file's header has 24 octets, each packet's 16 with its length at 8 (little endian, as on this machine).
    let mut rest = capture.get(24..).unwrap_or_default();
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        rest = &rest[16 + length..];
        let Some(segment) = segment(frame) else { continue };
        if segment.opens {
            found.insert(segment.ends, (segment.sequence.wrapping_add(1), Vec::new()));
        } else if let Some((next, bytes)) = found.get_mut(&segment.ends)
            && segment.sequence == *next
        {
            *next = next.wrapping_add(u32::try_from(segment.payload.len()).unwrap());
            bytes.extend_from_slice(segment.payload);
        }
    }
    found.into_iter().map(|(ends, (_, bytes))| (ends, bytes)).collect()
}

/// The TCP segment in an Ethernet frame.
fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    let ip = frame.get(14..)?;
    let (header, total) =
        (usize::from(ip.first()? & 0x0f) * 4, u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    if frame[12..14] != [0x08, 0x00] || *ip.get(9)? != 6 {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    let tcp = ip.get(header..usize::from(total))?;
    let number = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let ends = ((address(12)?, number(0)?), (address(16)?, number(2)?));
    let sequence = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let offset = usize::from(tcp.get(12)? >> 4) * 4;
    Some(Segment { ends, sequence, opens: tcp.get(13)? & 0x02 != 0, payload: tcp.get(offset..)? })
}

/// The version in a ServerHello: that of its extension `supported_versions`, else its own (RFC 8446, section 4.1.3).
fn chosen_version(bytes: &[u8]) -> Option<u16> {
    let number = |bytes: &[u8], at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    // Record: type, version, length; message: type, length (3); version, random (32), session, suite, compression.
    let hello = bytes.get(9..)?;
    if bytes[0] != 22 || bytes[5] != 2 {
        return None;
    }
    let session = usize::from(*hello.get(34)?);
    let mut extensions = hello.get(35 + session + 3 + 2..).unwrap_or_default();
    while extensions.len() >= 4 {
        let length = usize::from(number(extensions, 2)?);
        if number(extensions, 0)? == 0x002b {
            return number(extensions, 4);
        }
        extensions = extensions.get(4 + length..)?;
    }
    number(hello, 0)
}
