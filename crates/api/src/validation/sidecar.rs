//! Rules of Sidecar.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common::{
    ProtocolClass, optional_protocol, port, port_name, protocol, unix_address, workload_selector,
};
use super::{gateway, host, traffic_policy, virtual_service};
use crate::networking::gateway::{ServerTlsMode, ServerTlsSettings};
use crate::networking::sidecar::{
    CaptureMode, IstioEgressListener, IstioIngressListener, OutboundTrafficMode, OutboundTrafficPolicy,
    SidecarPort, SidecarSpec,
};
use crate::wire::report::Report;

const UNIX: &str = "unix://";

/// Reports every error of the spec.
pub fn validate(spec: &SidecarSpec, metadata: &ObjectMeta, report: &mut Report) {
    workload_selector(report, spec.workload_selector.as_ref());
    let nothing = spec.egress.is_empty() && spec.ingress.is_empty();
    if nothing && spec.outbound_traffic_policy.is_none() && spec.inbound_connection_pool.is_none() {
        report.error("empty configuration provided");
    }
    let mut ports = BTreeSet::new();
    report.each("ingress", &spec.ingress, |r, listener| {
        ingress(r, listener);
        unique_port(r, listener.port.as_ref(), &mut ports);
    });
    if let Some(pool) = &spec.inbound_connection_pool {
        report.field("inboundConnectionPool", |r| traffic_policy::connection_pool(r, pool));
    }
    let (mut ports, mut sockets) = (BTreeSet::new(), BTreeSet::new());
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    report.each("egress", &spec.egress, |r, listener| {
        egress(r, listener, namespace);
        match &listener.port {
            Some(port) if port.number == 0 => {
                if !sockets.insert(&listener.bind) {
                    r.error_at("bind", "unix domain socket values for listeners must be unique");
                }
            }
            port => unique_port(r, port.as_ref(), &mut ports),
        }
    });
    catch_all_is_last(spec, report);
    if let Some(policy) = &spec.outbound_traffic_policy {
        report.field("outboundTrafficPolicy", |r| outbound(r, policy));
    }
}

fn unique_port(report: &mut Report, port: Option<&SidecarPort>, seen: &mut BTreeSet<u32>) {
    if port.is_some_and(|port| !seen.insert(port.number)) {
        report.field("port", |r| r.error_at("number", "ports on IP bound listeners must be unique"));
    }
}

fn catch_all_is_last(spec: &SidecarSpec, report: &mut Report) {
    let last = spec.egress.len().saturating_sub(1);
    for (index, _) in spec.egress.iter().enumerate().filter(|(i, l)| l.port.is_none() && *i != last) {
        report.field("egress", |r| {
            r.index(index, |r| {
                r.error("the egress listener with empty port should be the last listener in the list")
            });
        });
    }
}

fn listener_port(report: &mut Report, to: &SidecarPort) {
    if !to.name.is_empty() {
        report.check_at("name", port_name(&to.name));
    }
    report.check_at("protocol", optional_protocol(&to.protocol));
    if to.target_port > 0 {
        report.error_at("targetPort", "targetPort has no impact on Sidecars");
    }
}

fn ingress(report: &mut Report, listener: &IstioIngressListener) {
    match &listener.port {
        None => report.error_at("port", "port is required for ingress listeners"),
        Some(to) => report.field("port", |r| {
            listener_port(r, to);
            r.check_at("number", port(to.number));
        }),
    }
    if !listener.bind.is_empty() {
        report.check_at("bind", host::ip(&listener.bind));
    }
    if !listener.default_endpoint.is_empty() {
        report.check_at("defaultEndpoint", default_endpoint(&listener.default_endpoint));
    }
    if let Some(tls) = &listener.tls {
        report.field("tls", |r| ingress_tls(r, tls));
    }
    let Some(pool) = &listener.connection_pool else { return };
    report.field("connectionPool", |r| {
        traffic_policy::connection_pool(r, pool);
        let http = listener.port.as_ref().is_none_or(|p| protocol(&p.protocol) == Some(ProtocolClass::Http));
        if pool.http.is_some() && !http {
            r.warn_at("http", "the port's protocol is not HTTP; only TCP settings will apply");
        }
    });
}

