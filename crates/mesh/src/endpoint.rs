use std::sync::Arc;

use crate::workload::Workload;
use crate::{Labels, Locality};

/// One place where a service answers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// An IP address, or a host name for services that are resolved by DNS.
    pub address: Arc<str>,
    /// Its label in DNS, before the name of its headless service.
    pub hostname: Option<Arc<str>>,
    /// The port on which the workload listens.
    pub port: u16,
    /// Labels by which subsets select.
    pub labels: Arc<Labels>,
    /// Where it runs.
    pub locality: Arc<Locality>,
    /// Relative weight; 1 unless a ServiceEntry says otherwise.
    pub weight: u32,
    /// What runs there, when it is known.
    pub workload: Option<Arc<Workload>>,
    /// Whether it takes the mesh's mutual TLS.
    pub mtls: bool,
}

impl PartialEq for Endpoint {
    /// Equal when clients could not tell the difference.
    fn eq(&self, other: &Self) -> bool {
        let identity = |e: &Endpoint| e.workload.as_ref().map(|w| w.identity.clone());
        self.address == other.address
            && self.hostname == other.hostname
            && self.port == other.port
            && self.weight == other.weight
            && self.mtls == other.mtls
            && self.labels == other.labels
            && self.locality == other.locality
            && identity(self) == identity(other)
    }
}

/// The ready endpoints of a service, by the number of the service's port.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    /// One entry for each port of the service.
    pub by_port: Vec<(u16, Vec<Endpoint>)>,
    /// The accounts that the endpoints run under, as `ns/NAMESPACE/sa/NAME`, sorted. When the last endpoint goes they
    /// stay, so that clients need not be told when it comes back.
    pub accounts: Arc<[Arc<str>]>,
}

impl Endpoints {
    /// The endpoints of a service port.
    pub fn of_port(&self, number: u16) -> &[Endpoint] {
        self.by_port.iter().find(|(port, _)| *port == number).map_or(&[], |(_, list)| list)
    }

    /// Whether a port has endpoints, all of which take the mesh's mutual TLS.
    pub fn all_mtls(&self, number: u16) -> bool {
        let endpoints = self.of_port(number);
        !endpoints.is_empty() && endpoints.iter().all(|e| e.mtls)
    }
}
