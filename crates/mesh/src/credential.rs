use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::Meta;

/// PEM texts of a certificate chain and of its private key.
pub type KeyPair = (Arc<[u8]>, Arc<[u8]>);

/// What a Secret holds for TLS: PEM texts, checked by who read it. Never logged: its `Debug` form shows no key.
#[derive(Clone, PartialEq)]
pub struct Credential {
    /// Name, namespace and age of the Secret.
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
            .field("meta", &self.meta)
            .field("pair", &self.pair.is_some())
            .field("authorities", &self.authorities.is_some())
            .field("revoked", &self.revoked.is_some())
            .field("problem", &self.problem)
            .finish()
    }
}

/// All Secrets that hold something for TLS, by namespace and name.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub(crate) all: HashMap<(Arc<str>, Arc<str>), Arc<Credential>>,
}

impl Credentials {
    /// A Secret's content.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Credential>> {
        self.all.get(&(Arc::from(namespace), Arc::from(name)))
    }
}
