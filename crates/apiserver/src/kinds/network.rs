//! Ingresses and NetworkPolicies.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::names;
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
    validate: check_policy,
    columns: &[col("Pod-Selector"), AGE],
    row: |object| vec![table::selector(object::at(object, &["spec", "podSelector"]))],
    ..Behaviour::PLAIN
};

fn check_policy(object: &Value, errors: &mut Vec<FieldError>) {
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in object::list(object, &["spec", list]).iter().enumerate() {
            for (number, peer) in object::list(rule, &[peers]).iter().enumerate() {
                let Some(range) = object::at(peer, &["ipBlock", "cidr"]).and_then(Value::as_str) else {
                    continue;
                };
                if !is_cidr(range) {
                    let path = format!("spec.{list}[{index}].{peers}[{number}].ipBlock.cidr");
                    let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                    errors.push(FieldError::invalid(path, range, detail));
                }
            }
        }
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}

fn check_ingress(object: &Value, errors: &mut Vec<FieldError>) {
    let rules = object::list(object, &["spec", "rules"]);
    if rules.is_empty() && object::at(object, &["spec", "defaultBackend"]).is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid("spec", json!({}), detail));
    }
    for (index, rule) in rules.iter().enumerate() {
        let host = object::text(rule, &["host"]);
        if host.contains('*')
            && let Some(error) = names::wildcard(host)
        {
            errors.push(FieldError::invalid(format!("spec.rules[{index}].host"), host, error));
        }
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
