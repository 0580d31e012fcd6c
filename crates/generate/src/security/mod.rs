//! What guards a port: external authorization, tokens, and access control, in the order in which Istio puts them.

mod authorizer;
mod jwks;
mod jwt;
mod rbac;

use lateen_mesh::{Labels, Mesh, Recipient, ServedBy};
use lateen_xds::Encoded;
use lateen_xds::pb::envoy::config::listener::v3::Filter;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpFilter, http_filter,
};
use lateen_xds::pb::google::protobuf::Any;

use crate::families::Families;
pub(crate) use jwt::claims;

/// The filters that guard a port.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    /// For HTTP, in the order in which requests pass them.
    pub http: Vec<HttpFilter>,
    /// For connections that are no HTTP.
    pub tcp: Vec<Filter>,
    /// Clusters that the filters need and that no service stands for.
    pub clusters: Vec<Encoded>,
    /// The IP versions of the proxy.
    families: Families,
}

/// The guards of a port of a workload that serves these services there: CUSTOM, then tokens, then AUDIT, DENY, ALLOW.
///
/// Source: Istio, AuthorizationPolicy, "evaluated for access": CUSTOM, DENY, ALLOW.
pub(crate) fn guards(
    mesh: &Mesh,
    namespace: &str,
    labels: &Labels,
    served: &[ServedBy<'_>],
    (reroutes, families): (bool, Families),
) -> Guards {
    let services: Vec<_> = served.iter().map(|(service, _)| *service).collect();
    let to = Recipient { namespace, labels, services: &services };
    let mut guards = Guards { families, ..Guards::default() };
    let authorization = mesh.policies.authorization(&to);
    if !authorization.custom.is_empty() {
        authorizer::add(&mut guards, &authorization.custom, mesh);
    }
    let requests = mesh.policies.requests(&to, served);
    if !requests.is_empty() {
        jwt::add(&mut guards, &requests, mesh, namespace, reroutes);
    }
    if !authorization.is_empty() {
        rbac::add(&mut guards, &authorization, &mesh.settings);
    }
    guards
}

fn http(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}
