//! Security policies and Secrets of the world.

use std::collections::HashMap;
use std::sync::Arc;

use super::{World, put};
use crate::policy::Declared;
use crate::{
    AuthorizationPolicy, Change, ConfigKey, Credential, Credentials, Issuer, Kind, LegacyPolicy, Mesh, Meta,
    PeerAuthentication, Policies, RequestAuthentication,
};

/// The kinds that [`Policies`] are made from.
const POLICIES: [Kind; 6] = [
    Kind::PeerAuthentication,
    Kind::RequestAuthentication,
    Kind::AuthorizationPolicy,
    Kind::Policy,
    Kind::MeshPolicy,
    Kind::Issuer,
];

/// Policies and Secrets as they are declared.
#[derive(Debug, Default)]
pub(super) struct Security {
    peers: HashMap<ConfigKey, Arc<PeerAuthentication>>,
    requests: HashMap<ConfigKey, Arc<RequestAuthentication>>,
    authorization: HashMap<ConfigKey, Arc<AuthorizationPolicy>>,
    legacy: HashMap<ConfigKey, Arc<LegacyPolicy>>,
    credentials: Credentials,
    /// Where issuers have their keys, as they say themselves.
    issuers: HashMap<Arc<str>, Arc<str>>,
}

impl World {
    pub(super) fn put_peer_authentication(&mut self, object: lateen_api::PeerAuthentication) -> Change {
        let new = PeerAuthentication { meta: Meta::of(&object.metadata), spec: object.spec };
        let key = key(Kind::PeerAuthentication, &new.meta);
        let changed = put(&mut self.security.peers, &key, new);
        self.config(changed, key)
    }

    pub(super) fn put_request_authentication(&mut self, object: lateen_api::RequestAuthentication) -> Change {
        let new = RequestAuthentication::new(Meta::of(&object.metadata), object.spec);
        let key = key(Kind::RequestAuthentication, &new.meta);
        let changed = put(&mut self.security.requests, &key, new);
        self.config(changed, key)
    }

    pub(super) fn put_authorization_policy(&mut self, object: lateen_api::AuthorizationPolicy) -> Change {
        let new = AuthorizationPolicy::new(&object.metadata, object.spec);
        let key = key(Kind::AuthorizationPolicy, &new.meta);
        let changed = put(&mut self.security.authorization, &key, new);
        self.config(changed, key)
    }

    pub(super) fn put_legacy(&mut self, new: LegacyPolicy) -> Change {
        let key = new.key();
        let changed = put(&mut self.security.legacy, &key, new);
        self.config(changed, key)
    }

    /// Takes a Secret or a ConfigMap. Parts that cannot be used leave those that could before in their place.
    pub(super) fn put_credential(&mut self, mut new: Credential) -> Change {
        let name = (new.meta.namespace.clone(), new.meta.name.clone());
        let all = self.security.credentials.of_kind(new.kind);
        if let Some(old) = all.get(&name) {
            if new.problem.is_some() {
                new.pair = new.pair.or_else(|| old.pair.clone());
                new.authorities = new.authorities.or_else(|| old.authorities.clone());
                new.revoked = new.revoked.or_else(|| old.revoked.clone());
            }
            if **old == new {
                return Change::None;
            }
        }
        let key = key(new.kind, &new.meta);
        all.insert(name, Arc::new(new));
        self.config(true, key)
    }

    /// Takes where an issuer has its keys: for rules that name the issuer alone.
    pub(super) fn put_issuer(&mut self, new: Issuer) -> Change {
        let key = ConfigKey::new(Kind::Issuer, "", new.name.clone());
        let before = self.security.issuers.insert(new.name, new.jwks_uri.clone());
        self.config(before != Some(new.jwks_uri), key)
    }

    /// Forgets a policy or a Secret.
    pub(super) fn remove_security(&mut self, key: &ConfigKey) -> Change {
        let of = &mut self.security;
        let removed = match key.kind {
            Kind::PeerAuthentication => of.peers.remove(key).is_some(),
            Kind::RequestAuthentication => of.requests.remove(key).is_some(),
            Kind::AuthorizationPolicy => of.authorization.remove(key).is_some(),
            Kind::Policy | Kind::MeshPolicy => of.legacy.remove(key).is_some(),
            Kind::Issuer => of.issuers.remove(&key.name).is_some(),
            Kind::Secret | Kind::ConfigMap => {
                let name = (key.namespace.clone(), key.name.clone());
                of.credentials.of_kind(key.kind).remove(&name).is_some()
            }
            _ => false,
        };
        self.config(removed, key.clone())
    }

    /// Builds the indexes anew whose objects changed. Endpoints depend on how their ports are spoken to.
    pub(super) fn rebuild_security(&mut self, mesh: &mut Mesh) {
        let of = &self.security;
        if [Kind::Secret, Kind::ConfigMap].iter().any(|kind| self.stale.contains(kind)) {
            mesh.credentials = Arc::new(of.credentials.clone());
        }
        let stale = |kind: &Kind| self.stale.contains(kind);
        if !POLICIES.iter().any(stale) && !stale(&Kind::MeshConfig) {
            return;
        }
        let find = |issuer: &str| of.issuers.get(issuer).map(|uri| uri.to_string());
        let requests: Vec<_> = of.requests.values().map(|p| p.with_keys(&find)).collect();
        let legacy: Vec<_> = of.legacy.values().map(|p| p.with_keys(&find)).collect();
        let declared = Declared {
            peers: of.peers.values().collect(),
            requests: requests.iter().collect(),
            authorization: of.authorization.values().collect(),
            legacy: legacy.iter().collect(),
        };
        mesh.policies = Arc::new(Policies::index(declared, &self.settings.root_namespace));
        let for_peers = [Kind::PeerAuthentication, Kind::Policy, Kind::MeshPolicy, Kind::MeshConfig];
        self.all_endpoints_stale |= for_peers.iter().any(stale);
    }
}

fn key(kind: Kind, meta: &Meta) -> ConfigKey {
    ConfigKey::new(kind, meta.namespace.clone(), meta.name.clone())
}
