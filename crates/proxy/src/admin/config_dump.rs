//! `/config_dump`: what is in force, in the shape of Envoy's `ConfigDump`.

use std::time::SystemTime;

use lateen_xds::TypeUrl;
use lateen_xds::json::{JsonError, Pool};
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use prost::Name;
use regex::Regex;
use serde_json::{Map, Value, json};

use super::dump::Entry;
use super::{Query, Reply};
use crate::run::Server;

/// What is asked for.
pub(super) struct Wanted<'a> {
    /// One part alone, such as `dynamic_listeners`.
    resource: Option<&'a str>,
    /// Resources whose name matches.
    name: Option<Regex>,
    endpoints: bool,
}

impl Wanted<'_> {
    /// Whether a resource of that name is asked for.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }
}

pub(super) fn answer(server: &Server, query: &Query) -> Reply {
    let name = match query.get("name_regex").map(Regex::new).transpose() {
        Ok(name) => name,
        Err(error) => return Reply::text(400, format!("Invalid regex: {error}\n")),
    };
    let wanted = Wanted { resource: query.get("resource"), name, endpoints: query.has("include_eds") };
    match dump(server, &wanted) {
        Ok(mut configs) => {
            if let Some(mask) = query.get("mask") {
                configs = configs.into_iter().map(|config| masked(config, mask)).collect();
            }
            Reply::json(&json!({ "configs": configs }))
        }
        Err(error) => Reply::text(500, format!("{error}\n")),
    }
}

fn dump(server: &Server, wanted: &Wanted<'_>) -> Result<Vec<Value>, JsonError> {
    let pool = Pool::load()?;
    let bootstrap = pool.write_encoded(&Bootstrap::full_name(), &server.bootstrap)?;
    let sections = [
        clusters(server, wanted, &pool, &bootstrap),
        listeners(server, wanted, &pool, &bootstrap),
        routes(server, wanted, &pool, &bootstrap),
        endpoints(server, wanted, &pool),
        super::secrets::section(server, wanted),
    ];
    if let Some(resource) = wanted.resource {
        // One part: its resources stand in the list themselves.
        let parts = sections.into_iter().flatten().flat_map(|(_, parts)| parts);
        return Ok(parts.filter(|(name, _)| *name == resource).flat_map(|(_, list)| list).collect());
    }
    let mut configs = vec![json!({
        "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
        "bootstrap": bootstrap,
        "last_updated": time(server.started),
    })];
    for (kind, parts) in sections.into_iter().flatten() {
        let mut section = Map::new();
        section.insert("@type".to_owned(), json!(format!("type.googleapis.com/envoy.admin.v3.{kind}")));
        for (name, list) in parts {
            if !list.is_empty() {
                section.insert(name.to_owned(), Value::Array(list));
            }
        }
        configs.push(Value::Object(section));
    }
    Ok(configs)
}

/// A section of the dump: its message, and its parts.
pub(super) type Section = Option<(&'static str, Vec<(&'static str, Vec<Value>)>)>;

/// Static resources of the bootstrap, wrapped as the dump wraps them.
fn statics(
    server: &Server,
    bootstrap: &Value,
    list: &str,
    field: &str,
    kind: TypeUrl,
    wanted: &Wanted<'_>,
) -> Vec<Value> {
    let resources = bootstrap["static_resources"][list].as_array();
    let resources = resources.into_iter().flatten().filter(|resource| {
        let name = resource["name"].as_str().unwrap_or("");
        wanted.name.as_ref().is_none_or(|pattern| pattern.is_match(name))
    });
    resources
        .map(|resource| {
            let mut typed = Map::new();
            typed.insert("@type".to_owned(), json!(kind.as_str()));
            typed.extend(resource.as_object().cloned().unwrap_or_default());
            let mut entry = Map::new();
            entry.insert(field.to_owned(), Value::Object(typed));
            entry.insert("last_updated".to_owned(), time(server.started));
            Value::Object(entry)
        })
        .collect()
}

/// Dynamic resources of a type with their names.
fn dynamic(server: &Server, kind: TypeUrl, wanted: &Wanted<'_>) -> Vec<(String, Entry)> {
    let mut entries = server.dump.entries(kind);
    entries.retain(|(name, _)| wanted.name.as_ref().is_none_or(|pattern| pattern.is_match(name)));
    entries
}

/// Version, resource and time, or why there is none.
fn state(pool: &Pool, kind: TypeUrl, field: &str, entry: &Entry) -> Value {
    let mut state = json!({});
    if let Some(updated) = entry.updated {
        state["version_info"] = json!(entry.version);
        state[field] = typed(pool, kind, &entry.body);
        state["last_updated"] = time(updated);
    }
    state
}

fn typed(pool: &Pool, kind: TypeUrl, body: &[u8]) -> Value {
    pool.write_any(&lateen_xds::pb::google::protobuf::Any {
        type_url: kind.as_str().to_owned(),
        value: body.to_vec(),
    })
}

