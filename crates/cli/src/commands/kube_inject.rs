//! `lateen kube-inject`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use lateen_api::ProxyConfig;
use lateen_control::ControlOptions;
use lateen_inject::InjectConfig;

use super::resources::{Session, block_on};
use super::validate::read;
use crate::args::KubeInject;

/// Injects the workloads of a manifest as the cluster's control plane would.
pub fn run(arguments: &KubeInject) -> Result<()> {
    let text = read(&arguments.file)?;
    let (config, namespace) = block_on(configuration(arguments))?;
    let outcome = lateen_inject::inject_manifest(&text, &namespace, &config)
        .with_context(|| arguments.file.display().to_string())?;
    match &arguments.output {
        Some(path) => std::fs::write(path, outcome.yaml).with_context(|| path.display().to_string()),
        None => {
            print!("{}", outcome.yaml);
            Ok(())
        }
    }
}

/// The configuration of the cluster's control plane; without a cluster, the defaults and the given file.
async fn configuration(arguments: &KubeInject) -> Result<(InjectConfig, String)> {
    let mut config = InjectConfig::default();
    let mut mesh = None;
    let mut namespace = arguments.connection.namespace.clone().unwrap_or_else(|| "default".to_owned());
    if let Ok(session) = Session::open(&arguments.connection).await {
        namespace.clone_from(&session.namespace);
        if let Some(environment) = control_plane_environment(&session).await {
            config = ControlOptions::from_environment(|name| environment.get(name).cloned())?.inject;
        }
        mesh = cluster_mesh_config(&session).await;
        config.proxy_configs = proxy_configs(&session).await;
    }
    if let Some(path) = &arguments.mesh_config_file {
        mesh = Some(std::fs::read_to_string(path).with_context(|| path.display().to_string())?);
    }
    if let Some(text) = mesh {
        config.overlay_mesh_config(&text).context("mesh configuration")?;
    }
    if let Some(revision) = &arguments.revision {
        config.revision.clone_from(revision);
    }
    Ok((config, namespace))
}

async fn control_plane_environment(session: &Session) -> Option<BTreeMap<String, String>> {
    let api: Api<Deployment> = Api::namespaced(session.client.clone(), "istio-system");
    let pod = api.get_opt("istiod").await.ok()??.spec?.template.spec?;
    let variables = pod.containers.into_iter().find(|c| c.name == "discovery")?.env?;
    let mut environment: BTreeMap<_, _> =
        variables.into_iter().filter_map(|variable| Some((variable.name, variable.value?))).collect();
    environment.insert("POD_NAMESPACE".to_owned(), "istio-system".to_owned());
    Some(environment)
}

/// The cluster's ProxyConfigs, oldest first; none where the kind is not served.
async fn proxy_configs(session: &Session) -> Arc<[ProxyConfig]> {
    let api: Api<ProxyConfig> = Api::all(session.client.clone());
    let mut all = api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    all.sort_by_key(|p| p.metadata.creation_timestamp.clone());
    all.into()
}

async fn cluster_mesh_config(session: &Session) -> Option<String> {
    let api: Api<ConfigMap> = Api::namespaced(session.client.clone(), "istio-system");
    api.get_opt("istio").await.ok()??.data?.remove("mesh")
}
