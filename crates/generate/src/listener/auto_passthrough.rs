//! AUTO_PASSTHROUGH: connections of the mesh pass through to the service that their server name tells, still encrypted.
//!
//! Source: Istio, Gateway `tls.mode: AUTO_PASSTHROUGH`; the server name is `outbound_.PORT_.SUBSET_.HOST`.

use std::sync::Arc;

use lateen_mesh::{Protocol, Service, hostname};
use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch};
use lateen_xds::{Encoded, TypeUrl};
use prost::Message;

use super::tcp;
use crate::gateway::GatewayServer;
use crate::proto::{ads, duration};
use crate::tls::{HTTP_ALPNS, TCP_ALPNS};
use crate::view::View;
use crate::{cluster, names, ordered};

/// A port of a service, or of one of its subsets.
struct Destination<'a> {
    service: &'a Service,
    port: u16,
    subset: &'a str,
}

/// Everything that a server lets through: the mesh's own services, by the server's hosts.
fn destinations<'a>(view: &'a View<'_>, server: &'a GatewayServer) -> impl Iterator<Item = Destination<'a>> {
    let served = |service: &&Arc<Service>| {
        let host = &service.id.host;
        let offered = |entry: &String| {
            let (namespace, pattern) = entry.split_once('/').unwrap_or(("*", entry));
            let namespace = if namespace == "." { &*server.gateway.meta.namespace } else { namespace };
            (namespace == "*" || namespace == &*service.id.namespace) && hostname::overlap(pattern, host)
        };
        !service.external
            && service.external_name.is_none()
            && crate::endpoints::are_served(service, view.key.kind)
            && server.server().hosts.iter().any(offered)
    };
    view.scope.services.values().filter(served).flat_map(|service| {
        let rule = view.rule(service);
        let ports = service.ports.iter().filter(|port| port.protocol != Protocol::Udp);
        ports.flat_map(move |port| {
            let subsets = rule.into_iter().flat_map(|r| &r.spec.subsets).map(|s| s.name.as_str());
            let names = std::iter::once("").chain(subsets);
            names.map(move |subset| Destination { service, port: port.number, subset })
        })
    })
}

/// One chain for each destination: only connections that announce the mesh's protocols are let through.
pub(super) fn chains(view: &View<'_>, server: &GatewayServer) -> Vec<FilterChain> {
    let one = |to: Destination<'_>| {
        let name = names::server_name(to.port, to.subset, &to.service.id.host);
        FilterChain {
            filters: tcp::to_cluster(&name, &view.mesh.settings, view.key.flavour),
            filter_chain_match: Some(FilterChainMatch {
                server_names: vec![name],
                application_protocols: TCP_ALPNS.iter().chain(&HTTP_ALPNS).map(|a| (*a).to_owned()).collect(),
                ..FilterChainMatch::default()
            }),
            ..FilterChain::default()
        }
    };
    destinations(view, server).map(one).collect()
}

/// The clusters of those chains. Their endpoints have names of their own, as Istio's: Envoy is not sent again what another
/// of its clusters has already.
pub(crate) fn clusters(view: &View<'_>, server: &GatewayServer) -> Vec<Encoded> {
    let one = |to: Destination<'_>| {
        let host = &to.service.id.host;
        let name = names::server_name(to.port, to.subset, host);
        let cluster = Cluster {
            name: name.clone(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
            connect_timeout: Some(duration(view.mesh.settings.connect_timeout)),
            eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads()), service_name: name }),
            ..Cluster::default()
        };
        cluster::finish(&cluster, None)
    };
    destinations(view, server).map(one).collect()
}

/// The endpoints of those clusters: what the services' own clusters have, by the names that are `wanted`.
pub(crate) fn load_assignments(own: &[Arc<Encoded>], wanted: impl Fn(&str) -> bool) -> Vec<Arc<Encoded>> {
    let renamed = |assignment: &Arc<Encoded>| {
        let mut parts = assignment.name.splitn(4, '|').skip(1);
        let (port, subset, host) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        let name = names::server_name(port, subset, host);
        if !wanted(&name) {
            return None;
        }
        let mut message = ordered::ClusterLoadAssignment::decode(assignment.body.clone()).ok()?;
        message.cluster_name.clone_from(&name);
        Some(Arc::new(Encoded::from_body(TypeUrl::Endpoints, name.as_str(), message.encode_to_vec().into())))
    };
    own.iter().filter_map(renamed).collect()
}
