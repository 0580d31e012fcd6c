mod again;
mod annotations;
mod cni;
mod manifest;
mod templates;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use crate::{InjectConfig, Policy, Target, admission_patch, inject};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

/// A pod as the ReplicaSet controller makes it and the API server defaults it.
fn reviews() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "reviews-v1-abc12-", "namespace": "default",
            "labels": { "app": "reviews", "version": "v1", "pod-template-hash": "abc12" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "reviews-v1-abc12", "uid": "u", "controller": true,
            }],
        },
        "spec": { "containers": [{
            "name": "reviews", "image": "reviews:1",
            "ports": [{ "containerPort": 9080, "protocol": "TCP" }],
            "readinessProbe": { "httpGet": { "path": "/health", "port": 9080, "scheme": "HTTP" }, "timeoutSeconds": 1 },
        }] },
    })
}

fn annotated(pairs: &[(&str, &str)]) -> Pod {
    let mut pod = pod(reviews());
    pod.metadata.annotations = Some(labels(pairs));
    pod
}

fn injected(pod: &Pod, config: &InjectConfig) -> Pod {
    let enabled = labels(&[("istio-injection", "enabled")]);
    let target = Target { namespace: "default", namespace_labels: Some(&enabled) };
    let injection = inject(pod, &target, config).unwrap();
    assert!(injection.decision.inject, "{}", injection.decision.reason);
    injection.pod
}

fn container<'a>(pod: &'a Pod, name: &str) -> &'a Container {
    let spec = pod.spec.as_ref().unwrap();
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name).unwrap()
}

fn env(pod: &Pod, name: &str) -> Option<String> {
    let list = container(pod, "istio-proxy").env.as_ref().unwrap();
    list.iter().find(|variable| variable.name == name)?.value.clone()
}

fn arguments(pod: &Pod) -> String {
    container(pod, "istio-init").args.as_ref().unwrap().join(" ")
}

#[test]
fn a_pod_gets_the_containers_and_names_of_the_contract() {
    let pod = injected(&pod(reviews()), &InjectConfig::default());
    let spec = pod.spec.as_ref().unwrap();
    let names: Vec<_> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["reviews", "istio-proxy"]);
    assert_eq!(
        arguments(&pod),
        "capture -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020"
    );
    let proxy = container(&pod, "istio-proxy");
    assert_eq!(proxy.security_context.as_ref().unwrap().run_as_user, Some(1337));
    assert_eq!(proxy.image.as_deref(), Some(concat!("docker.io/lateen/lateen:", env!("CARGO_PKG_VERSION"))));
    assert_eq!(proxy.args.as_ref().unwrap()[..3], ["agent", "sidecar", "--domain"]);
    assert_eq!(env(&pod, "ISTIO_META_WORKLOAD_NAME").as_deref(), Some("reviews-v1"));
    assert_eq!(
        env(&pod, "ISTIO_META_OWNER").as_deref(),
        Some("kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1")
    );
    assert_eq!(
        env(&pod, "ISTIO_META_POD_PORTS").as_deref(),
        Some(r#"[{"containerPort":9080,"protocol":"TCP"}]"#)
    );
    assert_eq!(env(&pod, "ISTIO_META_APP_CONTAINERS").as_deref(), Some("reviews"));
    let marks = pod.metadata.labels.as_ref().unwrap();
    assert_eq!(marks["security.istio.io/tlsMode"], "istio");
    assert_eq!(marks["service.istio.io/canonical-name"], "reviews");
    assert_eq!(marks["service.istio.io/canonical-revision"], "v1");
    let status: Value =
        serde_json::from_str(&pod.metadata.annotations.as_ref().unwrap()["sidecar.istio.io/status"]).unwrap();
    assert_eq!(status["containers"], json!(["istio-proxy"]));
    assert_eq!(status["initContainers"], json!(["istio-init"]));
    let volumes: Vec<_> = spec.volumes.as_ref().unwrap().iter().map(|v| json!(v.name)).collect();
    assert_eq!(status["volumes"], Value::Array(volumes));
}

