use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::{Kind, Meta};

/// PEM texts of a certificate chain and of its private key.
pub type KeyPair = (Arc<[u8]>, Arc<[u8]>);

/// What a Secret or a ConfigMap holds for TLS: PEM texts, checked by who read it. Never logged: its `Debug` form shows no
/// key.
#[derive(Clone, PartialEq)]
pub struct Credential {
    /// A Secret, or a ConfigMap, which has authorities alone.
    pub kind: Kind,
    /// Name, namespace and age of that.
    pub meta: Meta,
    /// Certificate chain and private key.
    pub pair: Option<KeyPair>,
    /// The authorities that the other side's certificates are verified by.
    pub authorities: Option<Arc<[u8]>>,
    /// Revoked certificates.
    pub revoked: Option<Arc<[u8]>>,
    /// Why (part of) it cannot be used.
    pub problem: Option<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("kind", &self.kind)
            .field("meta", &self.meta)
            .field("pair", &self.pair.is_some())
            .field("authorities", &self.authorities.is_some())
            .field("revoked", &self.revoked.is_some())
            .field("problem", &self.problem)
            .finish()
    }
}

type ByName = HashMap<(Arc<str>, Arc<str>), Arc<Credential>>;

/// All Secrets and ConfigMaps that hold something for TLS, by namespace and name.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    secrets: ByName,
    maps: ByName,
}

impl Credentials {
    /// A Secret's content.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Credential>> {
        self.secrets.get(&(Arc::from(namespace), Arc::from(name)))
    }

    /// A ConfigMap's content.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&Arc<Credential>> {
        self.maps.get(&(Arc::from(namespace), Arc::from(name)))
    }

    /// Those of a kind.
    pub(crate) fn of_kind(&mut self, kind: Kind) -> &mut ByName {
        if kind == Kind::ConfigMap { &mut self.maps } else { &mut self.secrets }
    }
}
