//! Injecting what has been injected.

use super::*;

const BY_HAND: Target<'_> = Target { namespace: "default", namespace_labels: None };

/// A pod with everything that injection changes.
fn rich() -> Value {
    let mut value = reviews();
    value["metadata"]["annotations"] =
        json!({ "prometheus.io/scrape": "true", "prometheus.io/port": "9080", "prometheus.io/path": "/m" });
    let container = &mut value["spec"]["containers"][0];
    container["livenessProbe"] = json!({ "tcpSocket": { "port": 9080 }, "timeoutSeconds": 1 });
    container["startupProbe"] = json!({ "grpc": { "port": 9080, "service": "" }, "timeoutSeconds": 1 });
    value["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": "istio-proxy", "image": "auto", "env": [{ "name": "MINE", "value": "1" }],
    }));
    value["spec"]["volumes"] = json!([{ "name": "istio-data", "emptyDir": { "sizeLimit": "1Gi" } }]);
    value
}

#[test]
fn injecting_again_is_injecting_once() {
    let native = InjectConfig { native_sidecars: true, ..InjectConfig::default() };
    let cni = InjectConfig { cni: true, ..native.clone() };
    for config in [InjectConfig::default(), native, cni] {
        for value in [reviews(), rich()] {
            let once = injected(&pod(value), &config);
            let twice = inject(&once, &BY_HAND, &config).unwrap();
            assert!(twice.decision.inject);
            assert_eq!(json!(twice.pod), json!(once));
            let enabled = labels(&[("istio-injection", "enabled")]);
            let target = Target { namespace: "default", namespace_labels: Some(&enabled) };
            let (_, patch) = admission_patch(&json!(once), &target, &config).unwrap();
            assert!(patch.unwrap().0.is_empty(), "a webhook that is called again changes nothing");
        }
    }
}

#[test]
fn injecting_again_takes_the_settings_of_now() {
    let old = injected(&pod(rich()), &InjectConfig { image: "old:1".into(), ..InjectConfig::default() });
    let new = InjectConfig { native_sidecars: true, ..InjectConfig::default() };
    let again = inject(&old, &BY_HAND, &new).unwrap().pod;
    assert_eq!(json!(again), json!(injected(&pod(rich()), &new)));
}

#[test]
fn what_a_later_webhook_added_is_taken_into_account() {
    let mut once = json!(injected(&pod(reviews()), &InjectConfig::default()));
    once["spec"]["containers"].as_array_mut().unwrap().push(json!({
        "name": "late", "image": "late:1", "ports": [{ "containerPort": 7000 }],
        "livenessProbe": { "httpGet": { "path": "/", "port": 7000 } },
    }));
    let again = injected(&pod(once), &InjectConfig::default());
    assert_eq!(env(&again, "ISTIO_META_APP_CONTAINERS").as_deref(), Some("reviews,late"));
    let probers = env(&again, "ISTIO_KUBE_APP_PROBERS").unwrap();
    assert!(
        probers.contains("/app-health/late/livez") && probers.contains("/app-health/reviews/readyz"),
        "{probers}"
    );
    assert!(
        probers.contains("\"path\":\"/health\""),
        "the application's own probe, not the agent's: {probers}"
    );
}

#[test]
fn a_sidecar_of_another_revision_stays() {
    let canary = InjectConfig { revision: "canary".into(), ..InjectConfig::default() };
    let theirs = inject(&pod(reviews()), &BY_HAND, &canary).unwrap().pod;
    let injection = inject(&theirs, &BY_HAND, &InjectConfig::default()).unwrap();
    assert!(
        !injection.decision.inject && injection.decision.reason.contains("canary"),
        "{}",
        injection.decision.reason
    );
    assert_eq!(injection.pod, theirs);
}
