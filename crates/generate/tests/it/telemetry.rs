//! Telemetries in the listeners of the proxies that they are for.

use lateen_xds::istio::StatsConfig;
use lateen_xds::pb::envoy::config::accesslog::v3::AccessLog;
use lateen_xds::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use lateen_xds::pb::envoy::config::listener::v3::{Listener, filter};
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use prost::Message;

use crate::kit::{Cluster0, Read, ingress, sidecar};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {metadata: {labels: {app: a}}, spec: {containers: []}}}
";

fn cluster(telemetries: &str) -> Cluster0 {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(telemetries);
    cluster
}

/// The connection managers of a listener.
pub fn managers(listener: &Listener) -> Vec<HttpConnectionManager> {
    let filters = listener.filter_chains.iter().flat_map(|chain| &chain.filters);
    let configs = filters.filter_map(|f| match &f.config_type {
        Some(filter::ConfigType::TypedConfig(any)) if any.type_url.ends_with("HttpConnectionManager") => {
            HttpConnectionManager::decode(any.value.as_slice()).ok()
        }
        _ => None,
    });
    configs.collect()
}

fn logs(seen: &Read, listener: &str) -> Vec<AccessLog> {
    managers(&seen.listener(listener)).remove(0).access_log
}

fn stats(seen: &Read, listener: &str) -> Option<StatsConfig> {
    let manager = managers(&seen.listener(listener)).remove(0);
    let filter = manager.http_filters.into_iter().find(|f| f.name == "istio.stats")?;
    let Some(http_filter::ConfigType::TypedConfig(config)) = filter.config_type else { return None };
    StatsConfig::decode(config.value.as_slice()).ok()
}

#[test]
fn the_narrower_telemetry_decides_what_is_logged_and_on_which_side() {
    let mut cluster = cluster(
        "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec: {accessLogging: [{providers: [{name: envoy}]}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: quiet}
spec:
  selector: {matchLabels: {app: quiet}}
  accessLogging: [{match: {mode: CLIENT}, disabled: true}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: errors}
spec:
  selector: {matchLabels: {app: a}}
  accessLogging: [{filter: {expression: 'response.code >= 500'}}]
",
    );
    let plain = cluster.resources(&sidecar("b-0", &[("app", "b")], "lateen"));
    assert_eq!(logs(&plain, "0.0.0.0_80").len(), 1);
    assert_eq!(logs(&plain, "0.0.0.0_80")[0].filter, None);
    let quiet = cluster.resources(&sidecar("quiet-0", &[("app", "quiet")], "lateen"));
    assert_eq!(logs(&quiet, "0.0.0.0_80").len(), 0);
    assert_eq!(logs(&quiet, "virtualInbound").len(), 1);
    for (program, native) in [("lateen", true), ("envoy", false)] {
        let errors = cluster.resources(&sidecar("a-0", &[("app", "a")], program));
        for listener in ["0.0.0.0_80", "virtualInbound"] {
            let filter = logs(&errors, listener).remove(0).filter.and_then(|f| f.filter_specifier);
            assert_eq!(matches!(filter, Some(FilterSpecifier::StatusCodeFilter(_))), native, "{program}");
            assert_eq!(matches!(filter, Some(FilterSpecifier::ExtensionFilter(_))), !native, "{program}");
        }
    }
}

#[test]
fn connections_that_no_filter_chain_takes_are_logged_by_the_listener() {
    let mut cluster = cluster(
        "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec: {accessLogging: [{providers: [{name: envoy}]}]}
",
    );
    for program in ["lateen", "envoy"] {
        let seen = cluster.resources(&sidecar("a-0", &[("app", "a")], program));
        for name in ["virtualInbound", "virtualOutbound"] {
            let logs = seen.listener(name).access_log;
            let filter = logs[0].filter.clone().and_then(|f| f.filter_specifier);
            let flags = match filter {
                Some(FilterSpecifier::ResponseFlagFilter(filter)) => filter.flags,
                other => panic!("{name} of {program}: {other:?}"),
            };
            assert_eq!(flags, ["NR"], "{name} of {program}");
        }
    }
}

#[test]
fn metrics_are_changed_or_left_out_by_side() {
    let mut cluster = cluster(
        "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: tags}
spec:
  metrics:
  - overrides:
    - match: {metric: REQUEST_COUNT, mode: SERVER}
      tagOverrides: {team: {value: '''core'''}, host: {value: request.host}, response_flags: {operation: REMOVE}}
    - match: {metric: REQUEST_DURATION}
      disabled: true
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: none, namespace: istio-system}
spec: {metrics: [{overrides: [{disabled: true}]}]}
",
    );
    let seen = cluster.resources(&sidecar("a-0", &[("app", "a")], "lateen"));
    let server = stats(&seen, "virtualInbound").map(|config| config.metrics);
    assert_eq!(server, None, "the mesh's Telemetry takes all metrics away, and nothing brings them back");
    let gateway = cluster.resources(&ingress("lateen"));
    assert!(gateway.names(lateen_xds::TypeUrl::Listener).is_empty());
    cluster.world.remove(&lateen_mesh::ConfigKey::new(lateen_mesh::Kind::Telemetry, "istio-system", "none"));
    let seen = cluster.resources(&sidecar("a-0", &[("app", "a")], "lateen"));
    let server = stats(&seen, "virtualInbound").expect("metrics").metrics;
    let count = server.iter().find(|m| m.name == "requests_total").expect("changed");
    assert_eq!(count.tags_to_remove, ["response_flags"]);
    assert_eq!(count.dimensions, [("team".to_owned(), "'core'".to_owned())].into());
    assert!(server.iter().any(|m| m.name == "request_duration_milliseconds" && m.drop));
    let client = stats(&seen, "0.0.0.0_80").expect("metrics").metrics;
    assert!(client.iter().all(|m| m.name != "requests_total"));
    assert!(stats(&cluster.resources(&sidecar("a-0", &[], "envoy")), "0.0.0.0_80").is_none());
}
