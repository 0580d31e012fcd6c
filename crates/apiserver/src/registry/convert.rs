//! Old versions and groups of built-in resources, converted to and from the stored form.

use serde_json::{Map, Value, json};

use super::Conversion;
use crate::object;

/// An old or second name of a built-in resource.
pub struct Alias {
    /// Its group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The resource, named alike in both groups.
    pub plural: &'static str,
    /// The group that stores it.
    pub of: &'static str,
    /// Whether users should be told to move on.
    pub old: bool,
    /// Difference to the stored form.
    pub conversion: Conversion,
}

const fn old(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    of: &'static str,
    conversion: Conversion,
) -> Alias {
    Alias { group, version, plural, of, old: true, conversion }
}

fn same(_: &mut Value) {}

const SAME: Conversion = Conversion { up: same, down: same };
const WORKLOAD: Conversion = Conversion { up: workload_up, down: same };
const INGRESS: Conversion = Conversion { up: ingress_up, down: ingress_down };
const EVENT: Conversion = Conversion { up: event_up, down: event_down };
const HPA_V1: Conversion = Conversion { up: hpa_v1_up, down: hpa_v1_down };
const HPA_V2BETA1: Conversion = Conversion { up: hpa_v2beta1_up, down: hpa_v2beta1_down };
const WEBHOOK: Conversion = Conversion { up: webhook_up, down: same };

/// Every alias.
pub static ALIASES: &[Alias] = &[
    old("extensions", "v1beta1", "deployments", "apps", WORKLOAD),
    old("extensions", "v1beta1", "daemonsets", "apps", WORKLOAD),
    old("extensions", "v1beta1", "replicasets", "apps", WORKLOAD),
    old("extensions", "v1beta1", "ingresses", "networking.k8s.io", INGRESS),
    old("extensions", "v1beta1", "networkpolicies", "networking.k8s.io", SAME),
    old("apps", "v1beta1", "deployments", "apps", WORKLOAD),
    old("apps", "v1beta1", "statefulsets", "apps", WORKLOAD),
    old("apps", "v1beta2", "deployments", "apps", WORKLOAD),
    old("apps", "v1beta2", "daemonsets", "apps", WORKLOAD),
    old("apps", "v1beta2", "replicasets", "apps", WORKLOAD),
    old("apps", "v1beta2", "statefulsets", "apps", WORKLOAD),
    old("networking.k8s.io", "v1beta1", "ingresses", "networking.k8s.io", INGRESS),
    old("networking.k8s.io", "v1beta1", "ingressclasses", "networking.k8s.io", SAME),
    old("policy", "v1beta1", "poddisruptionbudgets", "policy", SAME),
    old("batch", "v1beta1", "cronjobs", "batch", SAME),
    old("rbac.authorization.k8s.io", "v1beta1", "roles", "rbac.authorization.k8s.io", SAME),
    old("rbac.authorization.k8s.io", "v1beta1", "rolebindings", "rbac.authorization.k8s.io", SAME),
    old("rbac.authorization.k8s.io", "v1beta1", "clusterroles", "rbac.authorization.k8s.io", SAME),
    old("rbac.authorization.k8s.io", "v1beta1", "clusterrolebindings", "rbac.authorization.k8s.io", SAME),
    old(
        "admissionregistration.k8s.io",
        "v1beta1",
        "mutatingwebhookconfigurations",
        "admissionregistration.k8s.io",
        WEBHOOK,
    ),
    old(
        "admissionregistration.k8s.io",
        "v1beta1",
        "validatingwebhookconfigurations",
        "admissionregistration.k8s.io",
        WEBHOOK,
    ),
    old("autoscaling", "v2beta2", "horizontalpodautoscalers", "autoscaling", SAME),
    old("autoscaling", "v2beta1", "horizontalpodautoscalers", "autoscaling", HPA_V2BETA1),
    Alias {
        group: "autoscaling",
        version: "v1",
        plural: "horizontalpodautoscalers",
        of: "autoscaling",
        old: false,
        conversion: HPA_V1,
    },
    Alias { group: "events.k8s.io", version: "v1", plural: "events", of: "", old: false, conversion: EVENT },
];

/// Old workloads need no selector: it is the template's labels; and they name fields that are gone.
fn workload_up(object: &mut Value) {
    let labels = object::at(object, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels
        && object::at(object, &["spec", "selector"]).is_none_or(Value::is_null)
    {
        object::map_mut(object, &["spec"]).insert("selector".into(), json!({"matchLabels": labels}));
    }
    object::remove(object, &["spec", "rollbackTo"]);
    object::remove(object, &["spec", "templateGeneration"]);
}

/// `serviceName`/`servicePort` became `service.name`/`service.port`.
fn ingress_up(object: &mut Value) {
    let up = |backend: &mut Value| {
        let Some(name) = backend.get("serviceName").cloned() else { return };
        let port = match backend.get("servicePort") {
            Some(number @ Value::Number(_)) => json!({"number": number}),
            Some(name) => json!({"name": name}),
            None => json!({}),
        };
        *backend = json!({"service": {"name": name, "port": port}});
    };
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(mut backend) = spec.shift_remove("backend") {
            up(&mut backend);
            spec.insert("defaultBackend".into(), backend);
        }
        each_path(spec, |path| {
            object::default(path, "pathType", "ImplementationSpecific");
            if let Some(backend) = path.get_mut("backend") {
                up(backend);
            }
        });
    }
}