#[test]
fn the_decision_follows_labels_annotations_and_policy() {
    let default = InjectConfig::default();
    let canary = InjectConfig { revision: "canary".into(), ..InjectConfig::default() };
    let disabled = InjectConfig { policy: Policy::Disabled, ..InjectConfig::default() };
    let enabled: &[_] = &[("istio-injection", "enabled")];
    let rev: &[_] = &[("istio.io/rev", "canary")];
    let none: &[(&str, &str)] = &[];
    let yes: &[_] = &[("sidecar.istio.io/inject", "true")];
    let no: &[_] = &[("sidecar.istio.io/inject", "false")];
    // (configuration, namespace, its labels, pod labels, pod annotations, outcome)
    let cases = [
        (&default, "default", enabled, none, none, true),
        (&default, "default", none, none, none, false),
        (&default, "default", none, yes, none, true),
        (&default, "default", none, none, yes, false),
        (&default, "default", enabled, no, none, false),
        (&default, "default", enabled, none, no, false),
        (&default, "default", enabled, yes, no, true),
        (&default, "default", &[("istio-injection", "disabled")], yes, none, false),
        (&default, "default", rev, none, none, false),
        (&default, "default", none, &[("istio.io/rev", "default")], none, true),
        (&canary, "default", rev, none, none, true),
        (&canary, "default", none, rev, none, true),
        (&canary, "default", enabled, none, none, false),
        (
            &canary,
            "default",
            &[("istio-injection", "enabled"), ("istio.io/rev", "canary")],
            none,
            none,
            false,
        ),
        (&disabled, "default", enabled, none, none, false),
        (&disabled, "default", enabled, yes, none, true),
        (&default, "kube-system", enabled, yes, none, false),
        (&default, "istio-system", enabled, none, none, false),
        (&default, "istio-system", none, yes, none, true),
    ];
    for (config, namespace, space, marks, notes, expected) in cases {
        let mut pod = pod(reviews());
        pod.metadata.labels.as_mut().unwrap().extend(labels(marks));
        pod.metadata.annotations = Some(labels(notes));
        let space = labels(space);
        let decision = crate::decide(&pod, &Target { namespace, namespace_labels: Some(&space) }, config);
        assert_eq!(
            decision.inject, expected,
            "{namespace} {space:?} {marks:?} {notes:?}: {}",
            decision.reason
        );
        assert!(!decision.reason.is_empty());
    }
}

#[test]
fn pods_on_the_hosts_network_are_left_alone_even_by_hand() {
    let mut pod = pod(reviews());
    pod.spec.as_mut().unwrap().host_network = Some(true);
    let injection =
        inject(&pod, &Target { namespace: "default", namespace_labels: None }, &InjectConfig::default());
    let injection = injection.unwrap();
    assert!(!injection.decision.inject);
    assert_eq!(injection.pod, pod);
}

#[test]
fn selectors_decide_only_for_pods_that_say_nothing() {
    let selector = |key: &str| {
        serde_json::from_value(json!({ "matchExpressions": [{ "key": key, "operator": "Exists" }] })).unwrap()
    };
    let never = InjectConfig { never_inject_selector: vec![selector("app")], ..InjectConfig::default() };
    let always = InjectConfig {
        policy: Policy::Disabled,
        always_inject_selector: vec![selector("app")],
        ..InjectConfig::default()
    };
    let target = Target { namespace: "default", namespace_labels: None };
    assert!(!crate::decide(&pod(reviews()), &target, &never).inject);
    assert!(crate::decide(&pod(reviews()), &target, &always).inject);
    assert!(crate::decide(&annotated(&[("sidecar.istio.io/inject", "true")]), &target, &never).inject);
    assert!(!crate::decide(&annotated(&[("sidecar.istio.io/inject", "false")]), &target, &always).inject);
}

