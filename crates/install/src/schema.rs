//! `values.schema.json`: the shape of the default values, and rules that the defaults cannot tell.

use serde_json::{Map, Value, json};

const DNS_LABEL: &str = "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$";
const DNS_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
const IMAGE_NAME: &str = "^[a-z0-9]([-a-z0-9._/]*[a-z0-9])?$";
/// What may stand in a quoted text of a template.
const NO_QUOTES: &str = r#"^[^"\\\n{}]*$"#;
const QUANTITY: &str = "^[0-9.]+([eE][0-9]+|m|k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// The schema of a chart whose default values these are.
pub fn schema(defaults: &Value) -> Value {
    let mut schema = infer(defaults, "");
    if let Value::Object(map) = &mut schema {
        map.shift_insert(0, "$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    }
    schema
}

fn infer(value: &Value, path: &str) -> Value {
    if let Some(rule) = rule(path) {
        return rule;
    }
    match value {
        Value::Object(map) if map.is_empty() => json!({ "type": "object" }),
        Value::Object(map) => {
            let properties: Map<String, Value> = map
                .iter()
                .map(|(key, value)| (key.clone(), infer(value, &format!("{path}.{key}"))))
                .collect();
            json!({ "type": "object", "properties": properties, "additionalProperties": false })
        }
        Value::Array(_) => json!({ "type": "array" }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "integer", "minimum": 0 }),
        Value::String(_) | Value::Null => json!({ "type": "string", "pattern": NO_QUOTES }),
    }
}

/// The rule of a value by the end of its path.
fn rule(path: &str) -> Option<Value> {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let one_of = |choices: &[&str]| json!({ "type": "string", "enum": choices });
    let texts = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let objects = || json!({ "type": "array", "items": { "type": "object" } });
    let strings = || json!({ "type": "array", "items": { "type": "string" } });
    let scalar = || json!({ "type": ["string", "integer"], "pattern": "^[0-9]+%?$", "minimum": 0 });
    let rules = [
        (".revision", text(DNS_LABEL)),
        (".defaultRevision", text(DNS_LABEL)),
        (".name", text(DNS_LABEL)),
        (".global.hub", text("^[A-Za-z0-9]([-A-Za-z0-9._:/]*[A-Za-z0-9])?$")),
        (
            ".global.tag",
            json!({ "type": ["string", "integer"], "pattern": "^[A-Za-z0-9_][-A-Za-z0-9._]{0,127}(@sha256:[0-9a-f]{64})?$" }),
        ),
        (".global.istioNamespace", text(DNS_NAME)),
        (".trustDomain", text(DNS_NAME)),
        (".clusterDomain", text(DNS_NAME)),
        (".clusterName", text("^[A-Za-z0-9]([-A-Za-z0-9._/]*[A-Za-z0-9])?$")),
        (".proxy.image", text(IMAGE_NAME)),
        (".pilot.image", text(IMAGE_NAME)),
        (".imagePullPolicy", one_of(&["", "Always", "IfNotPresent", "Never"])),
        (".imagePullSecrets", strings()),
        (".certSigners", strings()),
        (".logLevel", one_of(&["trace", "debug", "info", "warning", "error", "critical", "off"])),
        (".autoInject", one_of(&["enabled", "disabled"])),
        (".reinvocationPolicy", one_of(&["Never", "IfNeeded"])),
        (".type", one_of(&["LoadBalancer", "NodePort", "ClusterIP"])),
        (".externalTrafficPolicy", one_of(&["", "Local", "Cluster"])),
        (".ipFamilyPolicy", one_of(&["", "SingleStack", "PreferDualStack", "RequireDualStack"])),
        (".ipFamilies", json!({ "type": "array", "items": one_of(&["IPv4", "IPv6"]), "maxItems": 2 })),
        (".loadBalancerSourceRanges", strings()),
        (".excludeNamespaces", strings()),
        (".defaultTemplates", strings()),
        (".sidecarInjectorWebhook.templates", texts()),
        (".cniBinDir", text("^/[-A-Za-z0-9._/]*$")),
        (".cniConfDir", text("^/[-A-Za-z0-9._/]*$")),
        (".cni.image", text(IMAGE_NAME)),
        (".rollingMaxSurge", scalar()),
        (".rollingMaxUnavailable", scalar()),
        (".ports", ports()),
        (".resources", resources()),
        (".meshConfig", mesh_config()),
        (".tolerations", objects()),
        (".topologySpreadConstraints", objects()),
        (".neverInjectSelector", objects()),
        (".alwaysInjectSelector", objects()),
        (
            ".env",
            json!({ "type": "object", "additionalProperties": { "type": ["string", "integer", "boolean"] } }),
        ),
        (".nodeSelector", texts()),
        (".labels", texts()),
        (".podLabels", texts()),
        (".deploymentLabels", texts()),
        (".podAnnotations", texts()),
        (".annotations", texts()),
        (".serviceAnnotations", texts()),
    ];
    rules.into_iter().find(|(end, _)| path.ends_with(end)).map(|(_, rule)| rule)
}

fn ports() -> Value {
    let number = json!({ "type": "integer", "minimum": 1 });
    json!({ "type": "array", "items": {
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "port": number,
            "protocol": { "type": "string", "enum": ["TCP", "UDP", "SCTP"] },
            "targetPort": { "type": ["integer", "string"] },
            "nodePort": number,
            "appProtocol": { "type": "string" },
        },
        "required": ["port"],
        "additionalProperties": false,
    } })
}

fn resources() -> Value {
    let quantities = json!({
        "type": "object",
        "additionalProperties": { "type": ["string", "number"], "pattern": QUANTITY },
    });
    json!({
        "type": "object",
        "properties": { "requests": quantities, "limits": quantities, "claims": { "type": "array" } },
        "additionalProperties": false,
    })
}

/// The control plane judges the mesh configuration; here stand the parts that charts read.
fn mesh_config() -> Value {
    json!({
        "type": "object",
        "properties": {
            "trustDomain": { "type": "string", "pattern": DNS_NAME },
            "accessLogFile": { "type": "string" },
            "enablePrometheusMerge": { "type": "boolean" },
            "outboundTrafficPolicy": {
                "type": "object",
                "properties": { "mode": { "type": "string", "enum": ["ALLOW_ANY", "REGISTRY_ONLY"] } },
            },
            "defaultConfig": { "type": "object" },
        },
    })
}
