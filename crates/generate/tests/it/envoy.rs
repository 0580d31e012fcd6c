//! Every resource is put before the real Envoy, which judges it in its validation mode.

use std::path::PathBuf;
use std::process::Command;

use lateen_generate::Interception;
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use lateen_xds::pb::envoy::config::bootstrap::v3::bootstrap::{DynamicResources, StaticResources};
use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use lateen_xds::pb::envoy::config::core::v3::api_config_source::ApiType;
use lateen_xds::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use lateen_xds::pb::envoy::config::core::v3::{ApiConfigSource, ApiVersion, GrpcService, Node};
use lateen_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, Listener, filter::ConfigType};
use lateen_xds::pb::envoy::config::route::v3::RouteConfiguration;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use lateen_xds::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use lateen_xds::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use lateen_xds::pb::google::protobuf::BoolValue;
use prost::{Message, Name};

use crate::bookinfo::{bookinfo, productpage};
use crate::features::MANIFEST;
use crate::kit::{Cluster0, Read, ingress, sidecar};

fn envoy() -> Option<PathBuf> {
    let named = std::env::var_os("LATEEN_ENVOY").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named.or_else(|| std::env::split_paths(&path).map(|d| d.join("envoy")).find(|p| p.is_file()));
    if found.is_none() {
        let required = std::env::var("LATEEN_PEERS").is_ok_and(|v| v == "required");
        assert!(
            !required,
            "LATEEN_PEERS=required, but there is no envoy on PATH and LATEEN_ENVOY is not set"
        );
        eprintln!("skipped: no envoy on PATH, LATEEN_ENVOY is not set");
    }
    found
}

/// A bootstrap that holds all resources itself: endpoints within clusters, routes within listeners.
fn bootstrap(seen: &Read) -> Bootstrap {
    let cluster = |body: &[u8]| {
        let mut cluster = Cluster::decode(body).expect("well formed");
        if let Some(eds) = cluster.eds_cluster_config.take() {
            let fixed = DiscoveryType::Static as i32;
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(fixed));
            let found =
                seen.0.get(TypeUrl::Endpoints, &eds.service_name).expect("endpoints of an EDS cluster");
            cluster.load_assignment = ClusterLoadAssignment::decode(found.body.clone()).ok();
        }
        cluster
    };
    let listener = |body: &[u8]| {
        let mut listener = Listener::decode(body).expect("well formed");
        listener
            .filter_chains
            .iter_mut()
            .chain(&mut listener.default_filter_chain)
            .for_each(|c| inline(c, seen));
        listener
    };
    Bootstrap {
        node: Some(Node { id: "test".into(), cluster: "test".into(), ..Node::default() }),
        static_resources: Some(StaticResources {
            clusters: seen
                .0
                .iter(TypeUrl::Cluster)
                .map(|r| cluster(&r.body))
                .chain(["sds-grpc", "xds-grpc"].map(of_agent))
                .collect(),
            listeners: seen.0.iter(TypeUrl::Listener).map(|r| listener(&r.body)).collect(),
            ..StaticResources::default()
        }),
        dynamic_resources: Some(DynamicResources {
            ads_config: Some(ApiConfigSource {
                api_type: ApiType::Grpc as i32,
                transport_api_version: ApiVersion::V3 as i32,
                grpc_services: vec![GrpcService {
                    target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                        cluster_name: "xds-grpc".into(),
                        ..EnvoyGrpc::default()
                    })),
                    ..GrpcService::default()
                }],
                ..ApiConfigSource::default()
            }),
            ..DynamicResources::default()
        }),
        ..Bootstrap::default()
    }
}

/// A cluster of the agent's, as every bootstrap has it.
fn of_agent(name: &str) -> Cluster {
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Default::default())),
        })),
        ..HttpProtocolOptions::default()
    };
    Cluster {
        name: name.into(),
        load_assignment: Some(ClusterLoadAssignment { cluster_name: name.into(), ..Default::default() }),
        typed_extension_protocol_options: [(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            lateen_xds::any(&options),
        )]
        .into(),
        ..Cluster::default()
    }
}

