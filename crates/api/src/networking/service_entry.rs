//! ServiceEntry: services that no Kubernetes Service stands for.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::workload_entry::WorkloadEntrySpec;
use super::{CATEGORIES, GROUP, VERSIONS};
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::message::{enumeration, message};
use crate::wire::report::Report;

/// A service that no Kubernetes Service stands for.
pub type ServiceEntry = Object<ServiceEntrySpec>;

message! {
    /// A service that is added to the mesh's registry.
    pub struct ServiceEntrySpec {
        /// Its host names; `Host` and SNI are compared with them.
        hosts: Vec<String>,
        /// Its virtual addresses, with or without a subnet.
        addresses: Vec<String>,
        /// Its ports.
        ports: Vec<ServicePort>,
        /// Whether it is a part of the mesh.
        location: Option<ServiceEntryLocation>,
        /// How its endpoints are found.
        resolution: Option<ServiceEntryResolution>,
        /// Its endpoints; only one of endpoints and workloadSelector may be set.
        endpoints: Vec<WorkloadEntrySpec>,
        /// The labels of the pods and workload entries that are its endpoints; MESH_INTERNAL only.
        workload_selector: Option<WorkloadSelector>,
        /// The namespaces that see it: `*` (the default) all, `.` only its own.
        export_to: Vec<String>,
        /// Names of which the endpoints' certificates must have one.
        subject_alt_names: Vec<String>,
    }
}

impl Kind for ServiceEntrySpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "ServiceEntry";
    const PLURAL: &'static str = "serviceentries";
    const SHORT_NAMES: &'static [&'static str] = &["se"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[
        Column {
            name: "Hosts",
            kind: "string",
            path: ".spec.hosts",
            description: "The hosts associated with the ServiceEntry.",
        },
        Column {
            name: "Location",
            kind: "string",
            path: ".spec.location",
            description: "Whether the service is external to the mesh or part of it (MESH_EXTERNAL or MESH_INTERNAL).",
        },
        Column {
            name: "Resolution",
            kind: "string",
            path: ".spec.resolution",
            description: "How endpoints are found (NONE, STATIC, DNS...).",
        },
        AGE,
    ];
    type Scope = NamespaceResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::service_entry::validate(self, metadata, report);
    }
}

message! {
    /// A port of a service.
    pub struct ServicePort {
        /// Its number.
        number: u32,
        /// HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS.
        protocol: String,
        /// Its name.
        name: String,
        /// The port of the endpoints; the same by default.
        target_port: u32,
    }
}

message! {
    /// Selects workloads by labels (`istio.networking.v1alpha3.WorkloadSelector`).
    pub struct WorkloadSelector {
        /// The labels, all of which must be there.
        labels: BTreeMap<String, String>,
    }
}

enumeration! {
    /// Whether a service is a part of the mesh.
    pub enum ServiceEntryLocation {
        /// It is outside: no mutual TLS, no policy of the mesh.
        MeshExternal = 0 "MESH_EXTERNAL",
        /// It is a part of the mesh.
        MeshInternal = 1 "MESH_INTERNAL",
    }
}

enumeration! {
    /// How endpoints are found.
    pub enum ServiceEntryResolution {
        /// Connections go where the client sent them.
        None = 0 "NONE",
        /// At the addresses of the endpoints.
        Static = 1 "STATIC",
        /// By resolving names; all addresses of the answer are used.
        Dns = 2 "DNS",
        /// By resolving names; the first address of the answer is used.
        DnsRoundRobin = 3 "DNS_ROUND_ROBIN",
        /// By resolving the name that the request asks for, as it comes.
        DynamicDns = 4 "DYNAMIC_DNS",
    }
}