#[test]
fn capture_annotations_become_arguments() {
    let pod = annotated(&[
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8,fd00::/8"),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.1.0.0/16"),
        ("traffic.sidecar.istio.io/includeInboundPorts", "9080"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "22"),
        ("traffic.sidecar.istio.io/includeOutboundPorts", "5432"),
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "3306,6379"),
        ("traffic.sidecar.istio.io/excludeInterfaces", "eth1"),
    ]);
    let config = InjectConfig { socket_mark: Some(1337), ..InjectConfig::default() };
    assert_eq!(
        arguments(&injected(&pod, &config)),
        "capture -p 15001 -z 15006 -u 1337 -m REDIRECT -i 10.0.0.0/8,fd00::/8 -x 10.1.0.0/16 -b 9080 \
         -d 15090,15021,15020,22 -q 5432 -o 3306,6379 -c eth1 --socket-mark 1337"
    );
}

#[test]
fn proxy_metadata_leads_dns_to_the_agent() {
    let captured = |text: &str| {
        let pod = annotated(&[("proxy.istio.io/config", text)]);
        arguments(&injected(&pod, &InjectConfig::default())).contains(" --redirect-dns")
    };
    assert!(captured("proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}"));
    assert!(!captured("proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'false'}"));
    let mesh = json!({ "proxyMetadata": { "ISTIO_META_DNS_CAPTURE": "true" } });
    let mesh = InjectConfig { default_config: mesh.as_object().unwrap().clone(), ..InjectConfig::default() };
    let by_mesh = injected(&pod(reviews()), &mesh);
    assert!(arguments(&by_mesh).ends_with(" --redirect-dns"));
    assert_eq!(env(&by_mesh, "ISTIO_META_DNS_CAPTURE").as_deref(), Some("true"));
}

