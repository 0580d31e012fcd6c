use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{APPLICATION, Image, PROGRAM, servers};

/// Adds an image for each demo application of a manifest that is not among them yet.
pub fn collect(manifest: &Path, images: &mut Vec<Image>) -> Result<()> {
    let text = fs::read_to_string(manifest).with_context(|| manifest.display().to_string())?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| manifest.display().to_string())?;
    let mut names = Vec::new();
    documents.iter().for_each(|document| image_names(document, &mut names));
    for name in names {
        let tag = full_name(&name);
        if images.iter().any(|image| image.tag == tag) {
            continue;
        }
        if let Some(command) = lateen_demo::resolve(&name) {
            let entry_point = std::iter::once(PROGRAM.to_owned()).chain(command.arguments()).collect();
            images.push(Image { tag, entry_point, user: APPLICATION });
        } else if let Some(server) = lateen_demo::images::database_server(&name) {
            images.extend(servers::image(tag, server));
        }
    }
    Ok(())
}

fn image_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("image") {
                names.push(name.clone());
            }
            map.values().for_each(|value| image_names(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| image_names(value, names)),
        _ => {}
    }
}

/// As container runtimes write names out: with a registry and a tag.
fn full_name(name: &str) -> String {
    let host = name.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
    let name = match (host, name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    };
    let tagged = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if tagged { name } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_out_as_runtimes_do() {
        for (name, full) in [
            ("redis", "docker.io/library/redis:latest"),
            ("redis:7", "docker.io/library/redis:7"),
            (
                "istio/examples-bookinfo-ratings-v1:1.20.3",
                "docker.io/istio/examples-bookinfo-ratings-v1:1.20.3",
            ),
            ("localhost/app", "localhost/app:latest"),
            ("example.com:5000/a/b:1", "example.com:5000/a/b:1"),
            ("mcr.microsoft.com/aks/samples/voting/app:1.0", "mcr.microsoft.com/aks/samples/voting/app:1.0"),
        ] {
            assert_eq!(full_name(name), full);
        }
    }

    #[test]
    fn applications_run_as_a_user_whose_traffic_is_captured() {
        let manifest = std::env::temp_dir().join(format!("lateen-demos-{}.yaml", std::process::id()));
        let text = "spec: {containers: [{image: pstauffer/curl}, {image: acme/unknown:1}, {image: pstauffer/curl}]}\n";
        fs::write(&manifest, text).unwrap();
        let mut images = Vec::new();
        collect(&manifest, &mut images).unwrap();
        fs::remove_file(&manifest).unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].tag, "docker.io/pstauffer/curl:latest");
        assert_eq!(images[0].entry_point, [PROGRAM, "demo", "curl"]);
        assert!(!images[0].is_role());
    }
}
