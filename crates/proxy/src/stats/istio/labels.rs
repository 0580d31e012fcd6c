//! Istio's labels.

use std::fmt::Write as _;

use crate::request_info::{LogContext, PeerMetadata};
use crate::stats::prometheus::escape;

/// Which side reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reporter {
    Source,
    Destination,
}

const UNKNOWN: &str = "unknown";

/// Puts the labels of a request or connection together: `reporter="source",...`.
pub(super) fn render(
    context: &LogContext<'_>,
    reporter: Reporter,
    own: &PeerMetadata,
    response: Option<(u16, Option<u32>)>,
) -> String {
    let nobody = PeerMetadata::default();
    let info = context.info;
    let (source, destination) = match reporter {
        Reporter::Source => (own, info.upstream_peer.as_deref().unwrap_or(&nobody)),
        Reporter::Destination => (info.downstream_peer.as_deref().unwrap_or(&nobody), own),
    };
    let mut labels = String::with_capacity(1024);
    let mut push = |name: &str, value: &str| {
        if !labels.is_empty() {
            labels.push(',');
        }
        let _ = write!(labels, "{name}=\"");
        escape(value, &mut labels);
        labels.push('"');
    };
    let or_unknown = |value: &Option<std::sync::Arc<str>>| value.as_deref().unwrap_or(UNKNOWN).to_owned();
    let principals = principals(context, reporter);
    push("reporter", if reporter == Reporter::Source { "source" } else { "destination" });
    push("source_workload", &or_unknown(&source.workload));
    push("source_canonical_service", &or_unknown(&source.canonical_service));
    push("source_canonical_revision", source.canonical_revision.as_deref().unwrap_or("latest"));
    push("source_workload_namespace", &or_unknown(&source.namespace));
    push("source_principal", principals.0);
    push("source_app", &or_unknown(&source.app));
    push("source_version", &or_unknown(&source.version));
    push("source_cluster", &or_unknown(&source.cluster));
    push("destination_workload", &or_unknown(&destination.workload));
    push("destination_workload_namespace", &or_unknown(&destination.namespace));
    push("destination_principal", principals.1);
    push("destination_app", &or_unknown(&destination.app));
    push("destination_version", &or_unknown(&destination.version));
    let service = service(context);
    push("destination_service", &service.0);
    push("destination_canonical_service", &or_unknown(&destination.canonical_service));
    push("destination_canonical_revision", destination.canonical_revision.as_deref().unwrap_or("latest"));
    push("destination_service_name", &service.1);
    push(
        "destination_service_namespace",
        service.2.as_deref().unwrap_or(&or_unknown(&destination.namespace)),
    );
    push("destination_cluster", &or_unknown(&destination.cluster));
    match response {
        Some((code, grpc)) => {
            push("request_protocol", if info.grpc { "grpc" } else { "http" });
            push("response_code", &code.to_string());
            push("grpc_response_status", &grpc.map(|status| status.to_string()).unwrap_or_default());
        }
        None => push("request_protocol", "tcp"),
    }
    push("response_flags", &info.flags.to_string());
    push("connection_security_policy", security_policy(context, reporter));
    labels
}

/// Host, name and namespace of the service that was called.
fn service(context: &LogContext<'_>) -> (String, String, Option<String>) {
    let cluster = context.info.upstream.cluster.as_deref();
    if let Some(service) = cluster.and_then(|cluster| cluster.services.first()) {
        return (service.host.to_string(), service.name.to_string(), Some(service.namespace.to_string()));
    }
    // As Istio: what is not known as a service goes by its host header and by the cluster's name.
    let authority = context.request.map(|request| String::from_utf8_lossy(&request.authority).into_owned());
    let host = authority.filter(|host| !host.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned());
    let name = match cluster.map(|cluster| &*cluster.name) {
        Some(name @ ("PassthroughCluster" | "BlackHoleCluster" | "InboundPassthroughCluster")) => {
            name.to_owned()
        }
        _ => host.clone(),
    };
    (host, name, None)
}

fn principals<'a>(context: &LogContext<'a>, reporter: Reporter) -> (&'a str, &'a str) {
    let tls = match reporter {
        Reporter::Source => context.info.upstream.tls.as_deref(),
        Reporter::Destination => context.info.connection.tls.as_deref(),
    };
    let Some(tls) = tls else { return (UNKNOWN, UNKNOWN) };
    let peer = tls.peer_uri_sans().first().map_or(UNKNOWN, String::as_str);
    let own = tls.local_uri_sans().first().map_or(UNKNOWN, String::as_str);
    match reporter {
        Reporter::Source => (own, peer),
        Reporter::Destination => (peer, own),
    }
}

/// Only the destination knows for certain whether the connection was mutual TLS (as Istio).
fn security_policy(context: &LogContext<'_>, reporter: Reporter) -> &'static str {
    match reporter {
        Reporter::Source => UNKNOWN,
        Reporter::Destination => {
            let mutual = context.info.connection.tls.as_ref().is_some_and(|tls| tls.is_mutual());
            if mutual { "mutual_tls" } else { "none" }
        }
    }
}
