//! Ingresses and NetworkPolicies.

use serde_json::{Value, json};

use crate::object;
use crate::registry::Behaviour;
use crate::status::FieldError;
use crate::table::{self, AGE, col};

/// Ingresses.
pub static INGRESS: Behaviour = Behaviour {
    default: |object| {
        object::default(object::map_mut(object, &["status"]), "loadBalancer", json!({}));
    },
    validate: check_ingress,
    columns: &[col("Class"), col("Hosts"), col("Address"), col("Ports"), AGE],
    row: ingress_row,
    ..Behaviour::PLAIN
};

/// Ingress classes.
pub static INGRESS_CLASS: Behaviour = Behaviour {
    columns: &[col("Controller"), col("Parameters"), AGE],
    row: |object| {
        let parameters = match object::text(object, &["spec", "parameters", "kind"]) {
            "" => "<none>".to_owned(),
            kind => format!("{kind}/{}", object::text(object, &["spec", "parameters", "name"])),
        };
        vec![object::text(object, &["spec", "controller"]).into(), parameters.into()]
    },
    ..Behaviour::PLAIN
};

/// Network policies.
pub static NETWORK_POLICY: Behaviour = Behaviour {
    default: |object| {
        let egress = object::at(object, &["spec", "egress"]).is_some();
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        object::default(object::map_mut(object, &["spec"]), "policyTypes", types);
    },
    columns: &[col("Pod-Selector"), AGE],
    row: |object| vec![table::selector(object::at(object, &["spec", "podSelector"]))],
    ..Behaviour::PLAIN
};

fn check_ingress(object: &Value, errors: &mut Vec<FieldError>) {
    let rules = object::list(object, &["spec", "rules"]);
    if rules.is_empty() && object::at(object, &["spec", "defaultBackend"]).is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid("spec", json!({}), detail));
    }
    for (index, rule) in rules.iter().enumerate() {
        for (number, path) in object::list(rule, &["http", "paths"]).iter().enumerate() {
            let at = format!("spec.rules[{index}].http.paths[{number}]");
            match object::text(path, &["pathType"]) {
                "" => {
                    errors.push(FieldError::required(format!("{at}.pathType"), "pathType must be specified"))
                }
                "Exact" | "Prefix" | "ImplementationSpecific" => {}
                other => {
                    let allowed = ["Exact", "ImplementationSpecific", "Prefix"];
                    errors.push(FieldError::unsupported(format!("{at}.pathType"), other, &allowed));
                }
            }
            if path.get("backend").is_none() {
                errors.push(FieldError::required(format!("{at}.backend"), ""));
            }
        }
    }
}

fn ingress_row(object: &Value) -> Vec<Value> {
    let hosts = object::list(object, &["spec", "rules"]).iter().map(|r| object::text(r, &["host"]));
    let hosts = match table::joined(hosts) {
        Value::String(none) if none == "<none>" => "*".into(),
        hosts => hosts,
    };
    let addresses = object::list(object, &["status", "loadBalancer", "ingress"]).iter();
    let addresses: Vec<&str> = addresses
        .map(|i| match object::text(i, &["ip"]) {
            "" => object::text(i, &["hostname"]),
            ip => ip,
        })
        .collect();
    let tls = !object::list(object, &["spec", "tls"]).is_empty();
    vec![
        table::or_none(object, &["spec", "ingressClassName"]),
        hosts,
        addresses.join(",").into(),
        if tls { "80, 443" } else { "80" }.into(),
    ]
}