fn ingress_down(object: &mut Value) {
    let down = |backend: &mut Value| {
        let Some(service) = backend.get("service").cloned() else { return };
        let port = service.pointer("/port/number").or(service.pointer("/port/name")).cloned();
        *backend = json!({"serviceName": service["name"], "servicePort": port});
    };
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(mut backend) = spec.shift_remove("defaultBackend") {
            down(&mut backend);
            spec.insert("backend".into(), backend);
        }
        each_path(spec, |path| {
            if let Some(backend) = path.get_mut("backend") {
                down(backend);
            }
        });
    }
}

fn each_path(spec: &mut Map<String, Value>, mut visit: impl FnMut(&mut Map<String, Value>)) {
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        let paths = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut);
        for path in paths.into_iter().flatten().filter_map(Value::as_object_mut) {
            visit(path);
        }
    }
}

/// Fields of events that the two groups name differently: (events.k8s.io, core).
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

fn rename(object: &mut Value, pairs: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in pairs {
        if let Some(value) = map.shift_remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

fn event_up(object: &mut Value) {
    rename(object, EVENT_FIELDS.iter().copied());
}

fn event_down(object: &mut Value) {
    rename(object, EVENT_FIELDS.iter().map(|(new, core)| (*core, *new)));
}

fn hpa_v1_up(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(percent) = spec.shift_remove("targetCPUUtilizationPercentage") {
        spec.insert("metrics".into(), json!([cpu(&percent)]));
    }
}

fn cpu(percent: &Value) -> Value {
    json!({"type": "Resource", "resource":
        {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

fn hpa_v1_down(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = spec.shift_remove("metrics");
        let percent = metrics.as_ref().and_then(|m| m.pointer("/0/resource/target/averageUtilization"));
        if let Some(percent) = percent.cloned() {
            spec.insert("targetCPUUtilizationPercentage".into(), percent);
        }
        spec.shift_remove("behavior");
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.shift_remove("currentMetrics");
        status.shift_remove("conditions");
    }
}

fn hpa_v2beta1_up(object: &mut Value) {
    for metric in object.pointer_mut("/spec/metrics").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(resource) = metric.get_mut("resource").and_then(Value::as_object_mut) else { continue };
        if let Some(percent) = resource.shift_remove("targetAverageUtilization") {
            resource.insert("target".into(), json!({"type": "Utilization", "averageUtilization": percent}));
        } else if let Some(value) = resource.shift_remove("targetAverageValue") {
            resource.insert("target".into(), json!({"type": "AverageValue", "averageValue": value}));
        }
    }
}

fn hpa_v2beta1_down(object: &mut Value) {
    for metric in object.pointer_mut("/spec/metrics").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(resource) = metric.get_mut("resource").and_then(Value::as_object_mut) else { continue };
        if let Some(target) = resource.shift_remove("target") {
            let fields =
                [("averageUtilization", "targetAverageUtilization"), ("averageValue", "targetAverageValue")];
            for (from, to) in fields {
                if let Some(value) = target.get(from) {
                    resource.insert(to.into(), value.clone());
                }
            }
        }
    }
}

/// v1beta1 webhooks need not say what v1 requires.
fn webhook_up(object: &mut Value) {
    for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(webhook) = webhook.as_object_mut() {
            object::default(webhook, "failurePolicy", "Ignore");
            object::default(webhook, "matchPolicy", "Exact");
            object::default(webhook, "sideEffects", "Unknown");
            object::default(webhook, "timeoutSeconds", 30);
            object::default(webhook, "admissionReviewVersions", json!(["v1beta1"]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_deployment_gets_its_selector_from_the_template() {
        let mut object = json!({"spec": {"template": {"metadata": {"labels": {"app": "a"}}}}});
        workload_up(&mut object);
        assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"app": "a"}}));
    }

    #[test]
    fn an_old_ingress_goes_up_and_comes_down_again() {
        let path = json!({"path": "/", "backend": {"serviceName": "s", "servicePort": 80}});
        let mut object = json!({"spec": {"rules": [{"http": {"paths": [path]}}]}});
        ingress_up(&mut object);
        let backend = &object["spec"]["rules"][0]["http"]["paths"][0]["backend"];
        assert_eq!(*backend, json!({"service": {"name": "s", "port": {"number": 80}}}));
        ingress_down(&mut object);
        let backend = &object["spec"]["rules"][0]["http"]["paths"][0]["backend"];
        assert_eq!(*backend, json!({"serviceName": "s", "servicePort": 80}));
    }
}
