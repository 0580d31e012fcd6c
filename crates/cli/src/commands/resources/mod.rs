//! The verbs of the tutorials' `istioctl`: create, replace, get, delete.

pub mod create;
pub mod delete;
pub mod get;
mod kinds;
pub mod replace;

use std::path::Path;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DynamicObject;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::Value;

use super::validate::read;
use crate::args::Connection;
use kinds::IstioKind;

/// The documents of a file; `-` is standard input. Empty documents are left out.
pub fn documents(file: &Path) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&read(file)?).with_context(|| file.display().to_string())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// An API server and the namespace of what names none.
pub struct Session {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Session {
    /// Connects as kubectl would.
    pub async fn open(connection: &Connection) -> Result<Session> {
        let config = match &connection.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).with_context(|| path.display().to_string())?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
            }
            None => Config::infer().await.context("no cluster: set KUBECONFIG as `lateen up` prints it")?,
        };
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Session { client: Client::try_from(config)?, namespace })
    }

    /// The API of a kind in a namespace.
    pub fn api(&self, kind: &IstioKind, namespace: &str) -> Api<DynamicObject> {
        match kind.namespaced {
            true => Api::namespaced_with(self.client.clone(), namespace, &kind.resource),
            false => Api::all_with(self.client.clone(), &kind.resource),
        }
    }
}

/// An Istio resource of a file, where it belongs.
pub struct Item {
    /// Its kind.
    pub kind: IstioKind,
    /// The namespace that it names, or the session's.
    pub namespace: String,
    /// The object.
    pub object: DynamicObject,
}

impl Item {
    /// As the tutorials name it: `virtual-service/voting/voting-app`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.kind.config_name(), self.namespace, self.object.name_any())
    }
}

/// Reads the Istio resources of files; anything else in them is an error.
pub fn items(files: &[std::path::PathBuf], session: &Session) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for file in files {
        for document in documents(file)? {
            let mut object: DynamicObject =
                serde_json::from_value(document).with_context(|| file.display().to_string())?;
            let types = object.types.clone().unwrap_or_default();
            let Some(kind) = kinds::of_type(&types.api_version, &types.kind) else {
                bail!(
                    "{}: {} {} is no Istio resource; use kubectl for it",
                    file.display(),
                    types.api_version,
                    types.kind
                );
            };
            let namespace = object.metadata.namespace.clone().unwrap_or_else(|| session.namespace.clone());
            if kind.namespaced {
                object.metadata.namespace = Some(namespace.clone());
            }
            items.push(Item { kind, namespace, object });
        }
    }
    Ok(items)
}

/// Runs a verb on a small runtime.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// An error as a user reads it: of what the API server answered its message, and what to do.
fn words(error: &anyhow::Error) -> String {
    let status = error.chain().find_map(|cause| match cause.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(status),
        _ => None,
    });
    let Some(status) = status else { return format!("{error:#}") };
    let mend = match status.code {
        409 if status.message.contains("already exists") => "; `replace` changes it",
        409 => "; it was changed meanwhile: try again",
        404 => "; `get` lists what there is",
        _ => "",
    };
    format!("{error}: {}{mend}", status.message)
}

/// Says how each went, and fails if one did.
pub fn report(outcomes: Vec<Result<String>>) -> Result<()> {
    let mut failed = 0;
    for outcome in outcomes {
        match outcome {
            Ok(line) => println!("{line}"),
            Err(error) => {
                failed += 1;
                eprintln!("Error: {}", words(&error));
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of the resources could not be handled");
    }
    Ok(())
}
