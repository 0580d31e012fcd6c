//! Smaller kinds: leases, quotas, autoscalers, disruption budgets, classes, signing requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::object;
use crate::registry::Behaviour;
use crate::status::FieldError;
use crate::table::{self, AGE, Column, col, count, num};

/// Leases.
pub static LEASE: Behaviour = Behaviour {
    columns: &[col("Holder"), AGE],
    row: |object| vec![object::text(object, &["spec", "holderIdentity"]).into()],
    ..Behaviour::PLAIN
};

/// Limit ranges.
pub static LIMIT_RANGE: Behaviour = Behaviour {
    columns: &[col("Created At")],
    row: |object| vec![object::meta(object, "creationTimestamp").into()],
    ..Behaviour::PLAIN
};

/// Resource quotas.
pub static RESOURCE_QUOTA: Behaviour =
    Behaviour { columns: &[col("Request"), col("Limit"), AGE], row: quota_row, ..Behaviour::PLAIN };

/// Horizontal pod autoscalers.
pub static AUTOSCALER: Behaviour = Behaviour {
    default: |object| {
        object::default(object::map_mut(object, &["spec"]), "minReplicas", 1);
        // Kubernetes writes out that there are no metrics.
        if let Some(status) =
            object.get_mut("status").and_then(Value::as_object_mut).filter(|s| !s.is_empty())
        {
            status.entry("currentMetrics").or_insert(Value::Null);
        }
    },
    validate: check_autoscaler,
    columns: AUTOSCALER_COLUMNS,
    row: autoscaler_row,
    ..Behaviour::PLAIN
};

/// Pod disruption budgets.
pub static DISRUPTION_BUDGET: Behaviour = Behaviour {
    validate: check_budget,
    columns: &[col("Min Available"), col("Max Unavailable"), num("Allowed Disruptions"), AGE],
    row: |object| {
        let show = |field: &str| match object::at(object, &["spec", field]) {
            Some(Value::String(text)) => Value::from(text.as_str()),
            Some(value) => value.to_string().into(),
            None => "N/A".into(),
        };
        vec![show("minAvailable"), show("maxUnavailable"), count(object, &["status", "disruptionsAllowed"])]
    },
    ..Behaviour::PLAIN
};

/// Priority classes.
pub static PRIORITY_CLASS: Behaviour = Behaviour {
    default: |object| {
        if let Some(class) = object.as_object_mut() {
            object::default(class, "preemptionPolicy", "PreemptLowerPriority");
        }
    },
    columns: &[num("Value"), col("Global-Default"), AGE, col("PreemptionPolicy")],
    row: |object| {
        let global = object["globalDefault"].as_bool().unwrap_or_default();
        vec![
            count(object, &["value"]),
            global.to_string().into(),
            object::text(object, &["preemptionPolicy"]).into(),
        ]
    },
    path_names: true,
    ..Behaviour::PLAIN
};

/// Runtime classes.
pub static RUNTIME_CLASS: Behaviour = Behaviour {
    columns: &[col("Handler"), AGE],
    row: |object| vec![object::text(object, &["handler"]).into()],
    ..Behaviour::PLAIN
};

/// Certificate signing requests.
pub static SIGNING_REQUEST: Behaviour = Behaviour {
    validate: check_request,
    columns: SIGNING_COLUMNS,
    row: signing_row,
    path_names: true,
    ..Behaviour::PLAIN
};

/// API services: only what this server itself serves.
pub static API_SERVICE: Behaviour = Behaviour {
    columns: &[col("Service"), col("Available"), AGE],
    row: |_| vec!["Local".into(), "True".into()],
    ..Behaviour::PLAIN
};

const AUTOSCALER_COLUMNS: &[Column] =
    &[col("Reference"), col("Targets"), col("MinPods"), col("MaxPods"), num("Replicas"), AGE];
const SIGNING_COLUMNS: &[Column] =
    &[AGE, col("SignerName"), col("Requestor"), col("RequestedDuration"), col("Condition")];

