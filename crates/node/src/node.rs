//! The node as a whole.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::{Catalog, Cluster, Events, Pods, follow, heartbeat, register};
use crate::image::ImageResolver;
use crate::network::{Addresses, Bridge, DNS_IP};
use crate::pod::{Dirs, Runtime, Users};
use crate::process::Spawner;
use crate::services::{HostListener, HostServices, VirtualIps};
use crate::{HostPorts, dns, kubelet, launcher};

/// What a node needs.
pub struct NodeOptions {
    /// The API server.
    pub client: Client,
    /// Directory for pods' logs and volumes, on which only this node works.
    pub state_dir: PathBuf,
    /// Where the kubelet interface listens (logs, exec, attach, port-forward).
    pub kubelet_socket: PathBuf,
    /// Programs for images.
    pub images: Arc<dyn ImageResolver>,
    /// Listeners on the host.
    pub host_ports: Arc<dyn HostPorts>,
}

/// A running node. Dropping it leaves the pods to the namespace's end; [`Node::shutdown`] ends them in order.
pub struct Node {
    pods: Arc<Pods>,
    tasks: Vec<JoinHandle<()>>,
    listeners: watch::Receiver<Vec<HostListener>>,
    kubelet_socket: PathBuf,
    host_files: PathBuf,
}

impl Node {
    /// Starts the node in the current namespaces, which must be the mesh's own: registers it, watches pods and runs
    /// those that are bound here.
    ///
    /// # Errors
    /// What the kernel or the API server refused.
    pub async fn start(options: NodeOptions) -> Result<Self> {
        let NodeOptions { client, state_dir, kubelet_socket, images, host_ports } = options;
        let dirs = prepare(&state_dir, images.as_ref())?;
        let host_files = dirs.host();
        let catalog = Catalog::new();
        let events = Events::start(client.clone());
        let cluster = Cluster { client: client.clone(), catalog: catalog.clone(), events: events.clone() };
        let runtime = Arc::new(Runtime {
            spawner: Spawner::start()?,
            bridge: Bridge::create().await?,
            addresses: Addresses::default(),
            images,
            objects: Arc::new(cluster),
            dirs,
            users: Users::current(),
        });
        let pods = Pods::new(runtime, client.clone(), events.clone());
        let mut tasks = vec![tokio::spawn(VirtualIps::create()?.follow(catalog.clone()))];
        tasks.extend(
            dns::serve(SocketAddr::from((DNS_IP, 53)), catalog.clone()).await.context("cluster DNS")?,
        );
        tasks.push(kubelet::serve(&kubelet_socket, pods.clone()).context("kubelet interface")?);
        register(&client).await?;
        tasks.push(tokio::spawn(heartbeat(client.clone())));
        tasks.extend(watches(&client, &catalog, &pods));
        let (host, listeners) = HostServices::new(client, events, catalog, host_ports);
        tasks.push(tokio::spawn(host.follow()));
        Ok(Self { pods, tasks, listeners, kubelet_socket, host_files })
    }

    /// The host's listeners, as they are and as they change.
    pub fn host_listeners(&self) -> watch::Receiver<Vec<HostListener>> {
        self.listeners.clone()
    }

    /// What the user should know of the host's listeners: those that could not be made, in words.
    pub fn notes(&self) -> Vec<String> {
        let listeners = self.listeners.borrow();
        let failed = listeners.iter().filter_map(|l| Some((l, l.error.as_ref()?)));
        failed
            .map(|(l, error)| {
                let instead = l.node_port.map(|p| format!("; use 127.0.0.1:{p}")).unwrap_or_default();
                format!(
                    "service {}/{}: cannot listen on {}: {error}{instead}",
                    l.namespace, l.service, l.address
                )
            })
            .collect()
    }

    /// Ends all pods' processes (they keep their place in the API) and stops.
    pub async fn shutdown(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.pods.shut_down().await;
        // Whoever removes the state directory must not find the host's files in it.
        if let Err(error) = launcher::release_host(&self.host_files) {
            tracing::warn!(%error, "the host's files stay mounted");
        }
        if let Err(error) = std::fs::remove_file(&self.kubelet_socket) {
            tracing::debug!(%error, "kubelet socket stays");
        }
    }
}

fn watches(client: &Client, catalog: &Arc<Catalog>, pods: &Arc<Pods>) -> Vec<JoinHandle<()>> {
    let client = || client.clone();
    vec![
        tokio::spawn(follow::<Service>(client(), catalog.service_sink())),
        tokio::spawn(follow::<EndpointSlice>(client(), catalog.slice_sink())),
        tokio::spawn(follow::<ConfigMap>(client(), catalog.config_map_sink())),
        tokio::spawn(follow::<Secret>(client(), catalog.secret_sink())),
        tokio::spawn(follow::<k8s_openapi::api::core::v1::Node>(client(), pods.node_sink())),
        tokio::spawn(pods_after(catalog.clone(), follow::<Pod>(client(), pods.sink()))),
    ]
}

/// Pods start once their ConfigMaps and Secrets can be known.
async fn pods_after(catalog: Arc<Catalog>, pods: impl Future<Output = ()>) {
    catalog.synced().await;
    pods.await;
}

/// Directories, the host's file system read-only, and the applets.
fn prepare(state_dir: &Path, images: &dyn ImageResolver) -> Result<Dirs> {
    let dirs = Dirs::new(std::path::absolute(state_dir)?);
    for dir in [dirs.scratch(), dirs.bin(), dirs.pods()] {
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    }
    applets(&dirs.bin(), &images.applets())?;
    launcher::prepare_host(&dirs.host()).context("show the host's files to containers")?;
    Ok(dirs)
}

/// Small scripts: an applet may be any program with arguments.
fn applets(bin: &Path, applets: &[(String, Vec<String>)]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let quote = |text: &String| format!("'{}'", text.replace('\'', "'\\''"));
    for (name, command) in applets {
        let Some((program, arguments)) = command.split_first() else { continue };
        let program = format!("{}{program}", launcher::HOST);
        let words: Vec<String> =
            std::iter::once(quote(&program)).chain(arguments.iter().map(quote)).collect();
        let file = bin.join(name);
        std::fs::write(&file, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
