//! What is found in small meshes.

mod security;

use k8s_openapi::api::core::v1::{Pod, Service};
use lateen_analysis::{Code, Finding, analyze};
use lateen_mesh::World;
use serde_json::{Value, json};

fn istio(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    })
}

/// Findings about `reviews` and an ingress gateway, with further resources.
fn found(resources: Vec<Value>) -> Vec<Finding> {
    let mut world = World::new();
    let service = |name: &str, port: Value| {
        json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.9", "selector": {"app": name}, "ports": [port]},
        })
    };
    let pod = json!({
        "metadata": {"name": "edge-0", "namespace": "default", "labels": {"app": "edge"}},
        "spec": {"containers": []}, "status": {"phase": "Running"},
    });
    world.upsert(serde_json::from_value::<Pod>(pod).unwrap().into());
    for service in [
        service("reviews", json!({"name": "http", "port": 9080})),
        service("edge", json!({"name": "http", "port": 80, "targetPort": 8080})),
    ] {
        world.upsert(serde_json::from_value::<Service>(service).unwrap().into());
    }
    for resource in resources {
        let object = resource.clone();
        let resource = match resource["kind"].as_str() {
            Some("VirtualService") => {
                serde_json::from_value::<lateen_api::VirtualService>(object).unwrap().into()
            }
            Some("DestinationRule") => {
                serde_json::from_value::<lateen_api::DestinationRule>(object).unwrap().into()
            }
            Some("Gateway") => serde_json::from_value::<lateen_api::Gateway>(object).unwrap().into(),
            Some("Telemetry") => serde_json::from_value::<lateen_api::Telemetry>(object).unwrap().into(),
            Some("EnvoyFilter") => serde_json::from_value::<lateen_api::EnvoyFilter>(object).unwrap().into(),
            Some("Sidecar") => serde_json::from_value::<lateen_api::Sidecar>(object).unwrap().into(),
            other => panic!("{other:?}"),
        };
        world.upsert(resource);
    }
    analyze(&world.snapshot().0)
}

fn places(findings: &[Finding]) -> Vec<(Code, &str)> {
    findings.iter().map(|f| (f.code, f.field.as_str())).collect()
}

fn to_reviews(subset: &str) -> Value {
    istio(
        "VirtualService",
        "reviews",
        json!({"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews", "subset": subset}}]}]}),
    )
}

fn v1() -> Value {
    let spec = json!({"host": "reviews", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]});
    istio("DestinationRule", "reviews", spec)
}

fn gateway(port: u32, hosts: &[&str]) -> Value {
    let server = json!({"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": hosts});
    istio("Gateway", "edge", json!({"selector": {"app": "edge"}, "servers": [server]}))
}

#[test]
fn a_mesh_in_order_has_no_findings() {
    let behind = json!({"hosts": ["www.example.com"], "gateways": ["edge"], "http": [
        {"route": [{"destination": {"host": "reviews"}}]},
    ]});
    let all = vec![v1(), to_reviews("v1"), gateway(80, &["*"]), istio("VirtualService", "edge", behind)];
    assert_eq!(found(all), []);
}

#[test]
fn missing_subsets_hosts_ports_and_gateways_are_found_at_their_fields() {
    let findings = found(vec![v1(), to_reviews("v9")]);
    assert_eq!(
        places(&findings),
        [(Code::ReferencedResourceNotFound, "spec.http[0].route[0].destination.subset")]
    );
    assert!(
        findings[0].to_string().contains("IST0101") && findings[0].mend.contains("v1"),
        "{}",
        findings[0]
    );

    let spec = json!({"hosts": ["reviews"], "gateways": ["nosuch", "mesh"], "http": [
        {"route": [{"destination": {"host": "reviws"}}], "mirror": {"host": "reviews", "port": {"number": 1}}},
    ]});
    let findings = found(vec![istio("VirtualService", "reviews", spec)]);
    assert_eq!(
        places(&findings),
        [
            (Code::ReferencedResourceNotFound, "spec.gateways[0]"),
            (Code::ReferencedResourceNotFound, "spec.http[0].mirror.port.number"),
            (Code::ReferencedResourceNotFound, "spec.http[0].route[0].destination.host"),
        ]
    );
    let nowhere = istio("DestinationRule", "nowhere", json!({"host": "nowhere"}));
    assert_eq!(places(&found(vec![nowhere])), [(Code::ReferencedResourceNotFound, "spec.host")]);
}

