use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The kinds of objects that a mesh is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    Service,
    EndpointSlice,
    Pod,
    Node,
    Namespace,
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
    Sidecar,
    ProxyConfig,
    EnvoyFilter,
    PeerAuthentication,
    RequestAuthentication,
    AuthorizationPolicy,
    Policy,
    MeshPolicy,
    Secret,
    ConfigMap,
    /// Where an issuer of tokens has its keys, as its own document says.
    Issuer,
    Telemetry,
    WasmPlugin,
    MeshConfig,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Names one object of the mesh. Cluster-wide kinds have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigKey {
    /// What it is.
    pub kind: Kind,
    /// Its namespace, empty for `Node`, `Namespace` and `MeshConfig`.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ConfigKey {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        ConfigKey { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What one `upsert` or `remove` did to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that the mesh depends on: no snapshot is needed.
    None,
    /// Endpoints or workloads only: services, routes and policies stay as they are.
    Endpoints,
    /// Configuration: services, routes, rules, gateways or policies.
    Config,
}

/// What the step from one snapshot to the next touched.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Objects that were written or removed and whose content matters to the mesh.
    pub keys: BTreeSet<ConfigKey>,
    /// Services whose endpoints were rebuilt, by name and namespace.
    pub endpoints: BTreeSet<ServiceId>,
    /// Whether anything but endpoints changed.
    pub config: bool,
    /// Pods (namespace, name) whose workload changed: what their own proxies get may differ.
    pub workloads: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Changes {
    /// Whether the two snapshots are the same.
    pub fn is_empty(&self) -> bool {
        !self.config && self.keys.is_empty() && self.endpoints.is_empty() && self.workloads.is_empty()
    }

    /// Whether only endpoints changed, so that nothing but EDS needs a look.
    pub fn endpoints_only(&self) -> bool {
        !self.config && self.workloads.is_empty()
    }

    /// Adds what a later step touched.
    pub fn merge(&mut self, later: Changes) {
        self.keys.extend(later.keys);
        self.endpoints.extend(later.endpoints);
        self.workloads.extend(later.workloads);
        self.config |= later.config;
    }
}

/// Names a service of the mesh: two namespaces may each declare a `ServiceEntry` for the same host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId {
    /// The fully qualified host name.
    pub host: Arc<str>,
    /// The namespace of the object that declares it.
    pub namespace: Arc<str>,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.host)
    }
}
