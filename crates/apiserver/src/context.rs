//! What every request handler shares.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::admission::webhooks::Webhooks;
use crate::object;
use crate::pki::Pki;
use crate::registry::{Catalog, Resource};
use crate::status::{ApiError, Result};
use crate::store::{Entry, Key, Refused, Store};
use crate::tokens::Tokens;

/// Finds where a service's port is reached: namespace, name, port. Without one, webhooks go to the ClusterIP.
pub type ServiceResolver = Arc<dyn Fn(&str, &str, u16) -> Option<SocketAddr> + Send + Sync>;

/// The state of one API server.
pub struct Context {
    /// Objects.
    pub store: Store,
    /// Resource types.
    pub catalog: Catalog,
    /// Certificates.
    pub pki: Pki,
    /// Service-account tokens.
    pub tokens: Tokens,
    /// Admission webhooks.
    pub webhooks: Webhooks,
    /// The node's kubelet interface.
    pub node_socket: Option<PathBuf>,
    /// Where services are reached.
    pub resolver: Option<ServiceResolver>,
    /// Serialises the allocation of addresses and ports to services.
    pub allocation: Arc<tokio::sync::Mutex<()>>,
    /// Ends watches and tasks.
    pub stop: CancellationToken,
}

impl Context {
    /// An object of a built-in resource (`group/plural`), as stored.
    pub fn get(&self, shard: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = self.catalog.snapshot().by_shard(shard)?;
        let entry = self.store.get(shard, &Key::new(namespace, name))?;
        Some(resource.value(&entry))
    }

    /// All objects of a resource, as stored.
    pub fn all(&self, shard: &str) -> Vec<Value> {
        let Some(resource) = self.catalog.snapshot().by_shard(shard) else {
            return Vec::new();
        };
        self.store.list(shard, None, None).0.iter().map(|(_, entry)| resource.value(entry)).collect()
    }

    /// Whether a namespace takes new objects.
    ///
    /// # Errors
    /// 404 when it does not exist, 403 while it is being deleted.
    pub fn check_namespace(&self, resource: &Resource, namespace: &str, name: &str) -> Result<()> {
        let entry = self.store.get("/namespaces", &Key::new("", namespace));
        let entry = entry.ok_or_else(|| ApiError::not_found("", "namespaces", namespace))?;
        if entry.terminating {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            return Err(ApiError::forbidden(&resource.group, &resource.plural, name, &why));
        }
        Ok(())
    }
}

/// Turns a refused write into the client's error.
pub fn refused(resource: &Resource, name: &str, refused: Refused) -> ApiError {
    let (group, plural) = (&*resource.group, &*resource.plural);
    match refused {
        Refused::Exists => ApiError::already_exists(group, plural, name),
        Refused::Missing => ApiError::not_found(group, plural, name),
        Refused::Stale => ApiError::modified(group, plural, name),
        Refused::Disk => ApiError::internal("the state file cannot be written"),
    }
}

/// The key of an object.
pub fn key_of(object: &Value) -> Key {
    Key::new(object::namespace(object), object::name(object))
}

/// The key of an entry's object, read from its resource's value.
pub fn not_found(resource: &Resource, name: &str) -> ApiError {
    ApiError::not_found(&resource.group, &resource.plural, name)
}

/// An entry, or 404.
pub fn must_get(context: &Context, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Entry>> {
    context.store.get(&resource.shard, &Key::new(namespace, name)).ok_or_else(|| not_found(resource, name))
}
