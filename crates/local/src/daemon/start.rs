//! The order in which a mesh comes up.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use lateen_apiserver::Handle;
use lateen_node::{Node, NodeOptions};
use tokio_util::sync::CancellationToken;

use super::host_ports::HostSide;
use super::images::Images;
use super::install::{Existing, apply};
use super::{api, ready};
use crate::host::link::{Summary, ToHost};
use crate::manifests::{self, DemoManifests, Settings};
use crate::options::MeshOptions;
use crate::state::StateDir;

/// The image of every role; the node knows it as this binary.
pub const IMAGE: &str = concat!("docker.io/lateen/lateen:", env!("CARGO_PKG_VERSION"));

/// What runs, in the order in which it started.
#[derive(Default)]
pub struct Mesh {
    api: Option<Handle>,
    node: Option<Node>,
    controllers: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
}

impl Mesh {
    /// Brings everything up; returns when the gateway and the demo, if there is one, are ready.
    pub async fn start(&mut self, options: &MeshOptions, host: &HostSide) -> Result<Summary> {
        let state = StateDir::locate("mesh", Some(&options.state_dir))?;
        let demo = options.demo.as_deref().map(manifests::demo).transpose()?;
        let progress = |text: &str| host.tell(&ToHost::Progress(text.to_owned()));
        lateen_node::loopback_up().await.context("the loopback interface of the mesh")?;
        let handle = api::start(&state, host).await?;
        let kubeconfig = handle.kubeconfig().to_owned();
        let url = handle.addresses().first().map(|address| format!("https://{address}")).unwrap_or_default();
        let client = api::client(&handle).await?;
        self.api = Some(handle);
        api::write_kubeconfig(&options.kubeconfig, &kubeconfig)?;
        progress("API server ready");

        install_system(&client, options).await?;
        self.start_controllers(client.clone());
        self.start_node(client.clone(), options, &state, host).await?;
        progress("node ready, control plane starts");
        ready::injection(&client).await?;
        ready::deployment(&client, "istio-system", "istiod").await?;
        progress("control plane ready");
        if let Some(demo) = &demo {
            install_demo(&client, demo).await?;
        }
        ready::deployment(&client, "istio-system", "istio-ingressgateway").await?;
        progress("gateway ready");
        if let Some(demo) = &demo {
            for deployment in demo.objects.iter().filter(|object| kind(object) == "Deployment") {
                let name = deployment.metadata.name.as_deref().unwrap_or_default();
                ready::deployment(&client, demo.namespace, name).await?;
            }
        }
        let mut summary = summary(&client, self.node.as_ref()).await?;
        summary.api = url;
        summary.demo.clone_from(&options.demo);
        Ok(summary)
    }

    fn start_controllers(&mut self, client: Client) {
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(lateen_controllers::run(client, stopped));
        self.controllers = Some((stop, task));
    }

    async fn start_node(
        &mut self,
        client: Client,
        options: &MeshOptions,
        state: &StateDir,
        host: &HostSide,
    ) -> Result<()> {
        let own = std::env::current_exe()?.to_string_lossy().into_owned();
        let path = std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
        let node = Node::start(NodeOptions {
            client,
            state_dir: state.node(),
            kubelet_socket: state.kubelet_socket(),
            images: std::sync::Arc::new(Images::new(own, options.images.clone(), path)),
            host_ports: std::sync::Arc::new(host.clone()),
        })
        .await?;
        self.node = Some(node);
        Ok(())
    }

    /// Ends everything, last started first.
    pub async fn stop(&mut self) {
        const LIMIT: Duration = Duration::from_secs(10);
        if let Some(node) = self.node.take()
            && tokio::time::timeout(LIMIT, node.shutdown()).await.is_err()
        {
            tracing::warn!("pods did not end in time");
        }
        if let Some((stop, task)) = self.controllers.take() {
            stop.cancel();
            let _ = tokio::time::timeout(LIMIT, task).await;
        }
        if let Some(api) = self.api.take()
            && tokio::time::timeout(LIMIT, api.shutdown()).await.is_err()
        {
            tracing::warn!("the API server did not end in time");
        }
    }
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

/// CRDs and namespaces first, then everything else at once.
async fn install_system(client: &Client, options: &MeshOptions) -> Result<()> {
    // Where the proxy cannot run as user 1337, its sockets are told by this mark.
    let mark = if in_user_namespace() { lateen_node::PROXY_MARK.to_string() } else { String::new() };
    let proxy = options.envoy.as_deref().map(lateen_node::launcher::host_file).unwrap_or_default();
    let proxy = proxy.to_string_lossy();
    let well_known_ports = options.well_known_ports;
    let system = manifests::system(&Settings {
        image: IMAGE,
        socket_mark: &mark,
        proxy_binary: &proxy,
        well_known_ports,
    })?;
    let mut first = Vec::new();
    for crd in lateen_api::crds() {
        first.push(serde_json::from_value(serde_json::to_value(crd)?)?);
    }
    let (namespaces, rest): (Vec<_>, Vec<_>) =
        system.into_iter().partition(|object| kind(object) == "Namespace");
    first.extend(namespaces);
    try_join_all(first.iter().map(|object| apply(client, object, Existing::Update))).await?;
    try_join_all(rest.iter().map(|object| {
        // A user's mesh configuration and webhooks signed by the control plane are not ours to reset.
        let existing = match kind(object) {
            "Deployment" => Existing::Update,
            _ => Existing::Keep,
        };
        apply(client, object, existing)
    }))
    .await?;
    Ok(())
}

/// Whether root in here is an ordinary user outside: then only that one user exists.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = map.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok());
    count.is_some_and(|count| count < u64::from(u32::MAX))
}

async fn install_demo(client: &Client, demo: &DemoManifests) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(demo.namespace.to_owned());
    match namespaces.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        created => drop(created.context("the demo's namespace")?),
    }
    let label = serde_json::json!({"metadata": {"labels": {"istio-injection": "enabled"}}});
    namespaces.patch(demo.namespace, &PatchParams::default(), &Patch::Merge(&label)).await?;
    try_join_all(demo.objects.iter().map(|object| apply(client, object, Existing::Keep))).await?;
    Ok(())
}

/// What there is to tell once the mesh is up.
async fn summary(client: &Client, node: Option<&Node>) -> Result<Summary> {
    let services: Api<Service> = Api::namespaced(client.clone(), "istio-system");
    let gateway = services.get("istio-ingressgateway").await?;
    let ports = gateway.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let http = ports.into_iter().flatten().find(|port| port.port == 80).and_then(|port| port.node_port);
    Ok(Summary {
        gateway: http.map(|port| format!("http://127.0.0.1:{port}")),
        notes: node.map(Node::notes).unwrap_or_default(),
        ..Summary::default()
    })
}
