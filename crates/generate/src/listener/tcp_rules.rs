//! TCP and TLS rules of VirtualServices -> filter chains.

use lateen_api::networking::virtual_service::{L4MatchAttributes, TlsMatchAttributes};
use lateen_mesh::{Address, VirtualService, labels};
use lateen_xds::pb::envoy::config::core::v3::CidrRange;
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch};

use super::tcp;
use crate::proto::cidr;
use crate::route::rule::Target;

/// The chains of the TLS rules that apply, in order, each for the server names that it matches.
pub(crate) fn tls(vs: &VirtualService, target: &Target<'_>) -> Vec<FilterChain> {
    let mut chains = Vec::new();
    for rule in &vs.spec.tls {
        for wanted in rule.r#match.iter().filter(|m| tls_applies(m, target)) {
            let matched = FilterChainMatch {
                server_names: server_names(&wanted.sni_hosts),
                prefix_ranges: ranges(&wanted.destination_subnets),
                ..FilterChainMatch::default()
            };
            let settings = &target.view.mesh.settings;
            chains.push(FilterChain {
                filter_chain_match: Some(matched),
                filters: tcp::to_destinations(&rule.route, target, settings, target.view.key.flavour),
                ..FilterChain::default()
            });
        }
    }
    chains
}

/// The chains of the TCP rules that apply, up to the first that matches every connection.
pub(crate) fn plain(vs: &VirtualService, target: &Target<'_>) -> Vec<FilterChain> {
    let settings = &target.view.mesh.settings;
    let mut chains = Vec::new();
    for rule in &vs.spec.tcp {
        let chain = |prefix_ranges: Vec<CidrRange>, sources: Vec<CidrRange>| FilterChain {
            filter_chain_match: (!prefix_ranges.is_empty() || !sources.is_empty()).then(|| {
                FilterChainMatch {
                    prefix_ranges,
                    source_prefix_ranges: sources,
                    ..FilterChainMatch::default()
                }
            }),
            filters: tcp::to_destinations(&rule.route, target, settings, target.view.key.flavour),
            ..FilterChain::default()
        };
        if rule.r#match.is_empty() {
            chains.push(chain(Vec::new(), Vec::new()));
            return chains;
        }
        for wanted in rule.r#match.iter().filter(|m| tcp_applies(m, target)) {
            let source = Some(wanted.source_subnet.clone()).filter(|s| !s.is_empty());
            let chain = chain(ranges(&wanted.destination_subnets), ranges(&Vec::from_iter(source)));
            let last = chain.filter_chain_match.is_none();
            chains.push(chain);
            if last {
                return chains;
            }
        }
    }
    chains
}

/// Whether the TCP rules that are for this port are all for other workloads than this one. Such rules say who may
/// connect: who is not among them gets no connection. (Istio's documentation is silent; istiod falls back to the
/// service, which would make a list of sources mean nothing.)
pub(crate) fn only_for_others(vs: &VirtualService, target: &Target<'_>) -> bool {
    let all = || vs.spec.tcp.iter().flat_map(|rule| &rule.r#match);
    let here = |m: &L4MatchAttributes| applies(m.port, &m.gateways, "", target);
    let any_here = all().any(|m| here(m) && m.destination_subnets.is_empty());
    let takes_all = vs.spec.tcp.iter().any(|rule| rule.r#match.is_empty());
    any_here && !takes_all && !all().any(|m| tcp_applies(m, target))
}

/// Server names as Envoy takes them: `*` alone is the same as none at all.
pub(crate) fn server_names(hosts: &[String]) -> Vec<String> {
    if hosts.iter().any(|host| host == "*") {
        return Vec::new();
    }
    hosts.to_vec()
}

fn ranges(subnets: &[String]) -> Vec<CidrRange> {
    subnets.iter().filter_map(|s| Address::parse(s)).map(|a| cidr(&a.ip.to_string(), a.prefix)).collect()
}

fn tls_applies(wanted: &TlsMatchAttributes, target: &Target<'_>) -> bool {
    applies(wanted.port, &wanted.gateways, &wanted.source_namespace, target)
        && labels::selects(&wanted.source_labels, &target.view.key.labels)
}

fn tcp_applies(wanted: &L4MatchAttributes, target: &Target<'_>) -> bool {
    applies(wanted.port, &wanted.gateways, &wanted.source_namespace, target)
        && labels::selects(&wanted.source_labels, &target.view.key.labels)
}

fn applies(port: u32, gateways: &[String], namespace: &str, target: &Target<'_>) -> bool {
    (port == 0 || port == u32::from(target.listen))
        && (gateways.is_empty() || gateways.iter().any(|g| target.gateways.contains(&g.as_str())))
        && (namespace.is_empty() || namespace == &*target.view.key.namespace)
}
