//! Services, Endpoints and EndpointSlices.

use serde_json::{Value, json};

use super::{names, pod_check};
use crate::object;
use crate::registry::Behaviour;
use crate::status::{FieldError, Reason};
use crate::table::{self, AGE, Column, col, wide};

/// Services.
pub static SERVICE: Behaviour = Behaviour {
    default,
    validate,
    validate_update: update,
    fields: |object| {
        let text = |path: &[&str]| object::text(object, path).to_owned();
        vec![("spec.clusterIP", text(&["spec", "clusterIP"])), ("spec.type", text(&["spec", "type"]))]
    },
    columns: COLUMNS,
    row,
    ..Behaviour::PLAIN
};

/// Endpoints.
pub static ENDPOINTS: Behaviour = Behaviour {
    default: |object| {
        for subset in object.get_mut("subsets").and_then(Value::as_array_mut).into_iter().flatten() {
            default_ports(subset.get_mut("ports"));
        }
    },
    columns: &[col("Endpoints"), AGE],
    row: endpoints_row,
    ..Behaviour::PLAIN
};

/// EndpointSlices.
pub static ENDPOINT_SLICE: Behaviour = Behaviour {
    default: |object| default_ports(object.get_mut("ports")),
    columns: &[col("AddressType"), col("Ports"), col("Endpoints"), AGE],
    row: slice_row,
    ..Behaviour::PLAIN
};

const COLUMNS: &[Column] =
    &[col("Type"), col("Cluster-IP"), col("External-IP"), col("Port(s)"), AGE, wide("Selector")];

fn default_ports(ports: Option<&mut Value>) {
    for port in ports.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        object::default(port, "protocol", "TCP");
        object::default(port, "name", "");
    }
}

fn default(object: &mut Value) {
    let spec = object::map_mut(object, &["spec"]);
    object::default(spec, "type", "ClusterIP");
    object::default(spec, "sessionAffinity", "None");
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        object::default(spec, "internalTrafficPolicy", "Cluster");
        object::default(spec, "ipFamilyPolicy", "SingleStack");
        object::default(spec, "ipFamilies", json!(["IPv4"]));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        object::default(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        object::default(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        object::default(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            object::default(port, "targetPort", number);
        }
    }
    object::default(object::map_mut(object, &["status"]), "loadBalancer", json!({}));
}

fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let kind = object::text(object, &["spec", "type"]);
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    let ports = object::list(object, &["spec", "ports"]);
    let headless = object::text(object, &["spec", "clusterIP"]) == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if kind == "ExternalName" && object::text(object, &["spec", "externalName"]).is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    }
    let mut seen = std::collections::HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = object::text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            if let Some(error) = names::label(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), name, error));
            }
            if !seen.insert(name) {
                let error = FieldError::new(format!("{path}.name"), Reason::Duplicate, "");
                errors.push(FieldError { value: Some(name.into()), ..error });
            }
        }
        let number = object::int(port, &["port"]).unwrap_or_default();
        pod_check::port_number(number, &format!("{path}.port"), errors);
        if let Some(target) = object::int(port, &["targetPort"]) {
            pod_check::port_number(target, &format!("{path}.targetPort"), errors);
        }
        let protocol = object::text(port, &["protocol"]);
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            errors.push(FieldError::unsupported(
                format!("{path}.protocol"),
                protocol,
                &["SCTP", "TCP", "UDP"],
            ));
        }
    }
    if !kinds.contains(&kind) {
        errors.push(FieldError::unsupported("spec.type", kind, &kinds));
    }
    let affinity = object::text(object, &["spec", "sessionAffinity"]);
    if !["None", "ClientIP"].contains(&affinity) {
        errors.push(FieldError::unsupported("spec.sessionAffinity", affinity, &["ClientIP", "None"]));
    }
    names::labels(object, &["spec", "selector"], "spec.selector", errors);
}

fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let ip = |object: &Value| object::text(object, &["spec", "clusterIP"]).to_owned();
    let external = |object: &Value| object::text(object, &["spec", "type"]) == "ExternalName";
    if !ip(old).is_empty() && ip(old) != ip(new) && !external(old) && !external(new) {
        let error = FieldError::invalid("spec.clusterIPs[0]", json!([ip(new)]), "may not change once set");
        errors.push(error);
    }
}

fn external_ips(object: &Value) -> Value {
    let given = object::list(object, &["spec", "externalIPs"]).iter().filter_map(Value::as_str);
    match object::text(object, &["spec", "type"]) {
        "ExternalName" => table::or_none(object, &["spec", "externalName"]),
        "LoadBalancer" => {
            let ingress = object::list(object, &["status", "loadBalancer", "ingress"]).iter();
            let addresses = ingress.map(|i| match object::text(i, &["ip"]) {
                "" => object::text(i, &["hostname"]),
                ip => ip,
            });
            let all: Vec<&str> = addresses.chain(given).collect();
            if all.is_empty() { "<pending>".into() } else { table::joined(all) }
        }
        _ => table::joined(given),
    }
}

fn row(object: &Value) -> Vec<Value> {
    let ports = object::list(object, &["spec", "ports"]).iter().map(|port| {
        let number = object::int(port, &["port"]).unwrap_or_default();
        let protocol = object::text(port, &["protocol"]);
        match object::int(port, &["nodePort"]).unwrap_or_default() {
            0 => format!("{number}/{protocol}"),
            node => format!("{number}:{node}/{protocol}"),
        }
    });
    let ports: Vec<String> = ports.collect();
    vec![
        object::text(object, &["spec", "type"]).into(),
        table::or_none(object, &["spec", "clusterIP"]),
        external_ips(object),
        table::joined(ports.iter().map(String::as_str)),
        table::selector(object::at(object, &["spec", "selector"])),
    ]
}

fn limited(all: &[String]) -> Value {
    if all.is_empty() {
        return "<none>".into();
    }
    let shown = all.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(",");
    if all.len() > 3 { format!("{shown} + {} more...", all.len() - 3).into() } else { shown.into() }
}

fn endpoints_row(object: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in object::list(object, &["subsets"]) {
        let addresses = object::list(subset, &["addresses"]);
        let ports = object::list(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(addresses.iter().map(|a| object::text(a, &["ip"]).to_owned()));
        }
        for port in ports {
            let number = object::int(port, &["port"]).unwrap_or_default();
            all.extend(addresses.iter().map(|a| format!("{}:{number}", object::text(a, &["ip"]))));
        }
    }
    vec![limited(&all)]
}

fn slice_row(object: &Value) -> Vec<Value> {
    let ports = object::list(object, &["ports"]).iter();
    let ports: Vec<String> =
        ports.map(|p| object::int(p, &["port"]).map_or_else(|| "*".to_owned(), |n| n.to_string())).collect();
    let addresses = object::list(object, &["endpoints"]).iter().flat_map(|e| object::list(e, &["addresses"]));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    let unset = |value: Value| if value == "<none>" { "<unset>".into() } else { value };
    vec![
        object::text(object, &["addressType"]).into(),
        unset(table::joined(ports.iter().map(String::as_str))),
        unset(limited(&addresses)),
    ]
}