#[test]
fn annotations_that_cannot_be_used_are_refused_by_name() {
    let cases = [
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "http"),
        ("traffic.sidecar.istio.io/includeInboundPorts", "70000"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/33"),
        ("sidecar.istio.io/interceptionMode", "MAGIC"),
        ("sidecar.istio.io/proxyCPU", "much"),
        ("sidecar.istio.io/rewriteAppHTTPProbers", "perhaps"),
        ("sidecar.istio.io/userVolume", "{"),
        ("sidecar.istio.io/userVolumeMount", "[{\"name\":\"a\"}]"),
        ("status.sidecar.istio.io/port", "-1"),
        ("proxy.istio.io/config", "- a"),
        ("proxy.istio.io/config", "concurrency: [1"),
        ("inject.istio.io/templates", "waypoint"),
    ];
    for (name, value) in cases {
        let target = Target { namespace: "default", namespace_labels: None };
        let error = inject(&annotated(&[(name, value)]), &target, &InjectConfig::default()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn interception_mode_none_leaves_out_the_init_container() {
    let pod =
        injected(&annotated(&[("sidecar.istio.io/interceptionMode", "NONE")]), &InjectConfig::default());
    assert!(pod.spec.as_ref().unwrap().init_containers.is_none());
    assert_eq!(env(&pod, "ISTIO_META_INTERCEPTION_MODE").as_deref(), Some("NONE"));
}

#[test]
fn a_transparent_proxy_gets_the_capability_for_it_and_nobody_else() {
    let by_annotation = ("sidecar.istio.io/interceptionMode", "TPROXY");
    for note in [by_annotation, ("proxy.istio.io/config", "interceptionMode: TPROXY")] {
        for cni in [false, true] {
            let config = InjectConfig { cni, ..InjectConfig::default() };
            let pod = injected(&annotated(&[note]), &config);
            let context = container(&pod, "istio-proxy").security_context.as_ref().unwrap();
            assert_eq!((context.run_as_user, context.run_as_group), (Some(0), Some(1337)));
            let capabilities = context.capabilities.as_ref().unwrap();
            assert_eq!(capabilities.add.as_deref(), Some(&["NET_ADMIN".to_owned()][..]));
            assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
            assert_eq!(env(&pod, "ISTIO_META_INTERCEPTION_MODE").as_deref(), Some("TPROXY"));
            let by_plugin = crate::capture_arguments(&pod).unwrap().map(|all| all.join(" "));
            let captured = by_plugin.unwrap_or_else(|| arguments(&pod));
            // The proxy is told by its group, as its user is root's.
            assert!(captured.contains("-u 1337") && captured.contains("-m TPROXY"), "{captured}");
        }
    }
    let usual = injected(&annotated(&[]), &InjectConfig::default());
    let context = container(&usual, "istio-proxy").security_context.as_ref().unwrap();
    assert_eq!(
        (context.run_as_user, context.capabilities.as_ref().unwrap().add.as_ref()),
        (Some(1337), None)
    );
}

#[test]
fn probes_are_led_through_the_agent() {
    let mut value = reviews();
    value["spec"]["containers"][0]["ports"][0]["name"] = json!("http");
    value["spec"]["containers"][0]["livenessProbe"] =
        json!({ "tcpSocket": { "port": "http" }, "periodSeconds": 7 });
    value["spec"]["containers"][0]["startupProbe"] = json!({ "grpc": { "port": 9080 } });
    value["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": "helper", "livenessProbe": { "exec": { "command": ["true"] } },
    }));
    let pod = injected(&pod(value), &InjectConfig::default());
    let reviews = container(&pod, "reviews");
    let http = reviews.liveness_probe.as_ref().unwrap().http_get.as_ref().unwrap();
    assert_eq!(http.path.as_deref(), Some("/app-health/reviews/livez"));
    assert_eq!(json!(http.port), json!(15020));
    assert_eq!(reviews.liveness_probe.as_ref().unwrap().period_seconds, Some(7));
    assert!(reviews.liveness_probe.as_ref().unwrap().tcp_socket.is_none());
    assert!(container(&pod, "helper").liveness_probe.as_ref().unwrap().exec.is_some());
    let probers: Value = serde_json::from_str(&env(&pod, "ISTIO_KUBE_APP_PROBERS").unwrap()).unwrap();
    assert_eq!(
        probers,
        json!({
            "/app-health/reviews/livez": { "tcpSocket": { "port": 9080 }, "timeoutSeconds": 1 },
            "/app-health/reviews/readyz": {
                "httpGet": { "path": "/health", "port": 9080, "scheme": "HTTP" }, "timeoutSeconds": 1,
            },
            "/app-health/reviews/startupz": { "grpc": { "port": 9080, "service": "" }, "timeoutSeconds": 1 },
        })
    );
}

#[test]
fn probes_stay_where_the_pod_says_so() {
    let pod = injected(
        &annotated(&[("sidecar.istio.io/rewriteAppHTTPProbers", "false")]),
        &InjectConfig::default(),
    );
    let probe = container(&pod, "reviews").readiness_probe.as_ref().unwrap();
    assert_eq!(probe.http_get.as_ref().unwrap().path.as_deref(), Some("/health"));
    assert_eq!(env(&pod, "ISTIO_KUBE_APP_PROBERS"), None);
}

#[test]
fn a_probe_of_an_unknown_port_name_is_refused_by_field() {
    let mut value = reviews();
    value["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] = json!("web");
    let target = Target { namespace: "default", namespace_labels: None };
    let error = inject(&pod(value), &target, &InjectConfig::default()).unwrap_err().to_string();
    assert!(
        error.contains("spec.containers[reviews].readinessProbe") && error.contains("\"web\""),
        "{error}"
    );
}

#[test]
fn scraping_leads_to_the_agent_which_knows_the_applications_own_place() {
    let own = annotated(&[
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", "9080"),
        ("prometheus.io/path", "/m"),
    ]);
    let pod = injected(&own, &InjectConfig::default());
    let notes = pod.metadata.annotations.as_ref().unwrap();
    assert_eq!(
        (notes["prometheus.io/port"].as_str(), notes["prometheus.io/path"].as_str()),
        ("15020", "/stats/prometheus")
    );
    let kept: Value = serde_json::from_str(&env(&pod, "ISTIO_PROMETHEUS_ANNOTATIONS").unwrap()).unwrap();
    assert_eq!(kept, json!({ "scrape": "true", "path": "/m", "port": "9080" }));

    let refused = injected(&annotated(&[("prometheus.io/scrape", "false")]), &InjectConfig::default());
    assert_eq!(refused.metadata.annotations.as_ref().unwrap()["prometheus.io/scrape"], "false");
}

#[test]
fn the_pods_proxy_config_overlays_the_meshs() {
    let config = InjectConfig {
        default_config: json!({ "concurrency": 2, "proxyMetadata": { "A": "1" } })
            .as_object()
            .unwrap()
            .clone(),
        ..InjectConfig::default()
    };
    let pod = annotated(&[(
        "proxy.istio.io/config",
        "concurrency: 1\nproxyMetadata:\n  B: \"2\"\nholdApplicationUntilProxyStarts: true\n",
    )]);
    let pod = injected(&pod, &config);
    let effective: Value = serde_json::from_str(&env(&pod, "PROXY_CONFIG").unwrap()).unwrap();
    assert_eq!(effective["concurrency"], 1);
    assert_eq!(effective["proxyMetadata"], json!({ "A": "1", "B": "2" }));
    assert_eq!(effective["discoveryAddress"], "istiod.istio-system.svc:15012");
    assert_eq!((env(&pod, "A").as_deref(), env(&pod, "B").as_deref()), (Some("1"), Some("2")));
    let first = &pod.spec.as_ref().unwrap().containers[0];
    assert_eq!(first.name, "istio-proxy", "the application waits: containers start in order");
    assert!(first.lifecycle.as_ref().unwrap().post_start.is_some());
}

#[test]
fn resource_annotations_replace_the_defaults_altogether() {
    let pod = injected(&annotated(&[("sidecar.istio.io/proxyMemory", "64Mi")]), &InjectConfig::default());
    let resources = json!(container(&pod, "istio-proxy").resources);
    assert_eq!(resources, json!({ "requests": { "memory": "64Mi" } }));
}

#[test]
fn user_volumes_reach_the_sidecar_alone() {
    let pod = annotated(&[
        ("sidecar.istio.io/userVolume", r#"[{"name":"certs","secret":{"secretName":"mine"}}]"#),
        ("sidecar.istio.io/userVolumeMount", r#"{"certs":{"mountPath":"/etc/certs","readOnly":true}}"#),
    ]);
    let pod = injected(&pod, &InjectConfig::default());
    assert!(
        pod.spec
            .as_ref()
            .unwrap()
            .volumes
            .as_ref()
            .unwrap()
            .iter()
            .any(|v| v.name == "certs" && v.secret.is_some())
    );
    let mounts = container(&pod, "istio-proxy").volume_mounts.as_ref().unwrap();
    assert!(mounts.iter().any(|m| m.name == "certs" && m.mount_path == "/etc/certs"));
    assert!(container(&pod, "reviews").volume_mounts.is_none());
}

#[test]
fn a_container_named_istio_proxy_overrides_field_by_field() {
    let mut value = reviews();
    value["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": "istio-proxy", "image": "auto",
        "env": [{ "name": "EXTRA", "value": "1" }, { "name": "CA_ADDR", "value": "elsewhere:1" }],
        "resources": { "limits": { "cpu": "3" } },
    }));
    let pod = injected(&pod(value), &InjectConfig::default());
    let proxy = container(&pod, "istio-proxy");
    assert_eq!(proxy.image.as_deref(), Some(InjectConfig::default().image.as_str()));
    assert_eq!(env(&pod, "EXTRA").as_deref(), Some("1"));
    assert_eq!(env(&pod, "CA_ADDR").as_deref(), Some("elsewhere:1"));
    assert_eq!(json!(proxy.resources)["limits"], json!({ "cpu": "3", "memory": "1Gi" }));
    assert_eq!(pod.spec.as_ref().unwrap().containers.len(), 2);
}

#[test]
fn the_gateway_template_makes_a_router_without_capture() {
    let value = json!({
        "metadata": { "name": "gw", "labels": { "sidecar.istio.io/inject": "true" },
                      "annotations": { "inject.istio.io/templates": "gateway" } },
        "spec": { "containers": [{ "name": "istio-proxy", "image": "auto", "ports": [{ "containerPort": 8080 }] }] },
    });
    let pod = injected(&pod(value), &InjectConfig::default());
    let proxy = container(&pod, "istio-proxy");
    assert_eq!(proxy.args.as_ref().unwrap()[..2], ["agent", "router"]);
    assert_eq!(proxy.ports.as_ref().unwrap().len(), 2);
    assert!(pod.spec.as_ref().unwrap().init_containers.is_none());
}

#[test]
fn native_sidecars_start_among_the_init_containers() {
    let pod = injected(&annotated(&[("sidecar.istio.io/nativeSidecar", "true")]), &InjectConfig::default());
    let init = pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap();
    let names: Vec<_> = init.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["istio-init", "istio-proxy"]);
    assert_eq!(init[1].restart_policy.as_deref(), Some("Always"));
}

#[test]
fn the_admission_patch_gives_the_injected_pod_and_keeps_unknown_fields() {
    let mut raw = reviews();
    raw["spec"]["fieldOfTomorrow"] = json!({ "a": 1 });
    raw["spec"]["initContainers"] = json!([]);
    let enabled = labels(&[("istio-injection", "enabled")]);
    let target = Target { namespace: "default", namespace_labels: Some(&enabled) };
    let (decision, patch) = admission_patch(&raw, &target, &InjectConfig::default()).unwrap();
    assert!(decision.inject);
    let mut patched = raw.clone();
    json_patch::patch(&mut patched, &patch.unwrap().0).unwrap();
    assert_eq!(patched["spec"]["fieldOfTomorrow"], json!({ "a": 1 }));
    assert_eq!(pod(patched), injected(&pod(raw), &InjectConfig::default()));
}

#[test]
fn proxy_configs_lie_between_the_meshs_default_and_the_annotation_unless_they_select_the_pod() {
    let proxy_config = |namespace: &str, spec: Value| -> lateen_api::ProxyConfig {
        let metadata = json!({ "name": "p", "namespace": namespace });
        serde_json::from_value(json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "ProxyConfig", "metadata": metadata, "spec": spec,
        }))
        .unwrap()
    };
    let selected = json!({ "matchLabels": { "app": "reviews" } });
    let config = InjectConfig {
        default_config: [("concurrency".to_owned(), json!(1)), ("statusPort".to_owned(), json!(15020))]
            .into_iter()
            .collect(),
        proxy_configs: [
            proxy_config("istio-system", json!({ "environmentVariables": { "A": "mesh", "B": "mesh" } })),
            proxy_config(
                "default",
                json!({ "concurrency": 2, "environmentVariables": { "B": "namespace" } }),
            ),
            proxy_config("default", json!({ "selector": selected, "environmentVariables": { "C": "pod" } })),
            proxy_config("elsewhere", json!({ "concurrency": 9 })),
        ]
        .into(),
        ..InjectConfig::default()
    };
    let note = "concurrency: 3\nproxyMetadata: {C: annotation, D: annotation}";
    let pod = annotated(&[("proxy.istio.io/config", note)]);
    let injected =
        inject(&pod, &Target { namespace: "default", namespace_labels: None }, &config).unwrap().pod;
    let proxy = injected.spec.unwrap().containers.into_iter().find(|c| c.name == "istio-proxy").unwrap();
    let value = |name: &str| {
        proxy.env.iter().flatten().find(|e| e.name == name).and_then(|e| e.value.clone()).unwrap_or_default()
    };
    assert_eq!(["A", "B", "C", "D"].map(value), ["mesh", "namespace", "pod", "annotation"]);
    let effective: Value = serde_json::from_str(&value("PROXY_CONFIG")).unwrap();
    assert_eq!((&effective["concurrency"], &effective["statusPort"]), (&json!(3), &json!(15020)));
}
