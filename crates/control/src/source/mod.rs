//! Where the mesh's objects come from: the Kubernetes API, or memory in tests and benchmarks.

mod injection;
mod kubernetes;
mod mesh_config;
mod secret;
mod watch;

pub use injection::Injection;
pub(crate) use kubernetes::api_resource;
pub use kubernetes::{MeshConfigMap, Namespaces, kubernetes};
pub use mesh_config::settings as mesh_settings;
pub use secret::{credential, map_credential};

use lateen_mesh::{ConfigKey, Kind, Resource};

use crate::status::Note;

/// Names a source: the kind that it delivers.
pub type SourceId = Kind;

/// One step that a source reports.
#[derive(Clone, Debug)]
pub enum Update {
    /// An object is new or changed.
    Upsert(Resource),
    /// An object cannot be read: what it was before stays.
    Refused(Note),
    /// An object is gone.
    Remove(ConfigKey),
    /// The source has delivered everything that there was when it started.
    Listed(SourceId),
}

/// The kind of an object.
pub fn kind_of(resource: &Resource) -> Kind {
    match resource {
        Resource::Service(_) => Kind::Service,
        Resource::EndpointSlice(_) => Kind::EndpointSlice,
        Resource::Pod(_) => Kind::Pod,
        Resource::Node(_) => Kind::Node,
        Resource::VirtualService(_) => Kind::VirtualService,
        Resource::DestinationRule(_) => Kind::DestinationRule,
        Resource::Gateway(_) => Kind::Gateway,
        Resource::ServiceEntry(_) => Kind::ServiceEntry,
        Resource::WorkloadEntry(_) => Kind::WorkloadEntry,
        Resource::Sidecar(_) => Kind::Sidecar,
        Resource::Telemetry(_) => Kind::Telemetry,
        Resource::EnvoyFilter(_) => Kind::EnvoyFilter,
        Resource::ProxyConfig(_) => Kind::ProxyConfig,
        Resource::PeerAuthentication(_) => Kind::PeerAuthentication,
        Resource::RequestAuthentication(_) => Kind::RequestAuthentication,
        Resource::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
        Resource::Policy(_) => Kind::Policy,
        Resource::MeshPolicy(_) => Kind::MeshPolicy,
        Resource::Credential(credential) => credential.kind,
        Resource::Issuer(_) => Kind::Issuer,
        Resource::Settings(_) => Kind::MeshConfig,
    }
}
