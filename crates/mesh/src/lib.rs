//! API objects -> an immutable, indexed snapshot of the mesh. Pure: no I/O, no async.
//!
//! [`World`] holds the objects, takes upserts and removals and builds the next [`Mesh`], sharing with the last one
//! everything that did not change.

mod addresses;
mod changes;
mod credential;
mod delegate;
mod destination_rule;
mod endpoint;
mod envoy_filter;
mod gateway;
pub mod hostname;
mod ingress;
pub mod labels;
mod mesh;
mod meta;
mod policy;
mod protocol;
mod reach;
mod scope;
mod service;
mod settings;
mod sidecar;
mod source;
pub mod telemetry;
mod virtual_service;
mod visibility;
mod workload;
mod world;

pub use changes::{Change, Changes, ConfigKey, Kind, ServiceId};
pub use credential::{Credential, Credentials};
pub use destination_rule::{DestinationRule, DestinationRules};
pub use endpoint::{Endpoint, Endpoints};
pub use envoy_filter::{EnvoyFilter, EnvoyFilters};
pub use gateway::{Gateway, Gateways};
pub use ingress::{Ingress, IngressEndpoint};
pub use labels::Labels;
pub use mesh::{Inbound, Mesh, Services};
pub use meta::Meta;
pub use policy::{
    AuthorizationPolicy, AuthorizationRules, Issuer, JwtTrigger, LegacyPolicy, Mtls, PeerAuthentication,
    PeerMode, Policies, Recipient, RequestAuthentication, RequestRules, ServedBy, Target, TargetKind,
};
pub use protocol::Protocol;
pub use scope::{Egress, Scope, ServicesByHost};
pub use service::{Address, ListedEndpoint, Origin, Port, Resolution, Service, TargetPort};
pub use settings::Settings;
pub use sidecar::{Sidecar, Sidecars};
pub use telemetry::{Observed, Telemetries, Telemetry};
pub use virtual_service::{MESH_GATEWAY, VirtualService, VirtualServices};
pub use visibility::Visibility;
pub use workload::{Identity, Locality, Workload};
pub use world::{Resource, World};
