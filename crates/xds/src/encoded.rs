use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use crate::TypeUrl;

/// One resource as it goes on the wire: encoded once, then shared by every proxy that sees it.
#[derive(Clone)]
pub struct Encoded {
    /// What it is.
    pub type_url: TypeUrl,
    /// Its name within its type.
    pub name: Arc<str>,
    /// A hash of the body: equal versions mean equal content, whoever built it.
    pub version: u64,
    /// The encoded message, without its `Any` wrapper.
    pub body: Bytes,
}

impl std::fmt::Debug for Encoded {
    /// Leaves the body out: it may be a Secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Encoded");
        shown.field("type_url", &self.type_url).field("name", &self.name).field("version", &self.version);
        shown.field("bytes", &self.body.len()).finish()
    }
}

impl Encoded {
    /// Encodes a message under its name.
    pub fn new(type_url: TypeUrl, name: impl Into<Arc<str>>, message: &impl Message) -> Self {
        Self::from_body(type_url, name, Bytes::from(message.encode_to_vec()))
    }

    /// A message that is encoded already.
    pub fn from_body(type_url: TypeUrl, name: impl Into<Arc<str>>, body: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Encoded { type_url, name: name.into(), version: hasher.finish(), body }
    }
}

/// Packs a message into `google.protobuf.Any` with its canonical type URL.
pub fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}
