//! Rules of EnvoyFilter.

use super::common::workload_selector;
use super::{headers, selection};
use crate::networking::envoy_filter::{
    ApplyTo, EnvoyConfigObjectPatch, EnvoyFilterSpec, ListenerMatch, ObjectMatch, PatchOperation,
};
use crate::wire::report::Report;

/// Reports every error of the spec.
pub fn validate(spec: &EnvoyFilterSpec, report: &mut Report) {
    workload_selector(report, spec.workload_selector.as_ref());
    selection::target_refs(report, &spec.target_refs);
    if spec.workload_selector.is_some() && !spec.target_refs.is_empty() {
        report.error("only one of targetRefs or workloadSelector can be set");
    }
    report.each("configPatches", &spec.config_patches, patch);
}

fn patch(report: &mut Report, patch: &EnvoyConfigObjectPatch) {
    if patch.apply_to == ApplyTo::Invalid {
        report.error_at("applyTo", "applyTo is required");
    }
    match &patch.patch {
        None => report.error_at("patch", "patch is required"),
        Some(change) => report.field("patch", |r| {
            match change.operation {
                PatchOperation::Invalid => r.error_at("operation", "operation is required"),
                PatchOperation::Remove => {}
                _ if change.value.is_empty() => {
                    r.error_at("value", "value is required unless operation is REMOVE")
                }
                _ => {}
            }
            inserts(r, patch.apply_to, change.operation);
        }),
    }
    let Some(condition) = &patch.r#match else { return };
    report.field("match", |r| {
        if let Some(proxy) = &condition.proxy
            && !proxy.proxy_version.is_empty()
        {
            r.field("proxy", |r| r.check_at("proxyVersion", headers::regex(&proxy.proxy_version)));
        }
        object(r, patch.apply_to, condition.object_types.as_ref());
    });
}

/// Inserting and replacing is for filters and routes.
fn inserts(report: &mut Report, to: ApplyTo, operation: PatchOperation) {
    let places = matches!(
        operation,
        PatchOperation::InsertBefore | PatchOperation::InsertAfter | PatchOperation::InsertFirst
    );
    let ordered = matches!(
        to,
        ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::HttpRoute | ApplyTo::ListenerFilter
    );
    if places && !ordered {
        report.error_at("operation", format!("{operation} is not possible for {to}"));
    }
    if operation == PatchOperation::Replace && !(ordered && to != ApplyTo::HttpRoute) {
        report.error_at(
            "operation",
            format!("REPLACE is for NETWORK_FILTER, HTTP_FILTER and LISTENER_FILTER, not {to}"),
        );
    }
}

/// The condition must speak of the kind of thing that is changed.
fn object(report: &mut Report, to: ApplyTo, condition: Option<&ObjectMatch>) {
    let listeners = matches!(
        to,
        ApplyTo::Listener
            | ApplyTo::FilterChain
            | ApplyTo::NetworkFilter
            | ApplyTo::HttpFilter
            | ApplyTo::ListenerFilter
    );
    let routes = matches!(to, ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute);
    match condition {
        None | Some(ObjectMatch::Waypoint(_)) => {}
        Some(ObjectMatch::Listener(listener)) if listeners => filter(report, to, listener),
        Some(ObjectMatch::RouteConfiguration(_)) if routes => {}
        Some(ObjectMatch::Cluster(_)) if to == ApplyTo::Cluster => {}
        Some(ObjectMatch::Listener(_)) => {
            report.error_at("listener", format!("does not go with applyTo {to}"))
        }
        Some(ObjectMatch::RouteConfiguration(_)) => {
            report.error_at("routeConfiguration", format!("does not go with applyTo {to}"));
        }
        Some(ObjectMatch::Cluster(_)) => report.error_at("cluster", format!("does not go with applyTo {to}")),
    }
}

fn filter(report: &mut Report, to: ApplyTo, listener: &ListenerMatch) {
    let Some(filter) = listener.filter_chain.as_ref().and_then(|chain| chain.filter.as_ref()) else { return };
    let path = |r: &mut Report, message: String| {
        r.field("listener", |r| r.field("filterChain", |r| r.error_at("filter", message)));
    };
    if matches!(to, ApplyTo::Listener | ApplyTo::FilterChain) {
        path(report, format!("a filter match does not go with applyTo {to}"));
    } else if filter.name.is_empty() {
        path(report, "the filter's name is required".to_owned());
    } else if filter.sub_filter.is_some() && to != ApplyTo::HttpFilter {
        path(report, format!("subFilter does not go with applyTo {to}"));
    }
}
