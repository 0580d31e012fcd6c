//! Rules of VirtualService.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common::{Export, export_to, labels, port, subset_name};
use super::{headers, host, unreachable, virtual_service_http};
use crate::networking::virtual_service::{
    Destination, L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute,
    VirtualServiceSpec,
};
use crate::wire::report::Report;

/// The name that stands for all sidecars among gateways.
const MESH: &str = "mesh";

/// Reports every error of the spec.
pub fn validate(spec: &VirtualServiceSpec, metadata: &ObjectMeta, report: &mut Report) {
    let delegate = spec.hosts.is_empty();
    if delegate {
        delegate_has_only_http(spec, report);
    }
    host::gateway_names(report, &spec.gateways);
    if !bound_to_gateways_only(spec) {
        claims_need_a_gateway(spec, report);
    }
    hosts(spec, report);
    if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
        report.error("http, tcp or tls must be provided in virtual service");
    }
    report.each("http", &spec.http, |r, route| virtual_service_http::validate(route, delegate, r));
    report.each("tls", &spec.tls, |r, route| tls_route(r, route, spec));
    report.each("tcp", &spec.tcp, tcp_route);
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    export_to(report, namespace, &spec.export_to, Export::Plain);
    unreachable::warn(spec, report);
}

/// Whether no sidecar applies the routes.
fn bound_to_gateways_only(spec: &VirtualServiceSpec) -> bool {
    !spec.gateways.is_empty() && !spec.gateways.iter().any(|gateway| gateway == MESH)
}

fn delegate_has_only_http(spec: &VirtualServiceSpec, report: &mut Report) {
    let parts =
        [("gateways", spec.gateways.is_empty()), ("tls", spec.tls.is_empty()), ("tcp", spec.tcp.is_empty())];
    for (field, empty) in parts {
        if !empty {
            report.error_at(
                field,
                format!("a delegate virtual service (one without hosts) must have no {field}"),
            );
        }
    }
}

fn claims_need_a_gateway(spec: &VirtualServiceSpec, report: &mut Report) {
    report.each("http", &spec.http, |r, route| {
        r.each("match", &route.r#match, |r, condition| {
            for (field, map) in
                [("headers", &condition.headers), ("withoutHeaders", &condition.without_headers)]
            {
                for name in map.keys().filter(|name| headers::is_claim(name)) {
                    r.field(field, |r| {
                        r.error(format!("routing by JWT claim ({name}) is only supported for gateways"))
                    });
                }
            }
        });
    });
}