fn inline(chain: &mut FilterChain, seen: &Read) {
    for filter in &mut chain.filters {
        let Some(ConfigType::TypedConfig(config)) = &mut filter.config_type else { continue };
        if config.type_url != HttpConnectionManager::type_url() {
            continue;
        }
        let mut manager = HttpConnectionManager::decode(config.value.as_slice()).expect("well formed");
        if let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier {
            let routes: RouteConfiguration = seen.route(&rds.route_config_name);
            manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
        }
        *config = lateen_xds::any(&manager);
    }
}

pub fn accepts(name: &str, seen: &Read) {
    let Some(envoy) = envoy() else { return };
    let file = std::env::temp_dir().join(format!("lateen-generate-{}-{name}.pb", std::process::id()));
    std::fs::write(&file, bootstrap(seen).encode_to_vec()).expect("written");
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--log-level", "warning", "-c"])
        .arg(&file)
        .output()
        .expect("envoy runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    std::fs::remove_file(&file).ok();
    assert!(output.status.success(), "{name}: {said}");
}

const NETWORKING: [&str; 5] = [
    "destination-rule-all.yaml",
    "virtual-service-all-v1.yaml",
    "virtual-service-reviews-80-20.yaml",
    "virtual-service-ratings-test-delay.yaml",
    "virtual-service-ratings-test-abort.yaml",
];

#[test]
fn envoy_accepts_bookinfos_resources_at_sidecars_and_gateways() {
    for release in ["istio-1.0", "istio-1.32-dev"] {
        let Some(mut cluster) = bookinfo(release, &NETWORKING) else { return };
        accepts(&format!("sidecar-{release}"), &cluster.resources(&productpage("envoy")));
        accepts(&format!("gateway-{release}"), &cluster.resources(&ingress("envoy")));
    }
}

#[test]
fn envoy_accepts_every_feature_that_is_generated() {
    let mut cluster = Cluster0::new();
    cluster.apply(MANIFEST);
    accepts("features-sidecar", &cluster.resources(&sidecar("client-0", &[("app", "client")], "envoy")));
    accepts("features-gateway", &cluster.resources(&ingress("envoy")));
}

#[test]
fn envoy_accepts_transparent_listeners_and_sources() {
    let Some(mut cluster) = bookinfo("istio-1.32-dev", &NETWORKING) else { return };
    let mut proxy = productpage("envoy");
    proxy.interception = Interception::Tproxy;
    let seen = cluster.resources(&proxy);
    let filters = |name| -> Vec<String> {
        let listener = seen.listener(name);
        assert_eq!(listener.transparent, Some(BoolValue { value: true }), "{name}");
        listener.listener_filters.into_iter().map(|filter| filter.name).collect()
    };
    let inbound = ["original_dst", "original_src", "tls_inspector", "http_inspector"];
    assert_eq!(filters("virtualInbound"), inbound.map(|name| format!("envoy.filters.listener.{name}")));
    // What the application sends bears its own address anyway.
    assert!(filters("virtualOutbound").iter().all(|name| !name.contains("original_src")));
    accepts("transparent", &seen);
}

#[test]
fn envoy_accepts_policies_and_tls() {
    let mut cluster = crate::security::guarded();
    for (app, name) in [("web", "strict"), ("db", "permissive")] {
        accepts(
            name,
            &cluster.resources(&crate::transport::trusted(sidecar("x-0", &[("app", app)], "envoy"))),
        );
    }
    let mut cluster = crate::transport::gateways();
    accepts("gateway-tls", &cluster.resources(&crate::transport::trusted(ingress("envoy"))));
}

#[test]
fn envoy_accepts_every_tracer_and_listeners_of_its_own() {
    for provider in ["zipkin", "otel", "datadog"] {
        let telemetry = format!(
            "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: mesh, namespace: istio-system}}
spec:
  tracing:
  - providers: [{{name: {provider}}}]
    customTags: {{a: {{literal: {{value: b}}}}, c: {{formatter: {{value: '%REQ(x)%'}}}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: a}}
spec:
  ingress: [{{port: {{number: 9443, protocol: HTTP, name: web}}, captureMode: NONE, bind: 127.0.0.9}}]
  egress: [{{port: {{number: 80, protocol: HTTP, name: out}}, captureMode: NONE, hosts: ['./*']}}]
"
        );
        let mut cluster = crate::tracing::cluster(&telemetry);
        let seen = cluster.resources(&sidecar("a-0", &[("app", "a")], "envoy"));
        accepts(&format!("tracing-{provider}"), &seen);
    }
}
