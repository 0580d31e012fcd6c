//! Istio's own sample manifests: each resource parses, validates and comes back the same.

use std::fs;
use std::path::{Path, PathBuf};

use lateen_api::catalog;
use lateen_api::object::{Kind, Object};
use serde_json::{Map, Value};

/// The samples beside the repository; absent outside the project's own machines.
fn upstream() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/upstream");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no sample manifests at {}", folder.display());
    None
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            out.push(path);
        }
    }
}

fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_multiple::<Value>(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The resource without what protobuf's JSON form leaves out: nulls, zeros, empty strings, lists and maps.
fn without_defaults(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Number(n) if n.as_f64() == Some(0.0) => None,
        // 100 and 100.0 are one number.
        Value::Number(n) => n.as_f64().map(Value::from),
        Value::Bool(false) => None,
        Value::String(s) if s.is_empty() => None,
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            Some(items.iter().map(|v| without_defaults(v).unwrap_or_else(|| v.clone())).collect())
        }
        Value::Object(map) => {
            let kept: Map<_, _> =
                map.iter().filter_map(|(k, v)| without_defaults(v).map(|v| (k.clone(), v))).collect();
            Some(Value::Object(kept))
        }
        other => Some(other.clone()),
    }
}

fn round_trip<S: Kind>(value: &Value) -> Value {
    let object: Object<S> = serde_json::from_value(value.clone()).unwrap();
    serde_json::to_value(&object).unwrap()
}

fn round_trip_any(value: &Value) -> Value {
    use lateen_api::networking::{
        destination_rule::DestinationRuleSpec, gateway::GatewaySpec, service_entry::ServiceEntrySpec,
        virtual_service::VirtualServiceSpec,
    };
    match value["kind"].as_str().unwrap() {
        "VirtualService" => round_trip::<VirtualServiceSpec>(value),
        "DestinationRule" => round_trip::<DestinationRuleSpec>(value),
        "Gateway" => round_trip::<GatewaySpec>(value),
        "ServiceEntry" => round_trip::<ServiceEntrySpec>(value),
        other => panic!("no round trip for kind {other}"),
    }
}

#[test]
fn every_sample_of_istio_is_valid_and_comes_back_the_same() {
    let Some(folder) = upstream() else { return };
    let mut paths = Vec::new();
    files(&folder, &mut paths);
    let mut seen = 0;
    for path in paths {
        for value in documents(&path) {
            let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
            if !catalog::is_known(&text("apiVersion"), &text("kind")) {
                continue;
            }
            seen += 1;
            let verdict = catalog::validate_value(&value).unwrap();
            assert_eq!(verdict.errors, [], "{}", path.display());
            let back = round_trip_any(&value);
            assert_eq!(
                without_defaults(&back["spec"]),
                without_defaults(&value["spec"]),
                "{}",
                path.display()
            );
            assert_eq!(back["metadata"]["name"], value["metadata"]["name"]);
        }
    }
    assert!(seen > 60, "only {seen} resources found");
}
