//! `lateen get`.

use anyhow::{Result, bail};
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};

use super::kinds::{self, IstioKind};
use super::{Session, block_on};
use crate::args::Get;

/// Shows resources of a kind, or of every kind.
pub fn run(arguments: &Get) -> Result<()> {
    block_on(async {
        let session = Session::open(&arguments.connection).await?;
        let kinds = match arguments.kind.as_str() {
            "all" => kinds::all(),
            name => vec![kinds::named(name)?],
        };
        let mut any = false;
        for kind in &kinds {
            let objects = find(&session, kind, arguments).await?;
            any |= !objects.is_empty();
            if !objects.is_empty() {
                print!("{}", render(kind, objects, &arguments.output)?);
            }
        }
        if !any {
            println!("No resources found.");
        }
        Ok(())
    })
}

async fn find(session: &Session, kind: &IstioKind, arguments: &Get) -> Result<Vec<DynamicObject>> {
    let api = match arguments.all_namespaces {
        true => Api::all_with(session.client.clone(), &kind.resource),
        false => session.api(kind, &session.namespace),
    };
    match &arguments.resource {
        Some(name) => Ok(vec![api.get(name).await?]),
        None => Ok(api.list(&ListParams::default()).await?.items),
    }
}

fn render(kind: &IstioKind, objects: Vec<DynamicObject>, output: &str) -> Result<String> {
    match output {
        "short" | "wide" => Ok(table(kind, &objects)),
        "json" => Ok(serde_json::to_string_pretty(&objects)? + "\n"),
        "yaml" => {
            let documents: Result<Vec<String>, _> = objects.iter().map(serde_saphyr::to_string).collect();
            Ok(documents?.join("---\n"))
        }
        other => bail!("--output {other:?}: use short, wide, yaml or json"),
    }
}

fn table(kind: &IstioKind, objects: &[DynamicObject]) -> String {
    let mut rows = vec![["NAME", "KIND", "NAMESPACE", "HOSTS"].map(str::to_owned)];
    for object in objects {
        let hosts = match (&object.data["spec"]["hosts"], &object.data["spec"]["host"]) {
            (serde_json::Value::Array(hosts), _) => {
                hosts.iter().filter_map(|host| host.as_str()).collect::<Vec<_>>().join(",")
            }
            (_, serde_json::Value::String(host)) => host.clone(),
            _ => String::new(),
        };
        let namespace = object.namespace().unwrap_or_default();
        rows.push([object.name_any(), kind.resource.kind.clone(), namespace, hosts]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let line = |row: &[String; 4]| {
        let text = format!(
            "{:<a$}   {:<b$}   {:<c$}   {}",
            row[0],
            row[1],
            row[2],
            row[3],
            a = widths[0],
            b = widths[1],
            c = widths[2]
        );
        text.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
