//! What was encoded already, by what it was made from.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lateen_mesh::{DestinationRule, Endpoints, Service, Settings, VirtualService};
use lateen_xds::Encoded;

use crate::families::Families;
use crate::locality::Near;
use crate::proxy::{Flavour, ProxyKind};

/// A shared part of a snapshot, compared by identity: the mesh keeps what did not change in its place.
#[derive(Debug)]
pub(crate) struct Same<T>(pub Arc<T>);

impl<T> Clone for Same<T> {
    fn clone(&self) -> Self {
        Same(self.0.clone())
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Same<T> {}

impl<T> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// A service with the rule that applies to it.
pub(crate) type Destination = (Option<Same<Service>>, Option<Same<DestinationRule>>);

/// What a unit of resources is made from: two units with the same key have the same content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UnitKey {
    /// All clusters of a service.
    Clusters {
        service: Same<Service>,
        rule: Option<Same<DestinationRule>>,
        settings: Same<Settings>,
        kind: ProxyKind,
        /// The IP versions of the clients, where they ask for addresses by name.
        families: Families,
        /// Whether the clients have certificates of the mesh.
        certified: bool,
        /// Whether they tell servers of TCP who they are.
        exchange: bool,
        /// Where the clients are, where the cluster has its endpoints in it and that may make a difference.
        near: Option<Arc<Near>>,
        /// The accounts of the endpoints.
        accounts: Arc<[Arc<str>]>,
        /// For headless services, by port: whether all endpoints take the mesh's mutual TLS.
        all_mtls: Box<[bool]>,
    },
    /// All load assignments of a service.
    Endpoints {
        service: Same<Service>,
        rule: Option<Same<DestinationRule>>,
        endpoints: Same<Endpoints>,
        /// Where the clients are, where that may make a difference.
        near: Option<Arc<Near>>,
        kind: ProxyKind,
        families: Families,
    },
    /// The names of a service.
    Names {
        service: Same<Service>,
        /// For headless services: the pods that they stand for.
        endpoints: Option<Same<Endpoints>>,
    },
    /// One virtual host of a route configuration.
    VirtualHost {
        /// The prefix of its name when it is a resource of its own.
        route: Arc<str>,
        port: u16,
        name: Arc<str>,
        domains: Domains,
        rule: Option<Same<VirtualService>>,
        destinations: Box<[Destination]>,
        client: Arc<Client>,
        settings: Same<Settings>,
    },
    /// The listeners of one TCP or undeclared port of a service.
    Listener {
        name: Arc<str>,
        service: Same<Service>,
        port: u16,
        settings: Same<Settings>,
        /// Whether the service that spans are sent to is there.
        traced: bool,
        client: Arc<Client>,
    },
}

/// For which hosts a virtual host is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Domains {
    /// For every host.
    Any,
    /// For one host that is no service.
    Host(Arc<str>),
    /// For a service under all its names and addresses; whether the client is in its namespace decides which.
    Service(Same<Service>, bool),
    /// For a service that others are another name for (ExternalName), under their names as well.
    /// With each, whether the client is in its namespace.
    Aliased(Same<Service>, bool, Arc<[(Same<Service>, bool)]>),
}

/// What rules may tell clients apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub flavour: Flavour,
    pub kind: ProxyKind,
    /// The client's namespace, where a rule asks for it.
    pub namespace: Option<Arc<str>>,
    /// The client's labels, as far as rules ask for them.
    pub labels: Vec<(String, String)>,
}

/// Resources that are made together.
pub(crate) type Unit = Arc<[Arc<Encoded>]>;

/// How many units are kept before unused ones are looked for.
const FIRST_SWEEP: usize = 1024;

/// Units by what they are made from. Units that no resource set uses any longer are dropped in sweeps, whose cost is
/// spread over the insertions between them.
#[derive(Debug)]
pub(crate) struct Cache {
    units: HashMap<UnitKey, Unit>,
    sweep_at: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Cache { units: HashMap::new(), sweep_at: FIRST_SWEEP }
    }
}

impl Cache {
    /// The unit of a key, made when it is not there yet.
    pub fn unit(&mut self, key: UnitKey, make: impl FnOnce() -> Vec<Encoded>) -> &Unit {
        self.units.entry(key).or_insert_with(|| make().into_iter().map(Arc::new).collect())
    }

    /// How many units are kept.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Drops units that nothing but the cache holds, when enough have come in since the last time. Call it when all
    /// resource sets that are in use have been made.
    pub fn sweep(&mut self) {
        if self.units.len() < self.sweep_at {
            return;
        }
        self.units.retain(|_, unit| unit.iter().any(|resource| Arc::strong_count(resource) > 1));
        self.sweep_at = (self.units.len() * 2).max(FIRST_SWEEP);
    }
}
