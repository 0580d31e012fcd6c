//! Sidecar: what the proxies of a namespace listen on and reach.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::gateway::ServerTlsSettings;
use super::service_entry::WorkloadSelector;
use super::traffic_policy::{ClientTlsSettings, ConnectionPoolSettings};
use super::virtual_service::Destination;
use super::{CATEGORIES, GROUP, VERSIONS};
use crate::object::{AGE, Kind, Object};
use crate::wire::message::{enumeration, message};
use crate::wire::report::Report;

/// What the proxies of a namespace listen on and reach.
pub type Sidecar = Object<SidecarSpec>;

message! {
    /// Configuration of the sidecar proxies of a namespace, or of those that are selected.
    pub struct SidecarSpec {
        /// The workloads to which it applies; all of the namespace by default.
        workload_selector: Option<WorkloadSelector>,
        /// Inbound listeners, instead of those that follow from services.
        ingress: Vec<IstioIngressListener>,
        /// Outbound listeners and the hosts that are reached through them.
        egress: Vec<IstioEgressListener>,
        /// Connection pool settings of inbound connections.
        inbound_connection_pool: Option<ConnectionPoolSettings>,
        /// What becomes of traffic to unknown destinations.
        outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    }
}

impl Kind for SidecarSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "Sidecar";
    const PLURAL: &'static str = "sidecars";
    const SHORT_NAMES: &'static [&'static str] = &[];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [crate::object::Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::sidecar::validate(self, metadata, report);
    }
}

message! {
    /// An inbound listener.
    pub struct IstioIngressListener {
        /// The port.
        port: Option<SidecarPort>,
        /// The address; the workload's by default.
        bind: String,
        /// How traffic reaches it.
        capture_mode: CaptureMode,
        /// Where traffic is forwarded: `127.0.0.1:PORT`, `[::1]:PORT`, `0.0.0.0:PORT`, `[::]:PORT` or `unix:///path`.
        default_endpoint: String,
        /// How connections are secured; only where the mesh's mutual TLS is off for the port.
        tls: Option<ServerTlsSettings>,
        /// Connection pool settings of this port.
        connection_pool: Option<ConnectionPoolSettings>,
    }
}

message! {
    /// An outbound listener.
    pub struct IstioEgressListener {
        /// The port; without it the listener is for all ports that have none of their own.
        port: Option<SidecarPort>,
        /// The address, or a `unix://` path.
        bind: String,
        /// How traffic reaches it.
        capture_mode: CaptureMode,
        /// The hosts that are reached: `namespace/dnsName`, with or without wildcards.
        hosts: Vec<String>,
    }
}

message! {
    /// A port of a listener.
    pub struct SidecarPort {
        /// Its number.
        number: u32,
        /// HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS.
        protocol: String,
        /// Its name.
        name: String,
        /// Deprecated: has no effect.
        target_port: u32,
    }
}

enumeration! {
    /// How traffic reaches a listener.
    pub enum CaptureMode {
        /// As the workload's capture has it.
        Default = 0 "DEFAULT",
        /// By redirection.
        Iptables = 1 "IPTABLES",
        /// Without: clients connect to the listener.
        None = 2 "NONE",
    }
}

message! {
    /// What becomes of traffic to unknown destinations.
    pub struct OutboundTrafficPolicy {
        /// Whether it is let through.
        mode: Option<OutboundTrafficMode>,
        /// Where it is sent instead.
        egress_proxy: Option<Destination>,
        /// How connections are secured; mode ALLOW_ANY_DYNAMIC_DNS only.
        tls: Option<ClientTlsSettings>,
    }
}

enumeration! {
    /// Whether traffic to unknown destinations is let through.
    pub enum OutboundTrafficMode {
        /// It is refused.
        RegistryOnly = 0 "REGISTRY_ONLY",
        /// It is let through.
        AllowAny = 1 "ALLOW_ANY",
        /// It is let through, to the address that the requested name resolves to.
        AllowAnyDynamicDns = 2 "ALLOW_ANY_DYNAMIC_DNS",
    }
}
