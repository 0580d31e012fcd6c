//! `lateen status`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use lateen_api::Kind;
use lateen_mesh::{Resource, World};

use crate::state::StateDir;

/// Says how the mesh is: whether it runs, its pods, its gateway, and what analysis finds in its resources.
///
/// # Errors
/// The mesh runs, but its API does not answer.
pub fn status(name: &str, state_dir: Option<&Path>) -> Result<String> {
    let state = StateDir::locate(name, state_dir)?;
    let Some(pid) = state.running()? else {
        return Ok(format!("Mesh {name:?} is not running; `lateen up` starts it.\n"));
    };
    let mut text = format!("Mesh {name:?} is running (process {pid}).\n");
    let Some(summary) = state.summary() else { return Ok(text + "It is still starting.\n") };
    // Writing to a String does not fail.
    let _ = writeln!(text, "  API server:      {}", summary.api);
    let _ = writeln!(text, "  Ingress gateway: {}", summary.gateway.as_deref().unwrap_or("none"));
    for note in &summary.notes {
        let _ = writeln!(text, "  Note: {note}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = client(&state.kubeconfig()).await?;
        pods(&client, &mut text).await.context("pods")?;
        findings(&client, &mut text).await.context("analysis")?;
        Ok(text)
    })
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig).with_context(|| kubeconfig.display().to_string())?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn pods(client: &Client, text: &mut String) -> Result<()> {
    let pods: Api<Pod> = Api::all(client.clone());
    let _ = writeln!(text, "\nPods:");
    for pod in pods.list(&ListParams::default()).await? {
        let containers = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
        let total = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
        let ready = containers.into_iter().flatten().filter(|c| c.ready).count();
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Unknown");
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        let _ = writeln!(text, "  {name:<60} {ready}/{total} {phase}");
    }
    Ok(())
}

/// Builds the snapshot that the control plane would, and shows what analysis finds in it.
async fn findings(client: &Client, text: &mut String) -> Result<()> {
    use lateen_api::networking as n;
    let mut world = World::new();
    let mesh_config = Api::<ConfigMap>::namespaced(client.clone(), "istio-system").get_opt("istio").await?;
    let mesh_config = mesh_config.and_then(|map| map.data?.remove("mesh")).unwrap_or_default();
    match lateen_control::mesh_settings(&mesh_config, "cluster.local") {
        Ok(settings) => drop(world.upsert(Resource::from(settings))),
        Err(reason) => drop(writeln!(text, "\nMesh configuration refused: {reason}")),
    }
    for service in Api::<Service>::all(client.clone()).list(&ListParams::default()).await? {
        world.upsert(Resource::from(service));
    }
    for pod in Api::<Pod>::all(client.clone()).list(&ListParams::default()).await? {
        world.upsert(Resource::from(pod));
    }
    load::<n::virtual_service::VirtualServiceSpec>(client, &mut world).await?;
    load::<n::destination_rule::DestinationRuleSpec>(client, &mut world).await?;
    load::<n::gateway::GatewaySpec>(client, &mut world).await?;
    load::<n::service_entry::ServiceEntrySpec>(client, &mut world).await?;
    load::<n::workload_entry::WorkloadEntrySpec>(client, &mut world).await?;
    load::<n::sidecar::SidecarSpec>(client, &mut world).await?;
    load::<n::envoy_filter::EnvoyFilterSpec>(client, &mut world).await?;
    load::<lateen_api::telemetry::TelemetrySpec>(client, &mut world).await?;
    security(client, &mut world).await?;
    let findings = lateen_analysis::analyze(&world.snapshot().0);
    if findings.is_empty() {
        text.push_str("\nNo references that lead nowhere, no conflicts.\n");
        return Ok(());
    }
    text.push_str("\nFindings:\n");
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    Ok(())
}

/// Policies, and the Secrets and ConfigMaps that gateways and rules name.
async fn security(client: &Client, world: &mut World) -> Result<()> {
    use lateen_api::{authentication as old, security as s};
    load::<s::peer_authentication::PeerAuthenticationSpec>(client, world).await?;
    load::<s::request_authentication::RequestAuthenticationSpec>(client, world).await?;
    load::<s::authorization_policy::AuthorizationPolicySpec>(client, world).await?;
    load::<old::PolicySpec>(client, world).await?;
    load::<old::MeshPolicySpec>(client, world).await?;
    for secret in Api::<Secret>::all(client.clone()).list(&ListParams::default()).await? {
        if let Some(credential) = lateen_control::credential(&secret) {
            world.upsert(Resource::from(credential));
        }
    }
    for map in Api::<ConfigMap>::all(client.clone()).list(&ListParams::default()).await? {
        if let Some(credential) = lateen_control::map_credential(map) {
            world.upsert(Resource::from(credential));
        }
    }
    Ok(())
}

async fn load<S: Kind>(client: &Client, world: &mut World) -> Result<()>
where
    Resource: From<lateen_api::Object<S>>,
{
    let api: Api<lateen_api::Object<S>> = Api::all(client.clone());
    for object in api.list(&ListParams::default()).await? {
        world.upsert(Resource::from(object));
    }
    Ok(())
}
