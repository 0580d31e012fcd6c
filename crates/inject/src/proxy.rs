//! The sidecar's container.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde_json::{Map, Value, json};

use crate::annotations::{
    self, AGENT_LOG_LEVEL, COMPONENT_LOG_LEVEL, LOG_LEVEL, PROXY_CPU, PROXY_CPU_LIMIT, PROXY_IMAGE,
    PROXY_MEMORY, PROXY_MEMORY_LIMIT, READINESS_FAILURES, READINESS_INITIAL_DELAY, READINESS_PERIOD,
};
use crate::environment::{self, Contributions};
use crate::settings::{Interception, Settings, Template};
use crate::{InjectConfig, InjectError, PROXY_CONTAINER, merge, volumes};

/// Image name that stands for "the injector's image" in a user's own `istio-proxy` container.
const AUTO_IMAGE: &str = "auto";
const PROXY_ID: i64 = 1337;
/// Longest delay, period or count that a readiness annotation may set.
const MAX_READINESS: u32 = 86_400;

/// The image of the sidecar and of the init container.
pub(crate) fn image<'a>(settings: &Settings<'a>) -> &'a str {
    settings.text(PROXY_IMAGE, &settings.config.image)
}

/// Builds the container and lays the user's own `istio-proxy`, if the pod has one, over it.
pub(crate) fn container(
    settings: &Settings<'_>,
    spec: &PodSpec,
    own: Option<&Container>,
    contributed: &Contributions,
) -> Result<Container, InjectError> {
    let config = settings.config;
    let mut container = json!({
        "name": PROXY_CONTAINER,
        "image": image(settings),
        "args": arguments(settings),
        "env": environment::variables(settings, spec, contributed),
        "ports": [{ "name": "http-envoy-prom", "containerPort": config.ports.prometheus, "protocol": "TCP" }],
        "resources": resources(settings)?,
        "securityContext": security(settings),
        "volumeMounts": volumes::mounts(settings)?,
    });
    if !config.image_pull_policy.is_empty() {
        container["imagePullPolicy"] = json!(config.image_pull_policy);
    }
    if settings.status_port != 0 {
        container["readinessProbe"] = readiness(settings)?;
        container["startupProbe"] =
            probe(config.ports.readiness, &[("periodSeconds", 1), ("failureThreshold", 600)]);
    }
    if settings.native {
        container["restartPolicy"] = json!("Always");
    } else if settings.holds_application {
        container["lifecycle"] =
            json!({ "postStart": { "exec": { "command": ["lateen", "agent", "wait"] } } });
    }
    if let (Value::Object(below), Some(own)) = (&mut container, own) {
        merge::overlay(below, own_fields(own)?);
    }
    Ok(serde_json::from_value(container)?)
}

/// The fields of the user's own `istio-proxy`, to be laid over the injected one.
pub(crate) fn own_fields(own: &Container) -> Result<Map<String, Value>, InjectError> {
    let Value::Object(mut fields) = serde_json::to_value(own)? else {
        return Ok(Map::new());
    };
    if fields.get("image").and_then(Value::as_str) == Some(AUTO_IMAGE) {
        fields.remove("image");
    }
    Ok(fields)
}

fn arguments(settings: &Settings<'_>) -> Vec<String> {
    let role = match settings.template {
        Template::Gateway => "router",
        _ => "sidecar",
    };
    vec![
        "agent".to_owned(),
        role.to_owned(),
        "--domain".to_owned(),
        format!("$(POD_NAMESPACE).svc.{}", settings.config.cluster_domain),
        format!("--proxyLogLevel={}", settings.text(LOG_LEVEL, &settings.config.log_level)),
        format!(
            "--proxyComponentLogLevel={}",
            settings.text(COMPONENT_LOG_LEVEL, &settings.config.component_log_level)
        ),
        format!("--log_output_level={}", settings.text(AGENT_LOG_LEVEL, "default:info")),
    ]
}

/// Istio's rule: one resource annotation on the pod replaces the mesh's defaults altogether.
pub(crate) fn resources(settings: &Settings<'_>) -> Result<Value, InjectError> {
    let defaults = &settings.config.resources;
    let annotated = [PROXY_CPU, PROXY_MEMORY, PROXY_CPU_LIMIT, PROXY_MEMORY_LIMIT];
    let own = annotated.iter().any(|name| annotations::get(settings.pod, name).is_some());
    let value = |name, default| settings.text(name, if own { "" } else { default });
    let mut result = json!({});
    let quantities = [
        ("requests", "cpu", PROXY_CPU, value(PROXY_CPU, &defaults.cpu_request)),
        ("requests", "memory", PROXY_MEMORY, value(PROXY_MEMORY, &defaults.memory_request)),
        ("limits", "cpu", PROXY_CPU_LIMIT, value(PROXY_CPU_LIMIT, &defaults.cpu_limit)),
        ("limits", "memory", PROXY_MEMORY_LIMIT, value(PROXY_MEMORY_LIMIT, &defaults.memory_limit)),
    ];
    for (part, resource, name, quantity) in quantities {
        if quantity.is_empty() {
            continue;
        }
        if !is_quantity(quantity) {
            return Err(InjectError::annotation(name, quantity, "must be a quantity, like 100m or 128Mi"));
        }
        result[part][resource] = json!(quantity);
    }
    Ok(result)
}

/// Kubernetes' quantities: a decimal number and a suffix.
fn is_quantity(text: &str) -> bool {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|rest| rest.parse::<i8>().is_ok());
    let known = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    number.parse::<f64>().is_ok() && (exponent || known.contains(&suffix))
}

fn security(settings: &Settings<'_>) -> Value {
    match (settings.interception, settings.template) {
        // A transparent proxy binds foreign addresses, which takes a capability and so root.
        (Interception::Tproxy, _) => json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": PROXY_ID,
            "runAsNonRoot": false,
            "runAsUser": 0,
        }),
        _ => unprivileged(settings.config),
    }
}

/// The security context of a container that needs no privilege. Where no other container of the injector needs one, it
/// passes the `restricted` Pod Security level.
pub(crate) fn unprivileged(config: &InjectConfig) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsGroup": PROXY_ID,
        "runAsNonRoot": true,
        "runAsUser": PROXY_ID,
    });
    if config.cni {
        context["seccompProfile"] = json!({ "type": "RuntimeDefault" });
    }
    context
}

fn readiness(settings: &Settings<'_>) -> Result<Value, InjectError> {
    let number = |name, default| annotations::number(settings.pod, name, MAX_READINESS, default);
    let defaults = settings.config.readiness;
    let delay = number(READINESS_INITIAL_DELAY, defaults.initial_delay_seconds)?;
    let period = number(READINESS_PERIOD, defaults.period_seconds)?;
    let failures = number(READINESS_FAILURES, defaults.failure_threshold)?;
    let mut probe = probe(
        settings.config.ports.readiness,
        &[("periodSeconds", period.max(1)), ("failureThreshold", failures.max(1))],
    );
    if delay > 0 {
        probe["initialDelaySeconds"] = json!(delay);
    }
    Ok(probe)
}

fn probe(port: u16, numbers: &[(&str, u32)]) -> Value {
    let mut probe = json!({ "httpGet": { "path": "/healthz/ready", "port": port }, "timeoutSeconds": 3 });
    for (name, number) in numbers {
        probe[*name] = json!(number);
    }
    probe
}
