//! Reading a proxy's `/config_dump`.

use serde_json::Value;

/// Every resource of a type: those of its dump's lists, static and dynamic, by the names of the fields that hold one.
pub(super) fn resources<'a>(dump: &'a Value, section: &str, field: &str) -> Vec<&'a Value> {
    let sections = dump.get("configs").and_then(Value::as_array).into_iter().flatten();
    let wanted = sections.filter(|s| text(s, "@type").ends_with(section));
    let lists = wanted.filter_map(Value::as_object).flat_map(|s| s.values()).filter_map(Value::as_array);
    let entries = lists.flatten();
    entries.filter_map(|entry| entry.get(field).or_else(|| entry.get("active_state")?.get(field))).collect()
}

/// A text field; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A list field; empty where there is none.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The path under Istio's metadata that names the resource that something was made from: `NAME.NAMESPACE`.
pub(super) fn config(value: &Value) -> String {
    let path =
        value.pointer("/metadata/filter_metadata/istio/config").and_then(Value::as_str).unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| *part == "namespaces");
    match at.and_then(|at| Some((parts.get(at + 1)?, parts.last()?))) {
        Some((namespace, name)) => format!("{name}.{namespace}"),
        None => String::new(),
    }
}

/// Address and port of a socket.
pub(super) fn socket(address: &Value) -> (String, String) {
    let socket = address.get("socket_address").unwrap_or(&Value::Null);
    let port = socket.get("port_value").and_then(Value::as_u64).map(|p| p.to_string());
    match address.pointer("/pipe/path").and_then(Value::as_str) {
        Some(path) => (format!("unix://{path}"), String::new()),
        None => (text(socket, "address").to_owned(), port.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn static_and_dynamic_resources_are_found() {
        let dump = json!({"configs": [{
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "static_listeners": [{"listener": {"name": "a"}}],
            "dynamic_listeners": [{"name": "b", "active_state": {"listener": {"name": "b"}}}],
        }]});
        let names: Vec<&str> = resources(&dump, "ListenersConfigDump", "listener")
            .into_iter()
            .map(|l| text(l, "name"))
            .collect();
        assert_eq!(names, ["a", "b"]);
        let made = json!({"metadata": {"filter_metadata": {"istio": {
            "config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"}}}});
        assert_eq!(config(&made), "reviews.default");
    }
}
