//! Metadata exchange by request headers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lateen_xds::pb::google::protobuf::Struct;
use prost::Message as _;

use super::node::{self, Node};
use crate::http::{RequestHead, ResponseHead};
use crate::request_info::{HttpExtension, PeerMetadata, RequestInfo, Verdict};

/// The peer's metadata: base64 of a `google.protobuf.Struct`.
const METADATA: &str = "x-envoy-peer-metadata";
/// The peer's node id.
const ID: &str = "x-envoy-peer-metadata-id";
/// Peers that a worker remembers.
const REMEMBERED: usize = 1024;
/// Largest header that is read.
const LARGEST: usize = 8 << 10;

/// Outbound: tells the peer who we are, and hides from the application who the peer is.
#[derive(Debug)]
pub(super) struct Announce {
    header: Bytes,
    id: Bytes,
}

impl Announce {
    pub(super) fn new(node: &Node) -> Self {
        Announce { header: node.header.clone(), id: node.id.clone() }
    }
}

impl HttpExtension for Announce {
    fn on_request(&self, request: &mut RequestHead, _info: &mut RequestInfo) -> Verdict {
        if self.header.is_empty() {
            request.headers.remove(METADATA);
            request.headers.remove(ID);
        } else {
            request.headers.set(METADATA, self.header.clone());
            request.headers.set(ID, self.id.clone());
        }
        Verdict::Continue
    }

    fn on_response(&self, _request: &RequestHead, response: &mut ResponseHead, info: &mut RequestInfo) {
        if let Some(peer) = response.headers.get(METADATA)
            && info.upstream_peer.is_none()
        {
            info.upstream_peer = learn(peer);
        }
        response.headers.remove(METADATA);
        response.headers.remove(ID);
    }
}

/// Inbound: learns who the peer is; the application does not see it.
#[derive(Debug)]
pub(super) struct Learn;

impl HttpExtension for Learn {
    fn on_request(&self, request: &mut RequestHead, info: &mut RequestInfo) -> Verdict {
        if let Some(value) = request.headers.get(METADATA) {
            info.downstream_peer = learn(value);
            request.headers.remove(METADATA);
        }
        request.headers.remove(ID);
        Verdict::Continue
    }
}

thread_local! {
    static PEERS: RefCell<HashMap<Box<[u8]>, Arc<PeerMetadata>>> = RefCell::default();
}

/// The peer of a header, parsed once a worker.
fn learn(value: &[u8]) -> Option<Arc<PeerMetadata>> {
    if value.len() > LARGEST {
        return None;
    }
    PEERS.with_borrow_mut(|peers| {
        if let Some(peer) = peers.get(value) {
            return Some(Arc::clone(peer));
        }
        let bytes = STANDARD.decode(value).ok()?;
        let metadata = Struct::decode(bytes.as_slice()).ok()?;
        let peer = Arc::new(node::read_peer(&metadata));
        if peers.len() >= REMEMBERED {
            peers.clear();
        }
        peers.insert(value.into(), Arc::clone(&peer));
        Some(peer)
    })
}
