//! Rules of WorkloadEntry, and of the endpoints of ServiceEntry.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common::{labels, port, port_name, unix_address};
use super::host;
use crate::networking::workload_entry::WorkloadEntrySpec;
use crate::wire::report::Report;

/// Reports every error of the spec.
pub fn validate(spec: &WorkloadEntrySpec, _metadata: &ObjectMeta, report: &mut Report) {
    endpoint(report, spec, None, true);
}

/// Reports every error of an endpoint. `service_ports`: the names that its ports may have; `names`: its address may
/// be a host name, to be resolved.
pub fn endpoint(
    report: &mut Report,
    spec: &WorkloadEntrySpec,
    service_ports: Option<&BTreeSet<&str>>,
    names: bool,
) {
    let address = spec.address.as_str();
    if let Some(path) = address.strip_prefix("unix://") {
        report.check_at("address", unix_address(path));
        if !spec.ports.is_empty() {
            report.error_at("ports", format!("unix endpoint {address} must not include ports"));
        }
        if service_ports.is_some_and(|ports| ports.len() != 1) {
            report.error_at("address", "exactly 1 service port required for unix endpoints");
        }
    } else if address.is_empty() {
        match spec.network.as_str() {
            "" => report.error_at("address", "address is required"),
            network => report.warn_at("address", format!("address is unset with network {network:?}")),
        }
    } else if !host::is_ip(address) {
        if !names {
            report.error_at("address", format!("endpoint address {address:?} is not a valid IP address"));
        } else if host::fqdn(address).is_err() {
            report.error_at(
                "address",
                format!("endpoint address {address:?} is neither a host name nor an address"),
            );
        }
    }
    report.field("ports", |r| {
        for (name, number) in &spec.ports {
            r.key(name, |r| {
                if service_ports.is_some_and(|ports| !ports.contains(name.as_str())) {
                    r.error(format!("endpoint port {name:?} is not defined by the service entry"));
                }
                r.check(port_name(name));
                r.check(port(*number));
            });
        }
    });
    labels(report, "labels", &spec.labels);
}
