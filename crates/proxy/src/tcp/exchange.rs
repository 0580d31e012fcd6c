//! Istio's metadata exchange over TCP: where ALPN agreed on `istio-peer-exchange`, each end first sends who it is.
//!
//! Source: Istio's proxy, `source/extensions/filters/network/metadata_exchange`: a magic number and a length (both
//! 32 bits, big endian), then a `google.protobuf.Any` with a `Struct`.

use std::sync::Arc;

use bytes::Bytes;
use lateen_xds::pb::google::protobuf::value::Kind;
use lateen_xds::pb::google::protobuf::{Any, Struct, Value};
use prost::Message as _;

use crate::request_info::{PeerMetadata, TlsInfo};
use crate::stats::istio::read_peer;

/// The ALPN protocol that announces it.
pub const PROTOCOL: &str = "istio-peer-exchange";
const MAGIC: u32 = 0x3D23_0467;
/// Largest message that a peer may send.
const LARGEST: usize = 64 << 10;
const HEADER: usize = 8;

/// Whether a session begins with an exchange.
pub fn agreed(tls: Option<&TlsInfo>) -> bool {
    tls.is_some_and(|tls| tls.alpn.as_deref() == Some(PROTOCOL))
}

/// The message that tells who we are.
pub fn announcement(metadata: Struct, id: &str) -> Bytes {
    let value = |kind| Value { kind: Some(kind) };
    let fields = [
        ("x-envoy-peer-metadata".to_owned(), value(Kind::StructValue(metadata))),
        ("x-envoy-peer-metadata-id".to_owned(), value(Kind::StringValue(id.to_owned()))),
    ];
    let any = Any {
        type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(),
        value: Struct { fields: fields.into() }.encode_to_vec(),
    };
    let body = any.encode_to_vec();
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&MAGIC.to_be_bytes());
    // Node metadata are a few hundred bytes.
    message.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    message.extend_from_slice(&body);
    message.into()
}

/// Takes a peer's message off the beginning of a stream.
#[derive(Debug, Default)]
pub struct Peel(Vec<u8>);

/// What the first bytes are.
#[derive(Debug)]
pub enum Peeled {
    /// More are needed.
    More,
    /// The message is complete; what follows it is the application's. None: it is no message, and all of it is.
    Done(Option<Arc<PeerMetadata>>, Vec<u8>),
}

impl Peel {
    /// Takes bytes; none is the end of the stream.
    pub fn feed(&mut self, data: &[u8]) -> Peeled {
        self.0.extend_from_slice(data);
        let all = &self.0;
        let magic = MAGIC.to_be_bytes();
        let known = all.len().min(magic.len());
        if data.is_empty() || all[..known] != magic[..known] {
            return Peeled::Done(None, std::mem::take(&mut self.0));
        }
        let Some(length) = all.get(4..HEADER).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) else {
            return Peeled::More;
        };
        let length = u32::from_be_bytes(length) as usize;
        if length > LARGEST {
            return Peeled::Done(None, std::mem::take(&mut self.0));
        }
        let Some(body) = all.get(HEADER..HEADER + length) else { return Peeled::More };
        let peer = Any::decode(body).ok().and_then(|any| Struct::decode(any.value.as_slice()).ok());
        let peer = peer.and_then(|told| match told.fields.get("x-envoy-peer-metadata")?.kind.as_ref()? {
            Kind::StructValue(metadata) => Some(Arc::new(read_peer(metadata))),
            _ => None,
        });
        let rest = all[HEADER + length..].to_vec();
        self.0 = Vec::new();
        Peeled::Done(peer, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Bytes {
        let name = Value { kind: Some(Kind::StringValue("redis-v1".to_owned())) };
        announcement(Struct { fields: [("WORKLOAD_NAME".to_owned(), name)].into() }, "sidecar~1~a~b")
    }

    #[test]
    fn a_message_is_taken_off_whatever_pieces_it_comes_in() {
        let mut stream = message().to_vec();
        stream.extend_from_slice(b"PING\r\n");
        for size in [1, 7, 64, stream.len()] {
            let (mut peel, mut found) = (Peel::default(), None);
            let mut rest = Vec::new();
            for piece in stream.chunks(size) {
                match found {
                    Some(_) => rest.extend_from_slice(piece),
                    None => {
                        if let Peeled::Done(peer, more) = peel.feed(piece) {
                            found = Some(peer);
                            rest = more;
                        }
                    }
                }
            }
            assert_eq!(found.flatten().unwrap().workload.as_deref(), Some("redis-v1"), "pieces of {size}");
            assert_eq!(rest, b"PING\r\n");
        }
    }

    #[test]
    fn what_a_node_tells_is_what_its_peer_reads() {
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let fields =
            [("WORKLOAD_NAME".to_owned(), text("sleep-v1")), ("NAMESPACE".to_owned(), text("default"))];
        let node = crate::stats::istio::Node::new("sleep", Some(&Struct { fields: fields.into() }));
        let Peeled::Done(Some(peer), _) = Peel::default().feed(&node.announcement) else {
            panic!("a message")
        };
        assert_eq!(
            (peer.workload.as_deref(), peer.namespace.as_deref()),
            (Some("sleep-v1"), Some("default"))
        );
    }

    #[test]
    fn what_is_no_message_goes_on_whole() {
        let Peeled::Done(None, rest) = Peel::default().feed(b"PING\r\n") else { panic!("no message") };
        assert_eq!(rest, b"PING\r\n");
        let mut huge = MAGIC.to_be_bytes().to_vec();
        huge.extend_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Peel::default().feed(&huge), Peeled::Done(None, rest) if rest == huge));
        let mut cut = Peel::default();
        assert!(matches!(cut.feed(&message()[..9]), Peeled::More));
        assert!(matches!(cut.feed(b""), Peeled::Done(None, rest) if rest.len() == 9));
    }
}
