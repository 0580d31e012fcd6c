//! Rules of ServiceEntry.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common::{
    Export, ProtocolClass, export_to, optional_protocol, port, port_name, protocol, workload_selector,
};
use super::{host, workload_entry};
use crate::networking::service_entry::{ServiceEntryResolution as Resolution, ServiceEntrySpec};
use crate::wire::report::Report;

/// Reports every error of the spec.
pub fn validate(spec: &ServiceEntrySpec, metadata: &ObjectMeta, report: &mut Report) {
    workload_selector(report, spec.workload_selector.as_ref());
    if spec.workload_selector.is_some() && !spec.endpoints.is_empty() {
        report.error("only one of workloadSelector or endpoints is allowed in a service entry");
    }
    hosts(spec, report);
    addresses(spec, report);
    ports(spec, report);
    match spec.resolution.unwrap_or_default() {
        Resolution::None => {
            if !spec.endpoints.is_empty() {
                report.error_at("endpoints", "no endpoints should be provided for resolution type NONE");
            }
            if spec.workload_selector.is_some() {
                report.warn_at("workloadSelector", "should not be set when resolution is NONE");
            }
        }
        Resolution::Static => endpoints(spec, report, false),
        resolution @ (Resolution::Dns | Resolution::DnsRoundRobin) => dns(spec, resolution, report),
        Resolution::DynamicDns => dynamic_dns(spec, report),
    }
    several_hosts(spec, report);
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    export_to(report, namespace, &spec.export_to, Export::ServiceEntry);
}

fn hosts(spec: &ServiceEntrySpec, report: &mut Report) {
    if spec.hosts.is_empty() {
        report.error_at("hosts", "service entry must have at least one host");
    }
    report.each("hosts", &spec.hosts, |r, name| {
        if name == "*" {
            return r.error("invalid host *: a service entry cannot stand for every host");
        }
        r.check(host::wildcard_domain(name));
        if name.starts_with('*') && !name.starts_with("*.") {
            r.warn(format!(
                "partial wildcard {name:?} may not work as meant; use a whole label, as in *.example.com"
            ));
        }
    });
}

fn addresses(spec: &ServiceEntrySpec, report: &mut Report) {
    let ranges_allowed = matches!(spec.resolution.unwrap_or_default(), Resolution::None | Resolution::Static);
    report.each("addresses", &spec.addresses, |r, address| {
        r.check(host::subnet(address));
        if address.contains('/') && !ranges_allowed {
            r.error("CIDR addresses are allowed only for NONE/STATIC resolution types");
        }
    });
}

fn ports(spec: &ServiceEntrySpec, report: &mut Report) {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    report.each("ports", &spec.ports, |r, to| {
        if !names.insert(&to.name) {
            r.error_at("name", format!("service entry port name {:?} already defined", to.name));
        }
        if !numbers.insert(to.number) {
            r.error_at("number", format!("service entry port {} already defined", to.number));
        }
        if to.target_port != 0 {
            r.check_at("targetPort", port(to.target_port));
            if spec.resolution.unwrap_or_default() == Resolution::None {
                r.warn_at("targetPort", "has no effect when resolution is NONE");
            }
        }
        r.check_at("name", port_name(&to.name));
        r.check_at("protocol", optional_protocol(&to.protocol));
        r.check_at("number", port(to.number));
    });
}

fn endpoints(spec: &ServiceEntrySpec, report: &mut Report, names: bool) {
    let ports: BTreeSet<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
    report.each("endpoints", &spec.endpoints, |r, endpoint| {
        workload_entry::endpoint(r, endpoint, Some(&ports), names);
    });
}

fn dns(spec: &ServiceEntrySpec, resolution: Resolution, report: &mut Report) {
    if spec.endpoints.is_empty() {
        report.each("hosts", &spec.hosts, |r, name| {
            if host::wildcard_domain(name).is_ok() && host::fqdn(name).is_err() {
                r.error_with(
                    format!(
                        "hosts must be FQDN if no endpoints are provided for resolution mode {resolution}"
                    ),
                    "name endpoints, or use resolution NONE",
                );
            }
        });
    }
    if resolution == Resolution::DnsRoundRobin && spec.endpoints.len() > 1 {
        report.error_at(
            "endpoints",
            format!("there must only be 0 or 1 endpoint for resolution mode {resolution}"),
        );
    }
    report.each("endpoints", &spec.endpoints, |r, endpoint| {
        if endpoint.address.starts_with("unix://") {
            r.error_at("address", format!("unix endpoints are not supported with resolution {resolution}"));
        }
    });
    endpoints(spec, report, true);
    if spec.workload_selector.is_some() {
        report.warn_at("workloadSelector", format!("should not be set when resolution is {resolution}"));
    }
}

fn dynamic_dns(spec: &ServiceEntrySpec, report: &mut Report) {
    if !spec.endpoints.is_empty() {
        report.error_at("endpoints", "no endpoints should be provided for resolution type DYNAMIC_DNS");
    }
    if spec.workload_selector.is_some() {
        report.error_at("workloadSelector", "cannot be set when resolution is DYNAMIC_DNS");
    }
}

/// Plain TCP has nothing that tells one host from another.
fn several_hosts(spec: &ServiceEntrySpec, report: &mut Report) {
    if spec.resolution.unwrap_or_default() == Resolution::None || spec.hosts.len() < 2 {
        return;
    }
    let opaque = |name: &str| !matches!(protocol(name), Some(ProtocolClass::Http | ProtocolClass::Tls));
    if spec.ports.iter().any(|port| opaque(&port.protocol)) {
        report.error_at("hosts", "multiple hosts provided with non-HTTP, non-TLS ports");
    }
}
