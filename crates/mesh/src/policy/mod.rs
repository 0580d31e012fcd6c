//! Security policies by the workloads that they apply to.

mod authorization;
mod legacy;
mod peer;
mod request;
mod target;

use std::sync::Arc;

pub use authorization::{AuthorizationPolicy, AuthorizationRules};
pub use legacy::LegacyPolicy;
pub use peer::{Mtls, PeerAuthentication, PeerMode, ServedBy};
pub use request::{Issuer, JwtTrigger, RequestAuthentication, RequestRules};
pub use target::{Recipient, Target, TargetKind};

use crate::Meta;

/// All security policies of the mesh, indexed.
#[derive(Debug, Default)]
pub struct Policies {
    pub(crate) peers: peer::Peers,
    pub(crate) requests: Vec<Arc<RequestAuthentication>>,
    pub(crate) authorization: Vec<Arc<AuthorizationPolicy>>,
    pub(crate) legacy: Vec<Arc<LegacyPolicy>>,
    pub(crate) root_namespace: Arc<str>,
}

/// The objects that [`Policies`] are made from, in no order.
pub(crate) struct Declared<'a> {
    pub peers: Vec<&'a Arc<PeerAuthentication>>,
    pub requests: Vec<&'a Arc<RequestAuthentication>>,
    pub authorization: Vec<&'a Arc<AuthorizationPolicy>>,
    pub legacy: Vec<&'a Arc<LegacyPolicy>>,
}

impl Policies {
    pub(crate) fn index(declared: Declared<'_>, root_namespace: &Arc<str>) -> Self {
        let legacy = by_age(declared.legacy, |p| &p.meta);
        Policies {
            peers: peer::Peers::index(&by_age(declared.peers, |p| &p.meta), &legacy, root_namespace),
            requests: by_age(declared.requests, |p| &p.meta),
            authorization: by_age(declared.authorization, |p| &p.meta),
            legacy,
            root_namespace: root_namespace.clone(),
        }
    }

    /// Every PeerAuthentication, oldest first.
    pub fn peer_authentications(&self) -> &[Arc<PeerAuthentication>] {
        self.peers.all()
    }

    /// Every RequestAuthentication, oldest first.
    pub fn request_authentications(&self) -> &[Arc<RequestAuthentication>] {
        &self.requests
    }

    /// Every AuthorizationPolicy, oldest first.
    pub fn authorization_policies(&self) -> &[Arc<AuthorizationPolicy>] {
        &self.authorization
    }

    /// Every Policy and MeshPolicy of the old API, oldest first.
    pub fn legacy(&self) -> &[Arc<LegacyPolicy>] {
        &self.legacy
    }
}

fn by_age<T>(mut list: Vec<&Arc<T>>, meta: impl Fn(&T) -> &Meta) -> Vec<Arc<T>> {
    list.sort_by(|a, b| meta(a).by_age(meta(b)));
    list.into_iter().cloned().collect()
}
