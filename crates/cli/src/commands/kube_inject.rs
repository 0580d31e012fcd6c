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
    let mut values = None;
    if let Ok(session) = Session::open(&arguments.connection).await {
        namespace.clone_from(&session.namespace);
        // The names of a control plane's objects end in its revision.
        let named = |name: &str| match arguments.revision.as_deref() {
            None | Some("default") => name.to_owned(),
            Some(revision) => format!("{name}-{revision}"),
        };
        if let Some(environment) = control_plane_environment(&session, &named("istiod")).await {
            config = ControlOptions::from_environment(|name| environment.get(name).cloned())?.inject;
        }
        values = config_map(&session, &named("istio-sidecar-injector"), "values").await;
        mesh = config_map(&session, &named("istio"), "mesh").await;
        config.proxy_configs = proxy_configs(&session).await;
    }
    let file =
        |path: &std::path::Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    if let Some(path) = &arguments.values_file {
        values = Some(file(path)?);
    }
    if let Some(path) = &arguments.mesh_config_file {
        mesh = Some(file(path)?);
    }
    if let Some(text) = values {
        config.overlay_values(&text).context("the injector's values")?;
    }
    if let Some(text) = mesh {
        config.overlay_mesh_config(&text).context("mesh configuration")?;
    }
    if let Some(revision) = &arguments.revision {
        config.revision.clone_from(revision);
    }
    Ok((config, namespace))
}

async fn control_plane_environment(session: &Session, name: &str) -> Option<BTreeMap<String, String>> {
    let api: Api<Deployment> = Api::namespaced(session.client.clone(), "istio-system");
    let pod = api.get_opt(name).await.ok()??.spec?.template.spec?;
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

async fn config_map(session: &Session, name: &str, key: &str) -> Option<String> {
    let api: Api<ConfigMap> = Api::namespaced(session.client.clone(), "istio-system");
    api.get_opt(name).await.ok()??.data?.remove(key).filter(|text| !text.trim().is_empty())
}
