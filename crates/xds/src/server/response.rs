use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::Protocol;
use crate::{Encoded, TypeUrl};

/// Tags of `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
mod delta {
    pub const VERSION: u32 = 1;
    pub const RESOURCES: u32 = 2;
    pub const TYPE_URL: u32 = 4;
    pub const NONCE: u32 = 5;
    pub const REMOVED: u32 = 6;
}

/// Tags of `envoy.service.discovery.v3.Resource`.
mod resource {
    pub const VERSION: u32 = 1;
    pub const RESOURCE: u32 = 2;
    pub const NAME: u32 = 3;
}

/// Tags of `envoy.service.discovery.v3.DiscoveryResponse`.
mod sotw {
    pub const VERSION: u32 = 1;
    pub const RESOURCES: u32 = 2;
    pub const TYPE_URL: u32 = 4;
    pub const NONCE: u32 = 5;
}

/// Tags of `google.protobuf.Any`.
mod any {
    pub const TYPE_URL: u32 = 1;
    pub const VALUE: u32 = 2;
}

/// One message to a client. Holds the shared resources; their bytes are copied once, by [`Response::encode`].
#[derive(Clone, Debug)]
pub struct Response {
    /// Which protocol it is for.
    pub protocol: Protocol,
    /// The type of its resources.
    pub type_url: TypeUrl,
    /// Version of the whole: for people, and for state of the world the acknowledged `version_info`.
    pub version: Arc<str>,
    /// What the acknowledgement names.
    pub nonce: Box<str>,
    /// New and changed resources (state of the world: see [`Protocol`]).
    pub resources: Vec<Arc<Encoded>>,
    /// Names that are gone; delta only.
    pub removed: Vec<Arc<str>>,
}

impl Response {
    /// The bytes of all resources, in octets.
    pub fn body_len(&self) -> usize {
        self.resources.iter().map(|r| r.body.len()).sum()
    }

    /// The message as it goes on the wire: a `DeltaDiscoveryResponse` or a `DiscoveryResponse`, after `headroom`
    /// zero octets that the caller may fill with its framing.
    pub fn encode(&self, headroom: usize) -> BytesMut {
        let mut out = BytesMut::with_capacity(headroom + self.encoded_len());
        out.put_bytes(0, headroom);
        match self.protocol {
            Protocol::Delta => self.encode_delta(&mut out),
            Protocol::StateOfTheWorld => self.encode_sotw(&mut out),
        }
        out
    }

    /// The message without headroom.
    pub fn encode_to_bytes(&self) -> Bytes {
        self.encode(0).freeze()
    }

    fn encode_delta(&self, out: &mut BytesMut) {
        text(delta::VERSION, &self.version, out);
        for r in &self.resources {
            encode_key(delta::RESOURCES, WireType::LengthDelimited, out);
            encode_varint(resource_len(r) as u64, out);
            text(resource::NAME, &r.name, out);
            text(resource::VERSION, &hex(r.version), out);
            encode_key(resource::RESOURCE, WireType::LengthDelimited, out);
            encode_any(r, out);
        }
        text(delta::TYPE_URL, self.type_url.as_str(), out);
        text(delta::NONCE, &self.nonce, out);
        for name in &self.removed {
            text(delta::REMOVED, name, out);
        }
    }

    fn encode_sotw(&self, out: &mut BytesMut) {
        text(sotw::VERSION, &self.version, out);
        for r in &self.resources {
            encode_key(sotw::RESOURCES, WireType::LengthDelimited, out);
            encode_any(r, out);
        }
        text(sotw::TYPE_URL, self.type_url.as_str(), out);
        text(sotw::NONCE, &self.nonce, out);
    }

    fn encoded_len(&self) -> usize {
        let head = field_len(self.version.len())
            + field_len(self.type_url.as_str().len())
            + field_len(self.nonce.len());
        let resources: usize = match self.protocol {
            Protocol::Delta => self.resources.iter().map(|r| field_len(resource_len(r))).sum(),
            Protocol::StateOfTheWorld => self.resources.iter().map(|r| field_len(any_len(r))).sum(),
        };
        head + resources + self.removed.iter().map(|name| field_len(name.len())).sum::<usize>()
    }
}

