//! References of VirtualServices and DestinationRules to what does not exist.

use lateen_api::networking::virtual_service::{Destination, RouteDestination};
use lateen_mesh::{Kind, Labels, MESH_GATEWAY, Mesh, VirtualService, hostname};

use crate::finding::{Code, Finding, Severity, key};

pub(crate) fn check(mesh: &Mesh, findings: &mut Vec<Finding>) {
    for vs in &mesh.virtual_services.declared {
        gateways(mesh, vs, findings);
        for (field, destination) in destinations(vs) {
            self::destination(mesh, vs, &field, destination, findings);
        }
    }
    for rule in mesh.destination_rules.all() {
        let known = hostname::is_wildcard(&rule.host) || mesh.services.of_host(&rule.host).next().is_some();
        if !known {
            findings.push(Finding::new(
                Code::ReferencedResourceNotFound,
                Severity::Warning,
                key(Kind::DestinationRule, &rule.meta),
                "spec.host".to_owned(),
                format!("there is no service {:?}, so that the rule applies to nothing", rule.host),
                mend_host(&rule.host),
            ));
        }
    }
}

fn mend_host(host: &str) -> String {
    format!(
        "create the Service (or a ServiceEntry with the host {host:?}), or correct the name and namespace"
    )
}

fn gateways(mesh: &Mesh, vs: &VirtualService, findings: &mut Vec<Finding>) {
    for (at, gateway) in vs.spec.gateways.iter().enumerate() {
        if gateway == MESH_GATEWAY || mesh.gateways.get(gateway).is_some() {
            continue;
        }
        findings.push(Finding::new(
            Code::ReferencedResourceNotFound,
            Severity::Error,
            key(Kind::VirtualService, &vs.meta),
            format!("spec.gateways[{at}]"),
            format!("there is no Gateway {gateway:?}, so that its rules are served nowhere"),
            "create the Gateway, or name it as NAMESPACE/NAME where it is in another namespace",
        ));
    }
}

/// Every destination with the path of its field.
fn destinations(vs: &VirtualService) -> Vec<(String, &Destination)> {
    let mut found = Vec::new();
    for (at, rule) in vs.spec.http.iter().enumerate() {
        let path = format!("spec.http[{at}]");
        for (n, route) in rule.route.iter().enumerate() {
            found.extend(route.destination.as_ref().map(|d| (format!("{path}.route[{n}].destination"), d)));
        }
        found.extend(rule.mirror.as_ref().map(|d| (format!("{path}.mirror"), d)));
        for (n, mirror) in rule.mirrors.iter().enumerate() {
            found
                .extend(mirror.destination.as_ref().map(|d| (format!("{path}.mirrors[{n}].destination"), d)));
        }
    }
    for (at, rule) in vs.spec.tls.iter().enumerate() {
        found.extend(of_routes(&format!("spec.tls[{at}]"), &rule.route));
    }
    for (at, rule) in vs.spec.tcp.iter().enumerate() {
        found.extend(of_routes(&format!("spec.tcp[{at}]"), &rule.route));
    }
    found
}

fn of_routes<'a>(
    path: &str,
    routes: &'a [RouteDestination],
) -> impl Iterator<Item = (String, &'a Destination)> {
    let with_index = routes.iter().enumerate();
    with_index
        .filter_map(move |(n, r)| Some((format!("{path}.route[{n}].destination"), r.destination.as_ref()?)))
}

fn destination(
    mesh: &Mesh,
    vs: &VirtualService,
    field: &str,
    destination: &Destination,
    findings: &mut Vec<Finding>,
) {
    let mut report = |field: String, message: String, mend: String| {
        findings.push(Finding::new(
            Code::ReferencedResourceNotFound,
            Severity::Error,
            key(Kind::VirtualService, &vs.meta),
            field,
            message,
            mend,
        ));
    };
    let host = &destination.host;
    let Some(service) = mesh.service_for(host, &vs.meta.namespace) else {
        let message = format!("there is no service {host:?}: requests that the rule sends there get 503");
        return report(format!("{field}.host"), message, mend_host(host));
    };
    let wanted = destination.port.as_ref().map_or(0, |p| p.number);
    if wanted != 0 && !service.ports.iter().any(|p| u32::from(p.number) == wanted) {
        let ports: Vec<String> = service.ports.iter().map(|p| p.number.to_string()).collect();
        let message = format!("the service {host:?} has no port {wanted}: requests get 503");
        report(format!("{field}.port.number"), message, format!("its ports are {}", ports.join(", ")));
    }
    if destination.subset.is_empty() {
        return;
    }
    let subset = &destination.subset;
    let rule = mesh.destination_rules.lookup(&vs.meta.namespace, &Labels::new(), &service.id);
    let known: Vec<&str> =
        rule.iter().flat_map(|r| &r.spec.subsets).map(|subset| subset.name.as_str()).collect();
    if known.contains(&subset.as_str()) {
        return;
    }
    let message = format!("the service {host:?} has no subset {subset:?}: requests get 503");
    let mend = match known.as_slice() {
        [] => format!("create a DestinationRule for {host:?} with the subset {subset:?}"),
        known => format!("its subsets are {}", known.join(", ")),
    };
    report(format!("{field}.subset"), message, mend);
}
