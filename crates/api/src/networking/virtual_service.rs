//! VirtualService: how requests to a host are routed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::virtual_service_http::HttpRoute;
use super::{CATEGORIES, GROUP, VERSIONS};
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::message::{message, oneof};
use crate::wire::report::Report;

/// How requests to a host are routed.
pub type VirtualService = Object<VirtualServiceSpec>;

message! {
    /// Configuration affecting traffic routing.
    pub struct VirtualServiceSpec {
        /// The destination hosts to which traffic is being sent; DNS names, with or without a wildcard, or addresses.
        hosts: Vec<String>,
        /// The gateways and sidecars that apply these routes; `mesh` means all sidecars and is the default.
        gateways: Vec<String>,
        /// Routes for HTTP traffic; the first that matches is used.
        http: Vec<HttpRoute>,
        /// Routes for TLS traffic that is passed through; the first that matches is used.
        tls: Vec<TlsRoute>,
        /// Routes for opaque TCP traffic; the first that matches is used.
        tcp: Vec<TcpRoute>,
        /// The namespaces that see this virtual service: `*` (the default) all, `.` only its own.
        export_to: Vec<String>,
    }
}

impl Kind for VirtualServiceSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "VirtualService";
    const PLURAL: &'static str = "virtualservices";
    const SHORT_NAMES: &'static [&'static str] = &["vs"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[
        Column {
            name: "Gateways",
            kind: "string",
            path: ".spec.gateways",
            description: "The names of gateways and sidecars that should apply these routes.",
        },
        Column {
            name: "Hosts",
            kind: "string",
            path: ".spec.hosts",
            description: "The destination hosts to which traffic is being sent.",
        },
        AGE,
    ];
    type Scope = NamespaceResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::virtual_service::validate(self, metadata, report);
    }
}

oneof! {
    /// How a string is compared; case-sensitive. `Unset` matches whatever is present.
    pub message enum StringMatch {
        /// The whole string.
        exact: Exact(String),
        /// Its beginning.
        prefix: Prefix(String),
        /// An RE2 expression that the whole string matches.
        regex: Regex(String),
    }
}

message! {
    /// A service, and a subset of it, to which traffic is sent.
    pub struct Destination {
        /// The service's name in the registry; short names are of the rule's namespace.
        host: String,
        /// The name of a subset that a DestinationRule defines.
        subset: String,
        /// The service's port; needed only when it has several.
        port: Option<PortSelector>,
    }
}

message! {
    /// A port of a service.
    pub struct PortSelector {
        /// The port's number.
        number: u32,
    }
}

message! {
    /// A destination of opaque traffic and its share.
    pub struct RouteDestination {
        /// Where traffic is sent.
        destination: Option<Destination>,
        /// Its share of the traffic, relative to the sum of all weights.
        weight: i32,
    }
}

message! {
    /// A route for TLS traffic that is passed through.
    pub struct TlsRoute {
        /// The conditions; one that holds suffices.
        r#match: Vec<TlsMatchAttributes>,
        /// Where connections are forwarded.
        route: Vec<RouteDestination>,
    }
}

message! {
    /// Conditions on a TLS connection, all of which must hold.
    pub struct TlsMatchAttributes {
        /// Server names (SNI), with or without a wildcard, each within the virtual service's hosts.
        sni_hosts: Vec<String>,
        /// Addresses of the destination, with or without a subnet.
        destination_subnets: Vec<String>,
        /// The port that is addressed.
        port: u32,
        /// Labels of the client's workload.
        source_labels: BTreeMap<String, String>,
        /// The gateways to which the route applies, instead of the virtual service's.
        gateways: Vec<String>,
        /// The namespace of the client's workload.
        source_namespace: String,
    }
}

message! {
    /// A route for opaque TCP traffic.
    pub struct TcpRoute {
        /// The conditions; one that holds suffices.
        r#match: Vec<L4MatchAttributes>,
        /// Where connections are forwarded.
        route: Vec<RouteDestination>,
    }
}

message! {
    /// Conditions on a TCP connection, all of which must hold.
    pub struct L4MatchAttributes {
        /// Addresses of the destination, with or without a subnet.
        destination_subnets: Vec<String>,
        /// The port that is addressed.
        port: u32,
        /// The client's address, with or without a subnet.
        source_subnet: String,
        /// Labels of the client's workload.
        source_labels: BTreeMap<String, String>,
        /// The gateways to which the route applies, instead of the virtual service's.
        gateways: Vec<String>,
        /// The namespace of the client's workload.
        source_namespace: String,
    }
}