fn check_autoscaler(object: &Value, errors: &mut Vec<FieldError>) {
    let (least, most) =
        (object::int(object, &["spec", "minReplicas"]), object::int(object, &["spec", "maxReplicas"]));
    let most = most.unwrap_or_default();
    if most < 1 {
        errors.push(FieldError::invalid("spec.maxReplicas", most, "must be greater than 0"));
    }
    if least.is_some_and(|least| most < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", most, detail));
    }
    let target = |field: &str| object::text(object, &["spec", "scaleTargetRef", field]);
    for field in ["kind", "name"] {
        if target(field).is_empty() {
            errors.push(FieldError::required(format!("spec.scaleTargetRef.{field}"), ""));
        }
    }
    let version = target("apiVersion");
    if !version.contains('/') && target("kind") != "ReplicationController" {
        let detail = "apiVersion must specify API group";
        errors.push(FieldError::invalid("spec.scaleTargetRef.apiVersion", version, detail));
    }
}

fn check_request(object: &Value, errors: &mut Vec<FieldError>) {
    let request = object::text(object, &["spec", "request"]);
    let pem = STANDARD.decode(request).unwrap_or_default();
    if !String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE REQUEST-----") {
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(FieldError::invalid("spec.request", request, detail));
    }
    let usages = object::list(object, &["spec", "usages"]);
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| !usage.as_str().is_some_and(is_usage))
    {
        errors.push(FieldError::unsupported(format!("spec.usages[{index}]"), usage.clone(), &USAGES));
    }
    let signer = object::text(object, &["spec", "signerName"]);
    if !signer.split_once('/').is_some_and(|(domain, name)| domain.contains('.') && !name.is_empty()) {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid("spec.signerName", signer, detail));
    }
}

/// What a certificate may be for, in the order in which Kubernetes names them.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn is_usage(usage: &str) -> bool {
    USAGES.contains(&usage)
}

fn check_budget(object: &Value, errors: &mut Vec<FieldError>) {
    let field = |name: &str| object::at(object, &["spec", name]).cloned();
    if let (Some(least), Some(most)) = (field("minAvailable"), field("maxUnavailable")) {
        // Kubernetes shows its own Go value here.
        let value = json!({"MinAvailable": least, "Selector": field("selector"), "MaxUnavailable": most,
            "UnhealthyPodEvictionPolicy": field("unhealthyPodEvictionPolicy")});
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", value, detail));
    }
}

fn quota_row(object: &Value) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let hard = object::at(object, &["spec", "hard"]).and_then(Value::as_object);
    for (name, limit) in hard.into_iter().flatten() {
        let used = object::text(object, &["status", "used", name]);
        let used = if used.is_empty() { "0" } else { used };
        let limit = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
        let list = if name.starts_with("limits.") { &mut limits } else { &mut requests };
        list.push(format!("{name}: {used}/{limit}"));
    }
    vec![requests.join(", ").into(), limits.join(", ").into()]
}

fn autoscaler_row(object: &Value) -> Vec<Value> {
    let target = |field: &str| object::text(object, &["spec", "scaleTargetRef", field]);
    let metrics = object::list(object, &["spec", "metrics"]).iter();
    let metrics: Vec<String> = metrics
        .map(|metric| {
            let name = object::text(metric, &["resource", "name"]);
            let wanted = object::int(metric, &["resource", "target", "averageUtilization"]);
            match wanted {
                Some(percent) => format!("{name}: <unknown>/{percent}%"),
                None => "<unknown>/<auto>".to_owned(),
            }
        })
        .collect();
    vec![
        format!("{}/{}", target("kind"), target("name")).into(),
        table::joined(metrics.iter().map(String::as_str)),
        count(object, &["spec", "minReplicas"]).to_string().into(),
        count(object, &["spec", "maxReplicas"]).to_string().into(),
        count(object, &["status", "currentReplicas"]),
    ]
}

fn signing_row(object: &Value) -> Vec<Value> {
    let conditions = object::list(object, &["status", "conditions"]).iter();
    let mut states: Vec<&str> = conditions.map(|c| object::text(c, &["type"])).collect();
    if states.is_empty() {
        states.push("Pending");
    }
    if !object::text(object, &["status", "certificate"]).is_empty() {
        states.push("Issued");
    }
    let duration = object::int(object, &["spec", "expirationSeconds"]);
    let duration = duration.map_or(json!("<none>"), |s| table::human_duration(s).into());
    vec![
        object::text(object, &["spec", "signerName"]).into(),
        object::text(object, &["spec", "username"]).into(),
        duration,
        states.join(",").into(),
    ]
}
