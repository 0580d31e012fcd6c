use serde_json::Value;

use super::super::dump::{config, list, resources, text};
use super::Shown;

const HEAD: [&str; 5] = ["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"];

/// The routes of a dump.
pub(super) fn shown(dump: &Value) -> Shown {
    let mut rows = Vec::new();
    for routes in resources(dump, "RoutesConfigDump", "route_config") {
        for host in list(routes, "virtual_hosts") {
            let domains: Vec<&str> = list(host, "domains").iter().filter_map(Value::as_str).collect();
            let domains = match domains.as_slice() {
                [first, rest @ ..] if rest.len() > 1 => format!("{first} + {} more...", rest.len()),
                few => few.join(", "),
            };
            for route in list(host, "routes") {
                rows.push(vec![
                    text(routes, "name").to_owned(),
                    text(host, "name").to_owned(),
                    domains.clone(),
                    matched(route.get("match").unwrap_or(&Value::Null)),
                    config(route),
                ]);
            }
        }
    }
    (&HEAD, rows)
}

fn matched(wanted: &Value) -> String {
    if let Some(path) = wanted.get("path").and_then(Value::as_str) {
        return path.to_owned();
    }
    if let Some(prefix) = wanted.get("prefix").and_then(Value::as_str) {
        return format!("{prefix}*");
    }
    if let Some(regex) = wanted.pointer("/safe_regex/regex").and_then(Value::as_str) {
        return format!("regex {regex}");
    }
    "/*".to_owned()
}
