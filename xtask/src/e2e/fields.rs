//! The definitions lose no field: what Istio's own samples say comes back from the API whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cluster::{Cluster, path};

/// Groups whose kinds are the mesh's.
const GROUPS: [&str; 5] = [
    "networking.istio.io/",
    "security.istio.io/",
    "telemetry.istio.io/",
    "extensions.istio.io/",
    "authentication.istio.io/",
];

/// Applies the project's samples and, where they are there, Istio's, without keeping them.
pub fn run(cluster: &Cluster) -> Result<()> {
    cluster.lateen(&["install", "-y", "--profile", "minimal"])?;
    let mut files = Vec::new();
    for folder in ["samples", "../shared/upstream"].map(path) {
        if !Path::new(&folder).exists() {
            println!("skipped: there is no {folder}");
            continue;
        }
        manifests(Path::new(&folder), &mut files)?;
    }
    let mut sent = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| file.display().to_string())?;
        sent.extend(objects.into_iter().filter(is_ours));
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": sent }).to_string();
    let answer = cluster.apply_text(&list, &["--dry-run=server", "--validate=strict", "-o", "json"])?;
    let answer: Value = serde_json::from_str(&answer)?;
    let kept = answer["items"].as_array().context("the API's answer is no list")?;
    ensure!(kept.len() == sent.len(), "{} objects of {} came back", kept.len(), sent.len());
    let mut lost = Vec::new();
    for (sent, kept) in sent.iter().zip(kept) {
        let name = format!("{} {}", sent["kind"], sent["metadata"]["name"]);
        missing(&sent["spec"], &kept["spec"], &format!("{name} spec"), &mut lost);
    }
    println!("{} resources came back whole but for {} fields", sent.len(), lost.len());
    ensure!(lost.is_empty(), "lost: {}", lost.join(", "));
    Ok(())
}

fn is_ours(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    GROUPS.iter().any(|group| version.starts_with(group))
}

fn manifests(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            manifests(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// Paths of what was sent and is not there any more, or is something else.
fn missing(sent: &Value, kept: &Value, path: &str, lost: &mut Vec<String>) {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            for (key, value) in sent {
                missing(value, kept.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"), lost);
            }
        }
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => {
            for (index, (sent, kept)) in sent.iter().zip(kept).enumerate() {
                missing(sent, kept, &format!("{path}[{index}]"), lost);
            }
        }
        (Value::Number(sent), Value::Number(kept)) if sent.as_f64() == kept.as_f64() => {}
        _ if sent == kept => {}
        _ => lost.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named_by_its_path() {
        let sent = json!({ "http": [{ "route": [], "retries": { "attempts": 3 } }], "hosts": ["a"] });
        let kept = json!({ "http": [{ "route": [], "retries": {} }], "hosts": ["b"], "more": 1 });
        let mut lost = Vec::new();
        missing(&sent, &kept, "spec", &mut lost);
        lost.sort();
        assert_eq!(lost, ["spec.hosts[0]", "spec.http[0].retries.attempts"]);
    }
}
