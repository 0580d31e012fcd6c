use serde_json::Value;

use super::super::dump::{config, list, resources, socket, text};
use super::Shown;

const HEAD: [&str; 6] = ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"];

/// The clusters of a dump.
pub(super) fn shown(dump: &Value) -> Shown {
    let row = |cluster: &Value| {
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let name = text(cluster, "name");
        let kind = match text(cluster, "type") {
            "" => text(cluster.get("cluster_type").unwrap_or(&Value::Null), "name"),
            kind => kind,
        };
        let (host, port, subset, direction) = match name.split('|').collect::<Vec<_>>()[..] {
            [direction, port, subset, host] if !host.is_empty() => (host, port, subset, direction),
            [direction, port, subset, _] => ("", port, subset, direction),
            _ => (name, "-", "", "-"),
        };
        vec![host.to_owned(), dash(port), dash(subset), dash(direction), kind.to_owned(), config(cluster)]
    };
    (&HEAD, resources(dump, "ClustersConfigDump", "cluster").into_iter().map(row).collect())
}

/// The endpoints of `/clusters?format=json`.
pub(super) fn endpoints(clusters: &Value) -> Shown {
    let mut rows = Vec::new();
    for cluster in list(clusters, "cluster_statuses") {
        for host in list(cluster, "host_statuses") {
            let (address, port) = socket(host.get("address").unwrap_or(&Value::Null));
            let endpoint = if port.is_empty() { address } else { format!("{address}:{port}") };
            let health = host.get("health_status").unwrap_or(&Value::Null);
            let outlier = health.get("failed_outlier_check").and_then(Value::as_bool).unwrap_or(false);
            let status = match text(health, "eds_health_status") {
                "" => "HEALTHY",
                status => status,
            };
            rows.push(vec![
                endpoint,
                status.to_owned(),
                if outlier { "FAILED" } else { "OK" }.to_owned(),
                text(cluster, "name").to_owned(),
            ]);
        }
    }
    (&["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_clusters_are_taken_apart() {
        let dump = json!({"configs": [{"@type": "x.ClustersConfigDump", "dynamic_active_clusters": [
            {"cluster": {"name": "outbound|80|v1|web.default.svc.cluster.local", "type": "EDS"}},
            {"cluster": {"name": "BlackHoleCluster", "type": "STATIC"}},
        ]}]});
        let rows = shown(&dump).1;
        assert_eq!(rows[0][..5], ["web.default.svc.cluster.local", "80", "v1", "outbound", "EDS"]);
        assert_eq!(rows[1][..5], ["BlackHoleCluster", "-", "-", "-", "STATIC"]);
    }
}