fn with_error(mut value: Value, entry: &Entry) -> Value {
    if let Some(failure) = &entry.error {
        value["error_state"] = json!({
            "last_update_attempt": time(failure.when),
            "details": failure.reason,
            "version_info": failure.version,
        });
    }
    value
}

fn clusters(server: &Server, wanted: &Wanted<'_>, pool: &Pool, bootstrap: &Value) -> Section {
    let kind = TypeUrl::Cluster;
    let dynamic = dynamic(server, kind, wanted).into_iter();
    let dynamic =
        dynamic.map(|(_, entry)| with_error(state(pool, kind, "cluster", &entry), &entry)).collect();
    let statics = statics(server, bootstrap, "clusters", "cluster", kind, wanted);
    Some(("ClustersConfigDump", vec![("static_clusters", statics), ("dynamic_active_clusters", dynamic)]))
}

fn listeners(server: &Server, wanted: &Wanted<'_>, pool: &Pool, bootstrap: &Value) -> Section {
    let kind = TypeUrl::Listener;
    let dynamic = dynamic(server, kind, wanted).into_iter().map(|(name, entry)| {
        let mut listener = json!({ "name": name });
        if entry.updated.is_some() {
            listener["active_state"] = state(pool, kind, "listener", &entry);
        }
        with_error(listener, &entry)
    });
    let dynamic = dynamic.collect();
    let statics = statics(server, bootstrap, "listeners", "listener", kind, wanted);
    Some(("ListenersConfigDump", vec![("static_listeners", statics), ("dynamic_listeners", dynamic)]))
}

/// Route configurations; those that came by virtual host are put together.
fn routes(server: &Server, wanted: &Wanted<'_>, pool: &Pool, bootstrap: &Value) -> Section {
    let kind = TypeUrl::Route;
    let hosts = server.dump.entries(TypeUrl::VirtualHost);
    let dynamic = dynamic(server, kind, wanted).into_iter().map(|(name, entry)| {
        let mut route = state(pool, kind, "route_config", &entry);
        let prefix = format!("{name}/");
        let own = hosts.iter().filter(|(host, entry)| host.starts_with(&prefix) && entry.updated.is_some());
        for (_, host) in own {
            let host =
                pool.write_encoded("envoy.config.route.v3.VirtualHost", &host.body).unwrap_or_default();
            match route["route_config"]["virtual_hosts"].as_array_mut() {
                Some(list) => list.push(host),
                None => route["route_config"]["virtual_hosts"] = json!([host]),
            }
        }
        with_error(route, &entry)
    });
    let dynamic = dynamic.collect();
    let mut statics = Vec::new();
    inline_routes(&bootstrap["static_resources"]["listeners"], &mut statics);
    for (_, entry) in server.dump.entries(TypeUrl::Listener) {
        inline_routes(&typed(pool, TypeUrl::Listener, &entry.body), &mut statics);
    }
    let statics = statics.into_iter().map(|mut config| {
        config["@type"] = json!(kind.as_str());
        json!({ "route_config": config, "last_updated": time(server.started) })
    });
    Some((
        "RoutesConfigDump",
        vec![("static_route_configs", statics.collect()), ("dynamic_route_configs", dynamic)],
    ))
}

/// Route configurations that stand within listeners.
fn inline_routes(value: &Value, out: &mut Vec<Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "route_config" => out.push(value.clone()),
                    _ => inline_routes(value, out),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| inline_routes(value, out)),
        _ => {}
    }
}

fn endpoints(server: &Server, wanted: &Wanted<'_>, pool: &Pool) -> Section {
    if !wanted.endpoints && wanted.resource.is_none() {
        return None;
    }
    let kind = TypeUrl::Endpoints;
    let dynamic = dynamic(server, kind, wanted).into_iter();
    let dynamic = dynamic.map(|(_, entry)| with_error(state(pool, kind, "endpoint_config", &entry), &entry));
    Some(("EndpointsConfigDump", vec![("dynamic_endpoint_configs", dynamic.collect())]))
}

/// Keeps the fields that a mask (`a,b.c`) names, and types.
fn masked(value: Value, mask: &str) -> Value {
    let Value::Object(map) = value else { return value };
    let kept = map.into_iter().filter_map(|(key, value)| {
        if key == "@type" {
            return Some((key, value));
        }
        let below: Vec<_> = mask.split(',').filter_map(|path| path.strip_prefix(&key)).collect();
        if below.iter().any(|rest| rest.is_empty()) {
            return Some((key, value));
        }
        let deeper: Vec<_> = below.iter().filter_map(|rest| rest.strip_prefix('.')).collect();
        (!deeper.is_empty()).then(|| (key, masked(value, &deeper.join(","))))
    });
    Value::Object(kept.collect())
}

pub(super) fn time(time: SystemTime) -> Value {
    let mut text = Vec::new();
    crate::format::write_iso(time, &mut text);
    Value::String(String::from_utf8_lossy(&text).into_owned())
}
