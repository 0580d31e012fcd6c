//! The operator's own templates, and the pods that cannot be injected.

use super::*;

fn with_templates(templates: &str) -> InjectConfig {
    let mut config = InjectConfig::default();
    config
        .overlay_values(&format!(
            "global: {{network: n1}}\nsidecarInjectorWebhook:\n  templates:\n{templates}"
        ))
        .unwrap();
    config
}

fn refused(pod: &Pod, config: &InjectConfig) -> String {
    inject(pod, &Target { namespace: "default", namespace_labels: None }, config).unwrap_err().to_string()
}

const CUSTOM: &str = r#"
    custom: |
      metadata:
        labels:
          team: {{ index .ObjectMeta.Labels "app" }}
      spec:
        containers:
        - name: istio-proxy
          env:
          - name: GREETING
            value: hello {{ .DeploymentMeta.Name }}, {{ .Values.global.network | quote }}
        - name: extra
          image: extra:{{ annotation .ObjectMeta `extra/tag` "1" }}
        volumes:
        - name: scratch
          emptyDir: {}
    evil: |
      spec: {hostNetwork: {{ .ObjectMeta.Annotations.x }}}
"#;

#[test]
fn a_custom_template_is_laid_over_the_sidecar_and_the_users_container_over_both() {
    let config = with_templates(CUSTOM);
    let mut value = reviews();
    value["metadata"]["annotations"] = json!({ "inject.istio.io/templates": "sidecar, custom" });
    value["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": "istio-proxy", "image": "auto", "env": [{ "name": "MINE", "value": "1" }],
    }));
    let pod = injected(&pod(value), &config);
    assert_eq!(env(&pod, "GREETING").as_deref(), Some("hello reviews-v1, n1"));
    assert_eq!(env(&pod, "MINE").as_deref(), Some("1"));
    assert_eq!(container(&pod, "extra").image.as_deref(), Some("extra:1"));
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["team"], "reviews");
    let status: Value =
        serde_json::from_str(&pod.metadata.annotations.as_ref().unwrap()["sidecar.istio.io/status"]).unwrap();
    assert_eq!(status["containers"], json!(["istio-proxy", "extra"]));
    assert!(status["volumes"].as_array().unwrap().contains(&json!("scratch")));
    let again = inject(&pod, &Target { namespace: "default", namespace_labels: None }, &config).unwrap();
    assert_eq!(json!(again.pod), json!(pod), "injecting twice is injecting once");
}

#[test]
fn a_custom_template_alone_adds_no_proxy() {
    let config = with_templates("    note: |\n      metadata: {annotations: {seen: \"{{ .Revision }}\"}}\n");
    let pod = injected(&annotated(&[("inject.istio.io/templates", "note")]), &config);
    assert_eq!(pod.metadata.annotations.as_ref().unwrap()["seen"], "default");
    assert_eq!(pod.spec.as_ref().unwrap().containers.len(), 1);
    assert!(pod.spec.as_ref().unwrap().init_containers.is_none());
}

#[test]
fn values_of_the_pod_cannot_change_what_a_template_says() {
    let config = with_templates(CUSTOM);
    let pod = annotated(&[("inject.istio.io/templates", "evil"), ("x", "true, hostPID: true")]);
    assert!(refused(&pod, &config).contains("templates.evil: makes no pod"), "{}", refused(&pod, &config));
}

#[test]
fn templates_that_are_not_there_or_not_understood_are_named() {
    let config = with_templates(CUSTOM);
    let unknown = refused(&annotated(&[("inject.istio.io/templates", "sidecar,custom2")]), &config);
    assert!(unknown.contains("\"custom2\"; there is: sidecar, gateway, custom, evil"), "{unknown}");
    let both = refused(&annotated(&[("inject.istio.io/templates", "sidecar,gateway")]), &config);
    assert!(both.contains("either"), "{both}");
    let mut config = InjectConfig::default();
    let before = config.clone();
    let go = "sidecarInjectorWebhook: {templates: {x: \"{{ if .Values }}a: 1{{ end }}\"}}";
    let error = config.overlay_values(go).unwrap_err().to_string();
    assert!(error.contains("sidecarInjectorWebhook.templates.x: {{ if .Values }}"), "{error}");
    assert_eq!(config, before, "nothing is changed");
}

#[test]
fn templates_of_the_mesh_are_those_of_pods_that_name_none() {
    let mut config = with_templates(CUSTOM);
    config.default_templates = vec!["sidecar".into(), "custom".into()];
    assert_eq!(env(&injected(&pod(reviews()), &config), "GREETING").as_deref(), Some("hello reviews-v1, n1"));
}

#[test]
fn a_broken_proxy_config_refuses_the_pod_and_names_the_field() {
    for (text, field) in [
        ("concurrency: many", "concurrency"),
        ("tracing: {zipkin: {address: [1]}}", "tracing.zipkin.address"),
        ("holdApplicationUntilProxyStart: true", "holdApplicationUntilProxyStart"),
        ("interceptionMode: SOMETIMES", "interceptionMode"),
        ("proxyMetadata: [A]", "proxyMetadata"),
        ("terminationDrainDuration: soon", "terminationDrainDuration"),
    ] {
        let error = refused(&annotated(&[("proxy.istio.io/config", text)]), &InjectConfig::default());
        assert!(error.contains("proxy.istio.io/config") && error.contains(field), "{error}");
    }
    let snake = annotated(&[("proxy.istio.io/config", "hold_application_until_proxy_starts: true")]);
    assert_eq!(injected(&snake, &InjectConfig::default()).spec.unwrap().containers[0].name, "istio-proxy");
}

#[test]
fn pods_that_cannot_be_captured_are_told_from_those_that_need_not() {
    let decide = |value: &Value, space: &[(&str, &str)]| {
        let space = labels(space);
        let target = Target { namespace: "default", namespace_labels: Some(&space) };
        let decision = crate::decide(&pod(value.clone()), &target, &InjectConfig::default());
        assert!(!decision.inject);
        decision
    };
    let mut host = reviews();
    host["spec"]["hostNetwork"] = json!(true);
    let mut windows = reviews();
    windows["spec"]["os"] = json!({ "name": "windows" });
    for pod in [&host, &windows] {
        assert!(decide(pod, &[("istio-injection", "enabled")]).impossible);
        assert!(!decide(pod, &[]).impossible, "nobody asked");
    }
}

#[test]
fn a_tag_selects_the_revision_that_it_leads_to() {
    let canary = |tags: &[&str]| InjectConfig {
        revision: "canary".into(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..InjectConfig::default()
    };
    let selected = |space: &[(&str, &str)], config: &InjectConfig| {
        let space = labels(space);
        crate::decide(
            &pod(reviews()),
            &Target { namespace: "default", namespace_labels: Some(&space) },
            config,
        )
        .inject
    };
    assert!(selected(&[("istio.io/rev", "prod")], &canary(&["prod"])));
    assert!(!selected(&[("istio.io/rev", "prod")], &canary(&["test"])));
    assert!(selected(&[("istio-injection", "enabled")], &canary(&["default"])));
    assert!(!selected(&[("istio-injection", "enabled")], &canary(&["prod"])));
}