#[test]
fn of_two_rules_for_one_host_the_younger_is_reported() {
    let mut younger = to_reviews("v1");
    younger["metadata"]["name"] = json!("younger");
    younger["metadata"]["creationTimestamp"] = json!("2030-01-01T00:00:00Z");
    let findings = found(vec![v1(), to_reviews("v1"), younger]);
    assert_eq!(places(&findings), [(Code::ConflictingMeshGatewayVirtualServiceHosts, "spec.hosts[0]")]);
    assert_eq!(&*findings[0].resource.name, "younger");
}

#[test]
fn rules_behind_one_that_takes_everything_are_unreachable() {
    let to = json!([{"destination": {"host": "reviews"}}]);
    let spec = json!({"hosts": ["reviews"], "http": [{"route": to}, {"match": [{"uri": {"prefix": "/"}}], "route": to}]});
    let findings = found(vec![istio("VirtualService", "reviews", spec)]);
    assert_eq!(places(&findings), [(Code::VirtualServiceUnreachableRule, "spec.http[1]")]);
}

#[test]
fn gateways_without_pods_ports_or_hosts_are_found() {
    let mut nobody = gateway(80, &["*"]);
    nobody["spec"]["selector"] = json!({"app": "nobody"});
    assert_eq!(places(&found(vec![nobody])), [(Code::ReferencedResourceNotFound, "spec.selector")]);
    assert_eq!(
        places(&found(vec![gateway(81, &["*"])])),
        [(Code::GatewayPortNotOnWorkload, "spec.servers[0].port.number")]
    );
    let spec = json!({"hosts": ["www.example.org"], "gateways": ["edge"], "http": [
        {"route": [{"destination": {"host": "reviews"}}]},
    ]});
    let findings = found(vec![gateway(80, &["*.example.com"]), istio("VirtualService", "edge", spec)]);
    assert_eq!(places(&findings), [(Code::VirtualServiceHostNotFoundInGateway, "spec.hosts[0]")]);
}

#[test]
fn a_second_sidecar_for_all_workloads_is_found() {
    let sidecar = |name: &str| istio("Sidecar", name, json!({"egress": [{"hosts": ["*/*"]}]}));
    let findings = found(vec![sidecar("a"), sidecar("b")]);
    assert_eq!(
        places(&findings),
        [(Code::MultipleSidecarsWithoutWorkloadSelectors, "spec.workloadSelector")]
    );
}

#[test]
fn patches_that_cannot_be_applied_are_named_with_their_field() {
    let patch =
        |to: &str, value: Value| json!({"applyTo": to, "patch": {"operation": "MERGE", "value": value}});
    let patches = json!([
        patch("CLUSTER", json!({"connect_timeout": "1s"})),
        patch("CLUSTER", json!({"conect_timeout": "1s"})),
        patch("BOOTSTRAP", json!({"admin": {}})),
        json!({"applyTo": "BOOTSTRAP", "patch": {"operation": "ADD", "value": {"admin": {}}}}),
    ]);
    let mut filter = istio("EnvoyFilter", "f", json!({"configPatches": patches}));
    filter["apiVersion"] = json!("networking.istio.io/v1alpha3");
    let findings = found(vec![filter]);
    assert_eq!(
        places(&findings),
        [
            (Code::SchemaValidationError, "spec.configPatches[1].patch.value"),
            (Code::SchemaValidationError, "spec.configPatches[3].patch.operation"),
        ]
    );
    assert!(findings[0].message.contains("did you mean `connect_timeout`"), "{}", findings[0].message);
}

#[test]
fn logs_that_lead_nowhere_and_filters_that_proxies_cannot_check_are_found() {
    let logging = json!([
        {"providers": [{"name": "envoy"}], "filter": {"expression": "response.code >= 400"}},
        {"providers": [{"name": "nosuch"}, {"name": "prometheus"}]},
        {"filter": {"expression": "connection.mtls"}},
    ]);
    let mut telemetry = istio("Telemetry", "t", json!({"accessLogging": logging}));
    telemetry["apiVersion"] = json!("telemetry.istio.io/v1");
    assert_eq!(
        places(&found(vec![telemetry])),
        [
            (Code::ReferencedResourceNotFound, "spec.accessLogging[1].providers[0].name"),
            (Code::ReferencedResourceNotFound, "spec.accessLogging[1].providers[1].name"),
            (Code::SchemaValidationError, "spec.accessLogging[2].filter.expression"),
        ]
    );
}
