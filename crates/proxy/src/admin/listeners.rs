//! `/listeners`.

use serde_json::json;

use super::{Query, Reply};
use crate::run::Server;

pub(super) fn answer(server: &Server, query: &Query) -> Reply {
    let table = server.store.listeners();
    let listeners = table.by_name.values().map(|active| {
        let bound = server.workers.bound_addresses(&active.config.name);
        // What is not bound is known by the address of its configuration.
        let addresses = if bound.is_empty() { active.config.addresses.clone() } else { bound };
        (active.config.name.clone(), addresses)
    });
    if query.get("format") == Some("json") {
        let address = |address: &std::net::SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
        let statuses: Vec<_> = listeners
            .map(|(name, addresses)| {
                let mut status = json!({ "name": &*name });
                if let Some((first, more)) = addresses.split_first() {
                    status["local_address"] = address(first);
                    if !more.is_empty() {
                        status["additional_local_addresses"] = more.iter().map(address).collect();
                    }
                }
                status
            })
            .collect();
        return Reply::json(&json!({ "listener_statuses": statuses }));
    }
    let mut text = String::new();
    for (name, addresses) in listeners {
        for address in addresses {
            text.push_str(&format!("{name}::{address}\n"));
        }
    }
    Reply::text(200, text)
}
