//! Where the resources of a kind are in the API.

use kube::api::ApiResource;
use lateen_api::{Kind as ApiKind, authentication, networking, security, telemetry};
use lateen_mesh::Kind;

/// The kinds whose status is ours.
pub(super) const KINDS: [Kind; 14] = [
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::Gateway,
    Kind::ServiceEntry,
    Kind::WorkloadEntry,
    Kind::Sidecar,
    Kind::Telemetry,
    Kind::EnvoyFilter,
    Kind::ProxyConfig,
    Kind::PeerAuthentication,
    Kind::RequestAuthentication,
    Kind::AuthorizationPolicy,
    Kind::Policy,
    Kind::MeshPolicy,
];

/// A kind in each version that the API may serve, the best first. Empty for kinds whose status is not ours.
pub(super) fn of(kind: Kind) -> Vec<ApiResource> {
    match kind {
        Kind::VirtualService => all::<networking::virtual_service::VirtualServiceSpec>(),
        Kind::DestinationRule => all::<networking::destination_rule::DestinationRuleSpec>(),
        Kind::Gateway => all::<networking::gateway::GatewaySpec>(),
        Kind::ServiceEntry => all::<networking::service_entry::ServiceEntrySpec>(),
        Kind::WorkloadEntry => all::<networking::workload_entry::WorkloadEntrySpec>(),
        Kind::Sidecar => all::<networking::sidecar::SidecarSpec>(),
        Kind::Telemetry => all::<telemetry::TelemetrySpec>(),
        Kind::EnvoyFilter => all::<networking::envoy_filter::EnvoyFilterSpec>(),
        Kind::ProxyConfig => all::<networking::proxy_config::ProxyConfigSpec>(),
        Kind::PeerAuthentication => all::<security::peer_authentication::PeerAuthenticationSpec>(),
        Kind::RequestAuthentication => all::<security::request_authentication::RequestAuthenticationSpec>(),
        Kind::AuthorizationPolicy => all::<security::authorization_policy::AuthorizationPolicySpec>(),
        Kind::Policy => all::<authentication::PolicySpec>(),
        Kind::MeshPolicy => all::<authentication::MeshPolicySpec>(),
        _ => Vec::new(),
    }
}

fn all<S: ApiKind>() -> Vec<ApiResource> {
    S::VERSIONS.iter().map(|version| crate::source::api_resource::<S>(version)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place() {
        assert!(KINDS.into_iter().all(|kind| !of(kind).is_empty()));
        assert!(of(Kind::Pod).is_empty());
    }
}
