//! Traces: Telemetry and MeshConfig -> the connection managers of every proxy.

use lateen_api::mesh_config::providers::{
    ExtensionProvider, OpenTelemetryProvider, Provider, TokenTracer, ZipkinProvider,
};
use lateen_mesh::{Observed, Settings};
use lateen_xds::pb::envoy::config::trace::v3::{OpenTelemetryConfig, ZipkinConfig, tracing::http};
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use lateen_xds::pb::envoy::r#type::tracing::v3::custom_tag::Type;
use lateen_xds::pb::google::protobuf::Any;
use prost::Message;

use crate::kit::{Cluster0, Read, ingress, sidecar};
use crate::telemetry::managers;

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: zipkin, namespace: istio-system}
spec: {selector: {app: zipkin}, ports: [{name: http-query, port: 9411}]}
---
apiVersion: v1
kind: Service
metadata: {name: otel, namespace: observability}
spec: {selector: {app: otel}, ports: [{name: grpc-otlp, port: 4317}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {metadata: {labels: {app: a}}, spec: {containers: []}}}
";

fn provider(name: &str, provider: Provider) -> ExtensionProvider {
    ExtensionProvider { name: name.into(), provider: Some(provider) }
}

fn settings() -> Settings {
    let zipkin = ZipkinProvider {
        service: "zipkin.istio-system.svc.cluster.local".into(),
        port: 9411,
        max_tag_length: 64,
        ..ZipkinProvider::default()
    };
    let otel = OpenTelemetryProvider {
        service: "observability/otel.observability.svc.cluster.local".into(),
        port: 4317,
        ..OpenTelemetryProvider::default()
    };
    let gone = ZipkinProvider { service: "gone.default.svc.cluster.local".into(), port: 1, ..zipkin.clone() };
    let datadog = TokenTracer {
        service: "zipkin.istio-system.svc.cluster.local".into(),
        port: 9411,
        ..TokenTracer::default()
    };
    let mut settings = Settings {
        extension_providers: vec![
            provider("zipkin", Provider::Zipkin(zipkin)),
            provider("otel", Provider::OpenTelemetry(otel)),
            provider("gone", Provider::Zipkin(gone)),
            provider("datadog", Provider::Datadog(datadog)),
        ],
        default_tracing: vec!["zipkin".into()],
        ..Settings::default()
    };
    settings.observed = Observed::of_mesh(&settings);
    settings
}

pub fn cluster(telemetry: &str) -> Cluster0 {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(telemetry);
    cluster.world.upsert(settings().into());
    cluster
}

fn tracing(seen: &Read, listener: &str) -> Option<Tracing> {
    managers(&seen.listener(listener)).remove(0).tracing
}

fn config(tracing: &Tracing) -> &Any {
    let Some(http::ConfigType::TypedConfig(config)) =
        &tracing.provider.as_ref().expect("a tracer").config_type
    else {
        panic!("no configuration")
    };
    config
}

#[test]
fn the_default_provider_traces_one_in_a_hundred_with_istios_tags() {
    let seen = cluster("").resources(&sidecar("a-0", &[("app", "a")], "lateen"));
    for listener in ["0.0.0.0_80", "virtualInbound"] {
        let tracing = tracing(&seen, listener).expect("traced");
        assert_eq!(tracing.random_sampling.map(|share| share.value), Some(1.0));
        assert_eq!(tracing.max_path_tag_length.map(|length| length.value), Some(64));
        let names: Vec<&str> = tracing.custom_tags.iter().map(|tag| tag.tag.as_str()).collect();
        assert!(names.contains(&"istio.canonical_service") && names.contains(&"istio.mesh_id"), "{names:?}");
        let zipkin = ZipkinConfig::decode(config(&tracing).value.as_slice()).expect("zipkin");
        assert_eq!(zipkin.collector_cluster, "outbound|9411||zipkin.istio-system.svc.cluster.local");
        assert_eq!(zipkin.collector_endpoint, "/api/v2/spans");
        assert!(zipkin.trace_id_128bit);
    }
}

#[test]
fn a_telemetry_chooses_provider_share_and_tags_for_its_side() {
    let telemetry = "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: a}
spec:
  tracing:
  - match: {mode: CLIENT}
    providers: [{name: otel}]
    randomSamplingPercentage: 12.5
    enableIstioTags: false
    customTags: {env: {literal: {value: test}}, user: {header: {name: end-user, defaultValue: nobody}}}
";
    let seen = cluster(telemetry).resources(&sidecar("a-0", &[("app", "a")], "envoy"));
    let client = tracing(&seen, "0.0.0.0_80").expect("traced");
    assert_eq!(client.random_sampling.map(|share| share.value), Some(12.5));
    let otel = OpenTelemetryConfig::decode(config(&client).value.as_slice()).expect("opentelemetry");
    assert!(otel.grpc_service.is_some() && otel.http_service.is_none());
    let tags: Vec<&str> = client.custom_tags.iter().map(|tag| tag.tag.as_str()).collect();
    assert_eq!(tags, ["env", "user"]);
    assert!(matches!(&client.custom_tags[1].r#type, Some(Type::RequestHeader(h)) if h.name == "end-user"));
    let server = tracing(&seen, "virtualInbound").expect("traced");
    assert!(config(&server).type_url.ends_with("ZipkinConfig"));
}

#[test]
fn where_spans_cannot_go_nothing_is_traced() {
    let of = |provider: &str, more: &str, program: &str| {
        let telemetry = format!(
            "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: mesh, namespace: istio-system}}
spec: {{tracing: [{{providers: [{{name: {provider}}}]{more}}}]}}
"
        );
        let seen = cluster(&telemetry).resources(&sidecar("a-0", &[("app", "a")], program));
        tracing(&seen, "0.0.0.0_80").is_some()
    };
    assert!(of("otel", "", "lateen"));
    assert!(!of("otel", ", disableSpanReporting: true", "lateen"));
    assert!(!of("gone", "", "lateen"), "a service that is not there");
    assert!(!of("nosuch", "", "lateen"), "a provider that is not there");
    assert!(of("datadog", "", "envoy") && !of("datadog", "", "lateen"), "a tracer that Envoy alone has");
}

#[test]
fn a_sidecars_scope_does_not_hide_the_collector() {
    let telemetry = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ['./*']}]}
";
    let seen = cluster(telemetry).resources(&sidecar("a-0", &[("app", "a")], "lateen"));
    seen.cluster("outbound|9411||zipkin.istio-system.svc.cluster.local");
    assert!(tracing(&seen, "0.0.0.0_80").is_some());
}

#[test]
fn a_gateway_makes_a_span_of_its_own_for_the_upstream() {
    let mut cluster = cluster(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]}
",
    );
    let seen = cluster.resources(&ingress("lateen"));
    let tracing = tracing(&seen, "0.0.0.0_8080").expect("traced");
    assert_eq!(tracing.spawn_upstream_span.map(|flag| flag.value), Some(true));
}