/// A resource's version on the wire: sixteen hexadecimal digits.
pub(super) fn hex(version: u64) -> String {
    format!("{version:016x}")
}

/// Reads [`hex`] back; `None` for versions of another server.
pub(super) fn parse_hex(version: &str) -> Option<u64> {
    if version.len() == 16 { u64::from_str_radix(version, 16).ok() } else { None }
}

fn text(tag: u32, value: &str, out: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.put_slice(value.as_bytes());
}

fn encode_any(r: &Encoded, out: &mut BytesMut) {
    encode_varint(any_len(r) as u64, out);
    text(any::TYPE_URL, r.type_url.as_str(), out);
    encode_key(any::VALUE, WireType::LengthDelimited, out);
    encode_varint(r.body.len() as u64, out);
    out.put_slice(&r.body);
}

fn any_len(r: &Encoded) -> usize {
    field_len(r.type_url.as_str().len()) + field_len(r.body.len())
}

fn resource_len(r: &Encoded) -> usize {
    field_len(r.name.len()) + field_len(16) + field_len(any_len(r))
}

/// A length-delimited field with its key and length. Every tag here is below 16: its key takes one octet.
fn field_len(len: usize) -> usize {
    key_len(1) + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
    use prost::Message;

    use super::*;

    fn response(protocol: Protocol) -> Response {
        let cluster =
            Cluster { name: "outbound|80||a.default.svc.cluster.local".into(), ..Cluster::default() };
        Response {
            protocol,
            type_url: TypeUrl::Cluster,
            version: "v/1".into(),
            nonce: "n7".into(),
            resources: vec![Arc::new(Encoded::new(TypeUrl::Cluster, cluster.name.as_str(), &cluster))],
            removed: Vec::new(),
        }
    }

    #[test]
    fn delta_is_read_by_envoys_messages() {
        let mut sent = response(Protocol::Delta);
        sent.removed = vec!["old".into()];
        let bytes = sent.encode_to_bytes();
        assert_eq!(bytes.len(), sent.encoded_len());
        let read = DeltaDiscoveryResponse::decode(bytes).unwrap();
        assert_eq!((read.type_url.as_str(), read.nonce.as_str()), (TypeUrl::Cluster.as_str(), "n7"));
        assert_eq!(
            (read.system_version_info.as_str(), &read.removed_resources[..]),
            ("v/1", &["old".to_owned()][..])
        );
        let resource = &read.resources[0];
        assert_eq!(resource.name, "outbound|80||a.default.svc.cluster.local");
        assert_eq!(parse_hex(&resource.version), Some(sent.resources[0].version));
        let body = resource.resource.as_ref().unwrap();
        assert_eq!(body.type_url, TypeUrl::Cluster.as_str());
        assert_eq!(Cluster::decode(&body.value[..]).unwrap().name, resource.name);
    }

    #[test]
    fn state_of_the_world_is_read_by_envoys_messages() {
        let sent = response(Protocol::StateOfTheWorld);
        let framed = sent.encode(5);
        assert_eq!(framed.len(), sent.encoded_len() + 5);
        let read = DiscoveryResponse::decode(&framed[5..]).unwrap();
        assert_eq!((read.version_info.as_str(), read.nonce.as_str()), ("v/1", "n7"));
        assert_eq!(read.type_url, TypeUrl::Cluster.as_str());
        assert_eq!(Cluster::decode(&read.resources[0].value[..]).unwrap().name, &*sent.resources[0].name);
    }

    #[test]
    fn versions_of_other_servers_are_not_taken_for_ours() {
        assert_eq!(parse_hex(&hex(42)), Some(42));
        assert_eq!(parse_hex("42"), None);
        assert_eq!(parse_hex("2026-11-21T10:1"), None);
    }
}
