//! Virtual hosts: names, domains, and the resources that they become.

use std::net::IpAddr;

use lateen_mesh::Service;
use lateen_xds::pb::envoy::config::route::v3::route::Action;
use lateen_xds::pb::envoy::config::route::v3::{DirectResponseAction, Route, VirtualHost};
use lateen_xds::{Encoded, TypeUrl};

use super::{action, matching};
use crate::names;

/// The domains by which a service is called. `same_namespace` says whether clients may use its bare name.
///
/// Source: Istio, `generateVirtualHostDomains`: the host, its shorter forms as Kubernetes' resolver would complete
/// them, and its addresses. Ports are not among them: route configurations ignore the port of `Host`.
pub(crate) fn domains(service: &Service, same_namespace: bool) -> Vec<String> {
    let host = &*service.id.host;
    let mut domains = vec![host.to_owned()];
    if let Some((name, namespace, svc)) = kubernetes_parts(host) {
        if same_namespace {
            domains.push(name.to_owned());
        }
        domains.push(format!("{name}.{namespace}.{svc}"));
        domains.push(format!("{name}.{namespace}"));
    }
    for address in service.addresses.iter().filter(|a| a.is_single()) {
        domains.push(match address.ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        });
    }
    domains
}

/// Name, namespace and `svc` of a host `name.namespace.svc.domain`.
fn kubernetes_parts(host: &str) -> Option<(&str, &str, &str)> {
    let mut parts = host.splitn(4, '.');
    let (name, namespace, svc, domain) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (svc == "svc" && !domain.is_empty()).then_some((name, namespace, svc))
}

/// A virtual host with its routes.
pub(crate) fn host(name: &str, domains: Vec<String>, routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: name.to_owned(),
        domains,
        routes,
        include_request_attempt_count: true,
        ..VirtualHost::default()
    }
}

/// What happens to requests for hosts that the mesh does not know.
pub(crate) fn unknown(allow_any: bool) -> VirtualHost {
    let name = unknown_name(allow_any);
    let action = if allow_any {
        Action::Route(action::plain(names::PASSTHROUGH.to_owned()))
    } else {
        Action::DirectResponse(DirectResponseAction { status: 502, ..Default::default() })
    };
    let route = Route {
        name: name.to_owned(),
        r#match: Some(matching::route(None)),
        action: Some(action),
        ..Route::default()
    };
    host(name, vec!["*".to_owned()], vec![route])
}

/// The name of the virtual host of unknown hosts.
pub(crate) fn unknown_name(allow_any: bool) -> &'static str {
    if allow_any { "allow_any" } else { "block_all" }
}

/// A virtual host as a resource: named under its route configuration.
pub(crate) fn encode(route_config: &str, host: &VirtualHost) -> Encoded {
    Encoded::new(TypeUrl::VirtualHost, format!("{route_config}/{}", host.name), host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_hosts_have_the_forms_that_a_resolver_completes() {
        assert_eq!(
            kubernetes_parts("reviews.default.svc.cluster.local"),
            Some(("reviews", "default", "svc"))
        );
        assert_eq!(kubernetes_parts("www.example.com"), None);
        assert_eq!(kubernetes_parts("a.b.example.com"), None);
    }
}
