//! Validation of pod specs, in pods and templates.

use std::collections::HashSet;

use serde_json::Value;

use super::{names, quantity};
use crate::object;
use crate::status::{FieldError, Reason};

/// Checks a pod spec that stands at `at`.
pub fn spec(spec: &Value, at: &str, errors: &mut Vec<FieldError>) {
    if object::list(spec, &["containers"]).is_empty() {
        errors.push(FieldError::required(format!("{at}.containers"), ""));
    }
    let volumes = volumes(spec, at, errors);
    let mut seen = HashSet::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in object::list(spec, &[list]).iter().enumerate() {
            let path = format!("{at}.{list}[{index}]");
            let name = object::text(container, &["name"]);
            self::container(container, &path, &volumes, errors);
            if !name.is_empty() && !seen.insert(name.to_owned()) {
                let error = FieldError::new(format!("{path}.name"), Reason::Duplicate, "");
                errors.push(FieldError { value: Some(name.into()), ..error });
            }
        }
    }
    let policy = object::text(spec, &["restartPolicy"]);
    one_of(policy, &["Always", "OnFailure", "Never"], &format!("{at}.restartPolicy"), errors);
    let dns = object::text(spec, &["dnsPolicy"]);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(dns, &policies, &format!("{at}.dnsPolicy"), errors);
    if let Some(account) = spec.get("serviceAccountName").and_then(Value::as_str)
        && let Some(error) = (!account.is_empty()).then(|| names::subdomain(account)).flatten()
    {
        errors.push(FieldError::invalid(format!("{at}.serviceAccountName"), account, error));
    }
    if object::int(spec, &["terminationGracePeriodSeconds"]).is_some_and(|n| n < 0) {
        let value = spec["terminationGracePeriodSeconds"].clone();
        let path = format!("{at}.terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(path, value, "must be greater than or equal to 0"));
    }
}

fn one_of(value: &str, allowed: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    if !value.is_empty() && !allowed.contains(&value) {
        errors.push(FieldError::unsupported(path, value, allowed));
    }
}

fn volumes(spec: &Value, at: &str, errors: &mut Vec<FieldError>) -> HashSet<String> {
    let mut seen = HashSet::new();
    for (index, volume) in object::list(spec, &["volumes"]).iter().enumerate() {
        let path = format!("{at}.volumes[{index}]");
        let name = object::text(volume, &["name"]);
        label_name(name, &path, errors);
        if !name.is_empty() && !seen.insert(name.to_owned()) {
            let error = FieldError::new(format!("{path}.name"), Reason::Duplicate, "");
            errors.push(FieldError { value: Some(name.into()), ..error });
        }
        if volume.as_object().is_some_and(|v| v.keys().filter(|k| *k != "name").count() > 1) {
            let path = format!("{path}.{}", second_source(volume));
            errors.push(FieldError::new(path, Reason::Forbidden, "may not specify more than 1 volume type"));
        }
    }
    seen
}

fn second_source(volume: &Value) -> &str {
    let keys = volume.as_object().map(|v| v.keys().filter(|k| *k != "name").nth(1));
    keys.flatten().map_or("", String::as_str)
}

fn label_name(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else if let Some(error) = names::label(name) {
        errors.push(FieldError::invalid(format!("{path}.name"), name, error));
    }
}

fn container(container: &Value, path: &str, volumes: &HashSet<String>, errors: &mut Vec<FieldError>) {
    label_name(object::text(container, &["name"]), path, errors);
    if object::text(container, &["image"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    for (index, port) in object::list(container, &["ports"]).iter().enumerate() {
        let path = format!("{path}.ports[{index}]");
        match object::int(port, &["containerPort"]) {
            None => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            Some(number) => port_number(number, &format!("{path}.containerPort"), errors),
        }
        one_of(
            object::text(port, &["protocol"]),
            &["SCTP", "TCP", "UDP"],
            &format!("{path}.protocol"),
            errors,
        );
    }
    for (index, env) in object::list(container, &["env"]).iter().enumerate() {
        if object::text(env, &["name"]).is_empty() {
            errors.push(FieldError::required(format!("{path}.env[{index}].name"), ""));
        }
    }
    for (index, mount) in object::list(container, &["volumeMounts"]).iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let name = object::text(mount, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !volumes.contains(name) {
            let error = FieldError::new(format!("{path}.name"), Reason::NotFound, "");
            errors.push(FieldError { value: Some(name.into()), ..error });
        }
        if object::text(mount, &["mountPath"]).is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        }
    }
    let pull = object::text(container, &["imagePullPolicy"]);
    one_of(pull, &["Always", "IfNotPresent", "Never"], &format!("{path}.imagePullPolicy"), errors);
    resources(container, path, errors);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        for action in ["httpGet", "tcpSocket", "grpc"] {
            if let Some(port) = object::int(container, &[probe, action, "port"]) {
                port_number(port, &format!("{path}.{probe}.{action}.port"), errors);
            }
        }
    }
}

/// No more may be asked for than is allowed.
fn resources(container: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let requests = object::at(container, &["resources", "requests"]).and_then(Value::as_object);
    for (name, request) in requests.into_iter().flatten() {
        let Some(limit) = object::at(container, &["resources", "limits", name]) else { continue };
        let (request, limit) = (text(request), text(limit));
        if quantity::parse(&request) > quantity::parse(&limit) {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(format!("{path}.resources.requests"), request, detail));
        }
    }
}

/// Checks a port number.
pub fn port_number(number: i64, path: &str, errors: &mut Vec<FieldError>) {
    if !(1..=65535).contains(&number) {
        errors.push(FieldError::invalid(path, number, "must be between 1 and 65535, inclusive"));
    }
}

/// Checks what may change in a pod that exists.
pub fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let fixed = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        if let Some(map) = spec.as_object_mut() {
            for field in [
                "activeDeadlineSeconds",
                "tolerations",
                "terminationGracePeriodSeconds",
                "ephemeralContainers",
                "schedulingGates",
                "nodeName",
            ] {
                map.shift_remove(field);
            }
        }
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                for field in ["image", "resources"] {
                    object::remove(container, &[field]);
                }
            }
        }
        spec
    };
    let node = |object: &Value| object::text(object, &["spec", "nodeName"]).to_owned();
    let moved = !node(old).is_empty() && node(old) != node(new);
    if moved || fixed(old) != fixed(new) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,\
            `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
            existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously \
            negative)";
        errors.push(FieldError::new("spec", Reason::Forbidden, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(value: Value) -> Vec<String> {
        let mut errors = Vec::new();
        spec(&value, "spec", &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn broken_pods_are_told_field_by_field() {
        assert_eq!(errors(json!({})), ["spec.containers: Required value"]);
        let containers = json!([{"name": "A", "ports": [{"containerPort": 70000}], "volumeMounts":
            [{"name": "none", "mountPath": "/x"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1001m"}}}]);
        let told = errors(json!({"containers": containers, "restartPolicy": "Sometimes"}));
        assert_eq!(told.len(), 6);
        assert!(
            told[0].starts_with("spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label")
        );
        assert_eq!(told[1], "spec.containers[0].image: Required value");
        assert!(
            told[2].ends_with("containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive")
        );
        assert_eq!(told[3], "spec.containers[0].volumeMounts[0].name: Not found: \"none\"");
        assert!(told[4].ends_with("Invalid value: \"1001m\": must be less than or equal to cpu limit of 1"));
        assert!(
            told[5].starts_with("spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: ")
        );
    }
}
