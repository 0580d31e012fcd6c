//! `/clusters`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lateen_xds::TypeUrl;
use serde_json::{Value, json};

use super::{Query, Reply};
use crate::config::{Cluster, Discovery, Endpoint, Health};
use crate::run::Server;

pub(super) fn answer(server: &Server, query: &Query) -> Reply {
    let table = server.store.clusters();
    let mut clusters: Vec<Arc<Cluster>> =
        table.values().filter_map(|slot| slot.load().as_ref().cloned()).collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    if query.get("format") == Some("json") {
        let statuses: Vec<_> = clusters.iter().map(|cluster| status(server, cluster)).collect();
        return Reply::json(&json!({ "cluster_statuses": statuses }));
    }
    let mut text = String::new();
    for cluster in clusters {
        write_cluster(server, &cluster, &mut text);
    }
    Reply::text(200, text)
}

/// Counters of an endpoint by Envoy's names, with whether they are gauges.
fn counters(endpoint: &Endpoint) -> [(&'static str, u64, bool); 7] {
    let state = &endpoint.state;
    [
        ("cx_active", state.connections.load(Ordering::Relaxed).into(), true),
        ("cx_connect_fail", state.connect_failures.load(Ordering::Relaxed), false),
        ("cx_total", state.connections_total.load(Ordering::Relaxed), false),
        ("rq_active", state.active.load(Ordering::Relaxed).into(), true),
        ("rq_error", state.errors.load(Ordering::Relaxed), false),
        ("rq_success", state.successes.load(Ordering::Relaxed), false),
        ("rq_total", state.requests.load(Ordering::Relaxed), false),
    ]
}

fn write_cluster(server: &Server, cluster: &Cluster, out: &mut String) {
    let name = &cluster.name;
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name}::observability_name::{}", cluster.stat_name);
    for (priority, limits) in [("default_priority", &cluster.limits), ("high_priority", &cluster.high_limits)]
    {
        let _ = writeln!(out, "{name}::{priority}::max_connections::{}", limits.max_connections);
        let _ = writeln!(out, "{name}::{priority}::max_pending_requests::{}", limits.max_pending_requests);
        let _ = writeln!(out, "{name}::{priority}::max_requests::{}", limits.max_requests);
        let _ = writeln!(out, "{name}::{priority}::max_retries::{}", limits.max_retries);
    }
    let _ = writeln!(out, "{name}::added_via_api::{}", server.dump.contains(TypeUrl::Cluster, name));
    if matches!(cluster.discovery, Discovery::Eds) {
        let _ = writeln!(out, "{name}::eds_service_name::{}", cluster.endpoints.name);
    }
    for endpoint in &cluster.endpoints.load().endpoints {
        let address = endpoint.address;
        for (counter, value, _) in counters(endpoint) {
            let _ = writeln!(out, "{name}::{address}::{counter}::{value}");
        }
        let (region, zone, sub_zone) = locality(endpoint);
        let _ = writeln!(out, "{name}::{address}::hostname::{}", endpoint.hostname.as_deref().unwrap_or(""));
        let _ = writeln!(out, "{name}::{address}::health_flags::{}", flags(endpoint));
        let _ = writeln!(out, "{name}::{address}::weight::{}", endpoint.weight);
        let _ = writeln!(out, "{name}::{address}::region::{region}");
        let _ = writeln!(out, "{name}::{address}::zone::{zone}");
        let _ = writeln!(out, "{name}::{address}::sub_zone::{sub_zone}");
        let _ = writeln!(out, "{name}::{address}::canary::false");
        let _ = writeln!(out, "{name}::{address}::priority::{}", endpoint.priority);
        let _ = writeln!(out, "{name}::{address}::success_rate::-1");
        let _ = writeln!(out, "{name}::{address}::local_origin_success_rate::-1");
    }
}

fn locality(endpoint: &Endpoint) -> (&str, &str, &str) {
    let mut parts = endpoint.locality.as_deref().unwrap_or("").splitn(3, '/');
    let mut next = || parts.next().unwrap_or("");
    (next(), next(), next())
}

fn ejected(endpoint: &Endpoint) -> bool {
    endpoint.state.ejected.load(Ordering::Relaxed)
}

fn flags(endpoint: &Endpoint) -> String {
    let mut flags = String::new();
    if ejected(endpoint) {
        flags.push_str("/failed_outlier_check");
    }
    if endpoint.state.failed_check.load(Ordering::Relaxed) {
        flags.push_str("/failed_active_hc");
    }
    if endpoint.state.pending_check.load(Ordering::Relaxed) {
        flags.push_str("/pending_active_hc");
    }
    match endpoint.health {
        Health::Healthy => {}
        Health::Degraded => flags.push_str("/eds_health_status:DEGRADED"),
        Health::Unhealthy => flags.push_str("/failed_eds_health"),
    }
    if flags.is_empty() { "healthy".to_owned() } else { flags }
}

fn status(server: &Server, cluster: &Cluster) -> Value {
    let endpoints = cluster.endpoints.load();
    let hosts: Vec<_> = endpoints.endpoints.iter().map(|endpoint| host(endpoint)).collect();
    let mut status = json!({
        "name": &*cluster.name,
        "added_via_api": server.dump.contains(TypeUrl::Cluster, &cluster.name),
        "host_statuses": hosts,
        "circuit_breakers": { "thresholds": [limits("DEFAULT", &cluster.limits), limits("HIGH", &cluster.high_limits)] },
        "observability_name": &*cluster.stat_name,
    });
    if matches!(cluster.discovery, Discovery::Eds) {
        status["eds_service_name"] = json!(&*cluster.endpoints.name);
    }
    status
}

fn limits(priority: &str, limits: &crate::config::CircuitBreakers) -> Value {
    json!({
        "priority": priority,
        "max_connections": limits.max_connections,
        "max_pending_requests": limits.max_pending_requests,
        "max_requests": limits.max_requests,
        "max_retries": limits.max_retries,
    })
}

fn host(endpoint: &Endpoint) -> Value {
    let address = |address: SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let stats: Vec<_> = counters(endpoint)
        .into_iter()
        .map(|(name, value, gauge)| {
            let mut stat = json!({ "name": name });
            if value > 0 {
                stat["value"] = json!(value.to_string());
            }
            if gauge {
                stat["type"] = json!("GAUGE");
            }
            stat
        })
        .collect();
    let health = match endpoint.health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
    };
    let mut health = json!({ "eds_health_status": health });
    for (name, set) in [
        ("failed_outlier_check", ejected(endpoint)),
        ("failed_active_health_check", endpoint.state.failed_check.load(Ordering::Relaxed)),
        ("pending_active_hc", endpoint.state.pending_check.load(Ordering::Relaxed)),
    ] {
        if set {
            health[name] = json!(true);
        }
    }
    let (region, zone, sub_zone) = locality(endpoint);
    let mut place = json!({});
    for (key, value) in [("region", region), ("zone", zone), ("sub_zone", sub_zone)] {
        if !value.is_empty() {
            place[key] = json!(value);
        }
    }
    json!({
        "address": address(endpoint.address),
        "stats": stats,
        "health_status": health,
        "weight": endpoint.weight,
        "hostname": endpoint.hostname.as_deref().unwrap_or(""),
        "priority": endpoint.priority,
        "locality": place,
    })
}
