//! The serving end of ADS, without I/O: what one client subscribed to, what it holds, and what to send it next.
//!
//! A [`Session`] is one stream. The caller feeds it requests and new targets ([`Session::retarget`]) and sends what
//! [`Session::next`] returns for as long as the connection takes it; whatever changes while the connection is busy
//! is merged, so that a slow client costs no memory and is only ever sent the latest content.
//!
//! Source: Envoy, "xDS REST and gRPC protocol".

mod held;
mod rejected;
mod request;
mod response;
mod send;
mod session;
mod subscription;
mod warming;

pub use request::{Event, RequestError};
pub use response::Response;
use session::Sent;
pub use session::{Limits, Nack, Next, Protocol, Session, SyncState, TypeStatus};

use std::sync::Arc;

use crate::{Encoded, TypeUrl};

/// Everything that a client may see at one moment: what a [`Session`] serves from.
///
/// Cheap to clone. Names are unique within a type.
pub trait Resources: Clone {
    /// One resource by its name.
    fn get(&self, type_url: TypeUrl, name: &str) -> Option<&Arc<Encoded>>;

    /// Visits the resources of a type whose names start with `prefix` (all of them when it is empty).
    fn visit(&self, type_url: TypeUrl, prefix: &str, visitor: &mut dyn FnMut(&Arc<Encoded>));

    /// Visits the names of a type that differ between `old` and `self`: new, changed or gone.
    fn visit_changed(&self, old: &Self, type_url: TypeUrl, visitor: &mut dyn FnMut(&Arc<str>));
}

#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod tests;