fn hosts(spec: &VirtualServiceSpec, report: &mut Report) {
    let gateways_only = bound_to_gateways_only(spec);
    let has_sni = spec.tls.iter().flat_map(|route| &route.r#match).any(|m| !m.sni_hosts.is_empty());
    let before = report.errors.len();
    report.each("hosts", &spec.hosts, |r, name| {
        let result = if gateways_only {
            host::gateway_bound_domain(has_sni, name)
        } else {
            host::wildcard_domain(name)
        };
        if host::is_ip(name) {
            return;
        }
        r.check(result);
        if name == "*" && !gateways_only {
            r.error_with(
                "wildcard host * is not allowed for virtual services bound to the mesh gateway",
                "name the hosts, or name a gateway under gateways",
            );
        }
    });
    if report.errors.len() > before {
        return;
    }
    report.field("hosts", |r| {
        for (index, name) in spec.hosts.iter().enumerate() {
            let earlier = spec.hosts[..index].iter().find(|e| host::covers(e, name) || host::covers(name, e));
            if let Some(earlier) = earlier {
                r.index(index, |r| {
                    r.error(format!("duplicate hosts in virtual service: {earlier} & {name}"))
                });
            }
        }
    });
}

fn tls_route(report: &mut Report, route: &TlsRoute, spec: &VirtualServiceSpec) {
    if route.r#match.is_empty() {
        report.error("TLS route must have at least one match condition");
    }
    report.each("match", &route.r#match, |r, condition| tls_match(r, condition, spec));
    if route.route.is_empty() {
        report.error("TLS route is required");
    }
    destinations(report, &route.route);
}

fn tls_match(report: &mut Report, condition: &TlsMatchAttributes, spec: &VirtualServiceSpec) {
    if condition.sni_hosts.is_empty() {
        report.error_at("sniHosts", "TLS match must have at least one SNI host");
    }
    report.each("sniHosts", &condition.sni_hosts, |r, name| sni_host(r, name, spec));
    report.each("destinationSubnets", &condition.destination_subnets, |r, subnet| {
        r.check(host::subnet(subnet))
    });
    match_port(report, condition.port);
    labels(report, "sourceLabels", &condition.source_labels);
    host::gateway_names(report, &condition.gateways);
}

fn sni_host(report: &mut Report, name: &str, spec: &VirtualServiceSpec) {
    if host::is_ip(name) {
        return report
            .warn(format!("{name:?} is an address; server names must not be, and most clients send none"));
    }
    let result = if bound_to_gateways_only(spec) {
        host::gateway_bound_domain(true, name)
    } else {
        host::wildcard_domain(name)
    };
    if result.is_ok() && !spec.hosts.iter().any(|pattern| host::covers(pattern, name)) {
        let hosts = spec.hosts.join(", ");
        return report.error(format!(
            "SNI host {name:?} is not a compatible subset of any of the virtual service hosts: [{hosts}]"
        ));
    }
    report.check(result);
}

fn tcp_route(report: &mut Report, route: &TcpRoute) {
    report.each("match", &route.r#match, tcp_match);
    if route.route.is_empty() {
        report.error("TCP route is required");
    }
    destinations(report, &route.route);
}

fn tcp_match(report: &mut Report, condition: &L4MatchAttributes) {
    report.each("destinationSubnets", &condition.destination_subnets, |r, subnet| {
        r.check(host::subnet(subnet))
    });
    if !condition.source_subnet.is_empty() {
        report.check_at("sourceSubnet", host::subnet(&condition.source_subnet));
    }
    match_port(report, condition.port);
    labels(report, "sourceLabels", &condition.source_labels);
    host::gateway_names(report, &condition.gateways);
}

/// The port of a condition; 0 means any.
pub(super) fn match_port(report: &mut Report, number: u32) {
    if number != 0 {
        report.check_at("port", port(number));
    }
}

fn destinations(report: &mut Report, routes: &[RouteDestination]) {
    report.each("route", routes, |r, route| {
        required_destination(r, route.destination.as_ref());
        weight(r, route.weight);
    });
    total_weight(report, routes.iter().map(|route| route.weight));
}

/// The weight of a destination: not negative.
pub(super) fn weight(report: &mut Report, weight: i32) {
    if weight < 0 {
        report.error_at("weight", format!("weight {weight} must not be negative"));
    }
}

/// The weights of several destinations: they must not all be 0, nor overflow when they are added.
pub(super) fn total_weight(report: &mut Report, weights: impl ExactSizeIterator<Item = i32>) {
    let several = weights.len() > 1;
    let total: i64 = weights.map(|weight| i64::from(weight.max(0))).sum();
    if several && total == 0 {
        report.error_at("route", "total destination weight = 0");
    } else if total > i64::from(u32::MAX) {
        report.error_at("route", format!("total destination weight {total} is above {}", u32::MAX));
    }
}

/// Field `destination` of a route, which must be there.
pub(super) fn required_destination(report: &mut Report, to: Option<&Destination>) {
    match to {
        Some(to) => report.field("destination", |r| destination(r, to)),
        None => report.error_at("destination", "destination is required"),
    }
}

/// A destination: a host that is no bare wildcard, a subset's name, a port.
pub fn destination(report: &mut Report, to: &Destination) {
    match to.host.as_str() {
        "*" => report.error_at("host", "invalid destination host *"),
        host => report.check_at("host", host::wildcard_domain(host)),
    }
    if !to.subset.is_empty() {
        report.check_at("subset", subset_name(&to.subset));
    }
    if let Some(selector) = &to.port {
        report.field("port", |r| r.check_at("number", port(selector.number)));
    }
}