fn default_endpoint(endpoint: &str) -> Result<(), String> {
    if let Some(path) = endpoint.strip_prefix(UNIX) {
        return unix_address(path);
    }
    let split = endpoint.rsplit_once(':');
    let known = ["", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"];
    match split {
        Some((address, number)) if known.contains(&address) => match number.parse() {
            Ok(number) => port(number),
            Err(_) => Err(format!("defaultEndpoint port {number:?} is not a number")),
        },
        _ => Err(format!(
            "{endpoint:?} must be of form 127.0.0.1:<port>, 0.0.0.0:<port>, [::1]:<port>, [::]:<port> or unix:///path"
        )),
    }
}

fn ingress_tls(report: &mut Report, tls: &ServerTlsSettings) {
    if !tls.subject_alt_names.is_empty() {
        report.error_at("subjectAltNames", "subjectAltNames is not supported in ingress tls");
    }
    if tls.https_redirect {
        report.error_at("httpsRedirect", "httpsRedirect is not supported in ingress tls");
    }
    if !tls.credential_name.is_empty() {
        report.error_at("credentialName", "credentialName is not supported in ingress tls");
    }
    let mode = tls.mode.unwrap_or_default();
    if matches!(mode, ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough) {
        report.error_at("mode", format!("cannot set mode to {mode} in ingress tls"));
    }
    gateway::server_tls(report, tls);
}

fn egress(report: &mut Report, listener: &IstioEgressListener, namespace: &str) {
    if let Some(to) = &listener.port {
        report.field("port", |r| listener_port(r, to));
        if to.number == 0 {
            socket(report, listener);
        } else {
            report.field("port", |r| r.check_at("number", port(to.number)));
            if !listener.bind.is_empty() {
                report.check_at("bind", host::ip(&listener.bind));
            }
        }
    }
    if listener.hosts.is_empty() {
        report.error_at("hosts", "egress listener must contain at least one host");
    }
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, entry) in listener.hosts.iter().enumerate() {
        report.field("hosts", |r| {
            r.index(index, |r| {
                r.check(host::namespaced_host(entry, false));
                let Some((ns, name)) = entry.split_once('/') else { return };
                let ns = if ns == "." { namespace } else { ns };
                let covered = seen.contains(&(ns, "*")) || seen.contains(&(ns, name));
                if covered || (name == "*" && seen.iter().any(|(n, _)| *n == ns)) {
                    r.warn(format!("duplicated egress host: {entry}"));
                }
                seen.insert((ns, name));
            });
        });
    }
    if seen.contains(&("*", "*")) && seen.len() > 1 {
        report.warn_at("hosts", "`*/*` selects all hosts, no other hosts can be added");
    }
}

fn socket(report: &mut Report, listener: &IstioEgressListener) {
    match listener.bind.strip_prefix(UNIX) {
        Some(path) => report.check_at("bind", unix_address(path)),
        None => report.error_at("bind", "ports with 0 value must have a unix domain socket bind address"),
    }
    if listener.capture_mode == CaptureMode::Iptables {
        report.error_at("captureMode", "captureMode must be DEFAULT/NONE for unix domain socket listeners");
    }
}

fn outbound(report: &mut Report, policy: &OutboundTrafficPolicy) {
    let Some(proxy) = &policy.egress_proxy else { return };
    report.field("egressProxy", |r| {
        if policy.mode.unwrap_or_default() != OutboundTrafficMode::AllowAny {
            return r.error("egressProxy must be set only with mode ALLOW_ANY");
        }
        if proxy.port.is_none() {
            r.error_at("port", "port is required for egressProxy");
        }
        virtual_service::destination(r, proxy);
    });
}
