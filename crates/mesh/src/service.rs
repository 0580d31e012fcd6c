use std::net::IpAddr;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::{Labels, Meta, Protocol, ServiceId, Visibility};

/// Something that can be called by a host name: a Kubernetes Service, or one host of a ServiceEntry.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Host and namespace.
    pub id: ServiceId,
    /// The object that declares it.
    pub meta: Meta,
    /// Which kind of object declares it.
    pub origin: Origin,
    /// Virtual addresses or, for a ServiceEntry, networks in CIDR form. Empty for headless services.
    pub addresses: Vec<Address>,
    /// Whether an address is chosen for it where the mesh resolves names (ServiceEntry without addresses).
    pub wants_address: bool,
    /// The ports, UDP ports left out.
    pub ports: Vec<Port>,
    /// How clients find its endpoints.
    pub resolution: Resolution,
    /// Whether it is outside of the mesh (`MESH_EXTERNAL`).
    pub external: bool,
    /// To which namespaces it is visible; `None` is the mesh's default.
    pub export_to: Option<Visibility>,
    /// Which workloads of its namespace it selects; empty selects none.
    pub selector: Labels,
    /// Whether it is a Kubernetes service without virtual address (`clusterIP: None`).
    pub headless: bool,
    /// What an ExternalName service is another name for.
    pub external_name: Option<Arc<str>>,
    /// Endpoints that the declaring object itself lists (ServiceEntry `endpoints`).
    pub listed: Vec<ListedEndpoint>,
    /// Names of which the server's certificate must have one (ServiceEntry `subjectAltNames`); none leaves it open.
    pub subject_alt_names: Vec<String>,
}

/// Which kind of object declares a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A Kubernetes Service.
    Kubernetes,
    /// An Istio ServiceEntry.
    ServiceEntry,
}

/// How clients find the endpoints of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// From the control plane (EDS).
    Endpoints,
    /// Where the client wanted to go anyway (`ORIGINAL_DST`).
    Passthrough,
    /// By DNS, every address that it answers (`STRICT_DNS`).
    Dns,
    /// By DNS, one address at a time (`LOGICAL_DNS`).
    DnsRoundRobin,
}

/// An address on which a service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The address, or the network's.
    pub ip: IpAddr,
    /// How many leading bits count; 32 or 128 for a single address.
    pub prefix: u8,
}

impl Address {
    /// Reads `10.0.0.1` or `10.0.0.0/8`.
    pub fn parse(text: &str) -> Option<Address> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip.parse::<IpAddr>().ok()?, Some(prefix.parse::<u8>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(whole);
        (prefix <= whole).then_some(Address { ip, prefix })
    }

    /// Whether it is one address and no network.
    pub fn is_single(&self) -> bool {
        self.prefix == if self.ip.is_ipv4() { 32 } else { 128 }
    }
}

/// A port on which a service is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name, which joins it to the ports of EndpointSlices; may be empty.
    pub name: Arc<str>,
    /// Its number.
    pub number: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where the workload listens.
    pub target: TargetPort,
}

/// Where a workload listens for a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// On this number.
    Number(u16),
    /// On its container port of this name.
    Name(Arc<str>),
}

/// An endpoint as a ServiceEntry lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedEndpoint {
    /// The endpoint but for its port.
    pub endpoint: Endpoint,
    /// Ports by the names of the service's ports.
    pub ports: Vec<(Arc<str>, u16)>,
}

impl ListedEndpoint {
    /// The endpoint for a port of the service.
    pub fn at(&self, port: &Port) -> Endpoint {
        let named = self.ports.iter().find(|(name, _)| *name == port.name).map(|(_, number)| *number);
        let target = match &port.target {
            TargetPort::Number(number) => *number,
            TargetPort::Name(_) => port.number,
        };
        Endpoint { port: named.unwrap_or(target), ..self.endpoint.clone() }
    }
}

impl Service {
    /// The port of a number.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|p| p.number == number)
    }

    /// The namespaces in which the service is visible, with the mesh's default applied.
    pub fn visible_to(&self, client_namespace: &str, default: &Visibility) -> bool {
        visible(self.export_to.as_ref(), &self.id.namespace, client_namespace, default)
    }
}

/// Whether an object is visible to clients of a namespace. A default of `.` means the object's own namespace.
pub(crate) fn visible(own: Option<&Visibility>, home: &str, client: &str, default: &Visibility) -> bool {
    match own {
        Some(visibility) => visibility.allows(client),
        None => default.allows(client) || (default.is_own() && home == client),
    }
}
