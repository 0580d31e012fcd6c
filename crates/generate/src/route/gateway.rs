//! The route configurations of gateways: for each HTTP server the VirtualServices that name its Gateway and share a
//! host with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_mesh::VirtualService;
use lateen_xds::Encoded;
use lateen_xds::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use lateen_xds::pb::envoy::config::route::v3::{Route, VirtualHost};

use super::matching;
use super::rule::{self, Target};
use super::{config, host};
use crate::gateway::{GatewayServer, ServerProtocol};
use crate::view::View;

/// A route configuration and, for Lateen's own proxies, its virtual hosts.
pub(crate) struct GatewayRoutes {
    pub config: Encoded,
    pub hosts: Vec<Arc<Encoded>>,
}

/// The route configurations of the servers of one address, by name.
pub(crate) fn routes(view: &View<'_>, servers: &[GatewayServer]) -> Vec<GatewayRoutes> {
    let mut by_name: BTreeMap<String, Vec<&GatewayServer>> = BTreeMap::new();
    for server in
        servers.iter().filter(|s| matches!(s.protocol, ServerProtocol::Http | ServerProtocol::Https))
    {
        by_name.entry(server.route_name()).or_default().push(server);
    }
    let one = |(name, servers): (String, Vec<&GatewayServer>)| {
        let hosts: Vec<Arc<Encoded>> =
            virtual_hosts(view, &servers).iter().map(|h| Arc::new(host::encode(&name, h))).collect();
        GatewayRoutes { config: config::route_config(&name, view.key.flavour, &hosts), hosts }
    };
    by_name.into_iter().map(one).collect()
}

/// The virtual hosts of the servers of one route configuration. Rules of several VirtualServices for one host are
/// put together, the oldest first, and those that match everything last.
fn virtual_hosts(view: &View<'_>, servers: &[&GatewayServer]) -> Vec<VirtualHost> {
    let mut hosts: BTreeMap<Arc<str>, VirtualHost> = BTreeMap::new();
    let mut merged: BTreeMap<Arc<str>, Vec<Arc<VirtualService>>> = BTreeMap::new();
    let port = servers.first().map_or(80, |s| s.port);
    for server in servers {
        let redirect =
            server.protocol == ServerProtocol::Http && server.tls().is_some_and(|t| t.https_redirect);
        let target = Target { view, listen: server.port, gateways: &[&server.gateway.id] };
        for vs in rules(view, server) {
            let common = server.hosts_of(vs);
            if common.is_empty() || vs.spec.http.is_empty() && !redirect {
                continue;
            }
            let routes = rule::routes(vs, &target);
            for name in common {
                let known = merged.entry(name.clone()).or_default();
                if known.iter().any(|k| Arc::ptr_eq(k, vs)) {
                    continue;
                }
                known.push(vs.clone());
                let host = hosts.entry(name.clone()).or_insert_with(|| {
                    host::host(&format!("{name}:{port}"), vec![name.to_string()], Vec::new())
                });
                host.routes.extend(routes.iter().cloned());
            }
        }
        if redirect {
            for name in server.hosts() {
                let name: Arc<str> = name.into();
                let host = hosts.entry(name.clone()).or_insert_with(|| {
                    host::host(&format!("{name}:{port}"), vec![name.to_string()], Vec::new())
                });
                host.require_tls = TlsRequirementType::All as i32;
            }
        }
    }
    if hosts.is_empty() {
        let black_hole = host::host(&format!("blackhole:{port}"), vec!["*".to_owned()], Vec::new());
        return vec![black_hole];
    }
    hosts.into_values().map(catch_alls_last).collect()
}

/// Whether any rule of these gateways asks for what a token says.
pub(crate) fn asks_for_claims(view: &View<'_>) -> bool {
    let gateways = view.mesh.gateways.of_workload(&view.key.labels);
    let rules = gateways.flat_map(|g| view.mesh.virtual_services.of_gateway(&g.id));
    let matches = rules.flat_map(|vs| &vs.spec.http).flat_map(|rule| &rule.r#match);
    matches
        .flat_map(|m| m.headers.keys().chain(m.without_headers.keys()))
        .any(|name| matching::is_claim(name))
}

/// The VirtualServices that name a server's Gateway and are visible to the gateway's namespace.
pub(crate) fn rules<'a>(
    view: &'a View<'_>,
    server: &GatewayServer,
) -> impl Iterator<Item = &'a Arc<VirtualService>> {
    let default = &view.mesh.settings.default_virtual_service_export;
    let named = view.mesh.virtual_services.of_gateway(&server.gateway.id);
    named.iter().filter(|vs| vs.visible_to(&view.key.namespace, default))
}

fn catch_alls_last(mut host: VirtualHost) -> VirtualHost {
    let is_last = |route: &Route| route.r#match.as_ref().is_some_and(matching::is_catch_all);
    host.routes.sort_by_key(is_last);
    if let Some(first) = host.routes.iter().position(is_last) {
        host.routes.truncate(first + 1);
    }
    host
}
