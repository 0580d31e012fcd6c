use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use lateen_api::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, MeshPolicy, PeerAuthentication, Policy,
    ProxyConfig, RequestAuthentication, ServiceEntry, Sidecar, Telemetry, VirtualService, WorkloadEntry,
};

use crate::{Credential, Issuer, Settings};

/// One object as it comes from the Kubernetes API.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Resource {
    Service(Box<core::Service>),
    EndpointSlice(Box<EndpointSlice>),
    Pod(Box<core::Pod>),
    Node(Box<core::Node>),
    VirtualService(Box<VirtualService>),
    DestinationRule(Box<DestinationRule>),
    Gateway(Box<Gateway>),
    ServiceEntry(Box<ServiceEntry>),
    WorkloadEntry(Box<WorkloadEntry>),
    Sidecar(Box<Sidecar>),
    Telemetry(Box<Telemetry>),
    EnvoyFilter(Box<EnvoyFilter>),
    ProxyConfig(Box<ProxyConfig>),
    PeerAuthentication(Box<PeerAuthentication>),
    RequestAuthentication(Box<RequestAuthentication>),
    AuthorizationPolicy(Box<AuthorizationPolicy>),
    Policy(Box<Policy>),
    MeshPolicy(Box<MeshPolicy>),
    /// What a Secret or a ConfigMap holds for TLS.
    Credential(Box<Credential>),
    /// Where an issuer of tokens has its keys.
    Issuer(Box<Issuer>),
    /// What MeshConfig says.
    Settings(Box<Settings>),
}

macro_rules! from {
    ($($name:ident: $object:ty),* $(,)?) => {
        $(impl From<$object> for Resource {
            fn from(object: $object) -> Self {
                Resource::$name(Box::new(object))
            }
        })*
    };
}

from! {
    Service: core::Service,
    EndpointSlice: EndpointSlice,
    Pod: core::Pod,
    Node: core::Node,
    VirtualService: VirtualService,
    DestinationRule: DestinationRule,
    Gateway: Gateway,
    ServiceEntry: ServiceEntry,
    WorkloadEntry: WorkloadEntry,
    Sidecar: Sidecar,
    Telemetry: Telemetry,
    EnvoyFilter: EnvoyFilter,
    ProxyConfig: ProxyConfig,
    PeerAuthentication: PeerAuthentication,
    RequestAuthentication: RequestAuthentication,
    AuthorizationPolicy: AuthorizationPolicy,
    Policy: Policy,
    MeshPolicy: MeshPolicy,
    Credential: Credential,
    Issuer: Issuer,
    Settings: Settings,
}
