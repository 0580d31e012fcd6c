use serde_json::Value;

use super::super::dump::{list, resources, socket, text};
use super::Shown;

const HEAD: [&str; 4] = ["ADDRESSES", "PORT", "MATCH", "DESTINATION"];

/// The filter chains of a dump's listeners.
pub(super) fn shown(dump: &Value) -> Shown {
    let mut rows = Vec::new();
    for listener in resources(dump, "ListenersConfigDump", "listener") {
        let (address, port) = socket(listener.get("address").unwrap_or(&Value::Null));
        let chains = list(listener, "filter_chains").iter().chain(listener.get("default_filter_chain"));
        for chain in chains {
            rows.push(vec![address.clone(), port.clone(), matched(chain), destination(chain)]);
        }
    }
    (&HEAD, rows)
}

/// Which connections a chain is for, in a word or two.
fn matched(chain: &Value) -> String {
    let Some(wanted) = chain.get("filter_chain_match") else { return "ALL".to_owned() };
    let mut parts = Vec::new();
    let join = |key: &str| list(wanted, key).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    let networks: Vec<String> = list(wanted, "prefix_ranges")
        .iter()
        .map(|range| {
            let bits = range.get("prefix_len").and_then(Value::as_u64).unwrap_or_default();
            format!("{}/{bits}", text(range, "address_prefix"))
        })
        .collect();
    for (title, value) in [
        ("SNI", join("server_names")),
        ("Trans", text(wanted, "transport_protocol").to_owned()),
        ("App", join("application_protocols")),
        ("Addr", networks.join(",")),
        (
            "Port",
            wanted.get("destination_port").and_then(Value::as_u64).map(|p| p.to_string()).unwrap_or_default(),
        ),
    ] {
        if !value.is_empty() {
            parts.push(format!("{title}: {value}"));
        }
    }
    if parts.is_empty() { "ALL".to_owned() } else { parts.join("; ") }
}

/// Where the connections of a chain go.
fn destination(chain: &Value) -> String {
    for filter in list(chain, "filters") {
        let Some(of) = filter.get("typed_config") else { continue };
        if let Some(name) = of.pointer("/rds/route_config_name").and_then(Value::as_str) {
            return format!("Route: {name}");
        }
        if of.get("route_config").is_some() {
            let name = of.pointer("/route_config/name").and_then(Value::as_str).unwrap_or_default();
            return format!("Inline Route: {name}");
        }
        if let Some(cluster) = of.get("cluster").and_then(Value::as_str) {
            return format!("Cluster: {cluster}");
        }
        let weighted = of.pointer("/weighted_clusters/clusters").and_then(Value::as_array);
        if let Some(weighted) = weighted {
            let one = |c: &Value| {
                format!(
                    "{}({})",
                    text(c, "name"),
                    c.get("weight").and_then(Value::as_u64).unwrap_or_default()
                )
            };
            return format!("Clusters: {}", weighted.iter().map(one).collect::<Vec<_>>().join(", "));
        }
    }
    "Non-HTTP/Non-TCP".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_chain_says_what_it_takes_and_where_it_leads() {
        let chain = json!({
            "filter_chain_match": {"transport_protocol": "tls", "server_names": ["a", "b"], "destination_port": 80},
            "filters": [{"typed_config": {"cluster": "x"}}],
        });
        assert_eq!(matched(&chain), "SNI: a,b; Trans: tls; Port: 80");
        assert_eq!(destination(&chain), "Cluster: x");
        assert_eq!(matched(&json!({})), "ALL");
    }
}
