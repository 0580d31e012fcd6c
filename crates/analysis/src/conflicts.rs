//! Resources that stand in each other's way, and rules that no request can reach.

use std::collections::HashMap;
use std::sync::Arc;

use lateen_mesh::{Kind, Mesh, VirtualService};

use crate::finding::{Code, Finding, Severity, key};

pub(crate) fn check(mesh: &Mesh, findings: &mut Vec<Finding>) {
    hosts(mesh, findings);
    for vs in &mesh.virtual_services.declared {
        unreachable(vs, findings);
    }
    for (namespace, sidecars) in mesh.sidecars.without_selector() {
        let [first, others @ ..] = sidecars.as_slice() else { continue };
        for sidecar in others {
            findings.push(Finding::new(
                Code::MultipleSidecarsWithoutWorkloadSelectors,
                Severity::Error,
                key(Kind::Sidecar, &sidecar.meta),
                "spec.workloadSelector".to_owned(),
                format!(
                    "the namespace {namespace} has the Sidecar {:?} for all workloads already",
                    first.meta.name
                ),
                "give this one a workloadSelector, or make one of the two",
            ));
        }
    }
}

/// Two VirtualServices for one host at sidecars: only the older one's rules count.
fn hosts(mesh: &Mesh, findings: &mut Vec<Finding>) {
    let default = &mesh.settings.default_virtual_service_export;
    let mut by_host: HashMap<&str, Vec<&Arc<VirtualService>>> = HashMap::new();
    for vs in mesh.virtual_services.mesh.iter().filter(|vs| !vs.spec.http.is_empty()) {
        for (at, host) in vs.hosts.iter().enumerate() {
            let known = by_host.entry(host).or_default();
            let seen_together = |older: &&&Arc<VirtualService>| {
                older.visible_to(&vs.meta.namespace, default) || vs.visible_to(&older.meta.namespace, default)
            };
            if let Some(older) = known.iter().find(seen_together) {
                findings.push(Finding::new(
                    Code::ConflictingMeshGatewayVirtualServiceHosts,
                    Severity::Error,
                    key(Kind::VirtualService, &vs.meta),
                    format!("spec.hosts[{at}]"),
                    format!(
                        "the older VirtualService {}/{} has rules for {host:?} already, and only those count",
                        older.meta.namespace, older.meta.name
                    ),
                    "put the rules into one VirtualService, or delegate from one to the other",
                ));
            }
            known.push(vs);
        }
    }
}

fn unreachable(vs: &VirtualService, findings: &mut Vec<Finding>) {
    let rules = &vs.spec.http;
    let Some(last) = rules.iter().position(|rule| rule.r#match.is_empty()) else { return };
    for at in last + 1..rules.len() {
        findings.push(Finding::new(
            Code::VirtualServiceUnreachableRule,
            Severity::Warning,
            key(Kind::VirtualService, &vs.meta),
            format!("spec.http[{at}]"),
            format!(
                "no request reaches this rule: spec.http[{last}] before it has no match and takes them all"
            ),
            "put the rule without match last",
        ));
    }
}
