//! An API server and a node.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Config};
use lateen_node::{HostPorts, ImageCommand, ImageResolver, Node, NodeOptions};
use serde_json::{Value, json};

pub type Test = fn(&Mesh) -> BoxFuture<'_, ()>;

pub struct Mesh {
    pub client: Client,
    pub node: Node,
    dir: PathBuf,
}

struct Images;

impl ImageResolver for Images {
    fn resolve(&self, image: &str, _: &Container, _: &ObjectMeta) -> ImageCommand {
        let own = std::env::current_exe().unwrap().to_string_lossy().into_owned();
        ImageCommand {
            entry_point: vec![own, "program".into()],
            stand_in: (image == "unknown").then(|| "nobody knows it".into()),
            ..Default::default()
        }
    }

    fn applets(&self) -> Vec<(String, Vec<String>)> {
        let own = std::env::current_exe().unwrap().to_string_lossy().into_owned();
        vec![("lateen-test-applet".into(), vec![own, "program".into()])]
    }
}

/// The test's own network is the host.
struct Here;

impl HostPorts for Here {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpListener>> {
        async move { TcpListener::bind(address) }.boxed()
    }
}

impl Mesh {
    pub async fn start() -> Self {
        lateen_node::loopback_up().await.unwrap();
        let dir = std::env::temp_dir().join(format!("lateen-node-it-{:x}", rand::random::<u32>()));
        std::fs::create_dir_all(&dir).unwrap();
        let kubelet_socket = dir.join("kubelet.sock");
        let handle = lateen_apiserver::ApiServer::builder()
            .listener(TcpListener::bind("127.0.0.1:0").unwrap())
            .node_socket(&kubelet_socket)
            .start()
            .await
            .unwrap();
        handle.ready().await;
        let kubeconfig = Kubeconfig::from_yaml(handle.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        // The API server lives as long as the test.
        std::mem::forget(handle);
        let node = Node::start(NodeOptions {
            client: client.clone(),
            state_dir: dir.join("node"),
            kubelet_socket,
            images: Arc::new(Images),
            host_ports: Arc::new(Here),
        })
        .await
        .unwrap();
        Self { client, node, dir }
    }

    pub async fn stop(self) {
        self.node.shutdown().await;
        std::fs::remove_dir_all(self.dir).unwrap();
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates any object of the default namespace.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::Serialize
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), "default");
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    /// Creates a pod of one container that runs the test's program with `arguments`.
    pub async fn run(&self, name: &str, arguments: &[&str], rest: Value) -> Pod {
        let mut container = json!({"name": "app", "image": "test", "args": arguments});
        let mut spec = json!({"terminationGracePeriodSeconds": 1});
        let mut labels = json!({"app": name});
        if let Some(rest) = rest.as_object() {
            for (key, value) in rest {
                match key.strip_prefix("container.") {
                    Some(key) => container[key] = value.clone(),
                    None if key == "labels" => labels = value.clone(),
                    None => spec[key] = value.clone(),
                }
            }
        }
        spec["containers"] = json!([container]);
        self.create(json!({"metadata": {"name": name, "labels": labels}, "spec": spec})).await
    }

    /// Waits until the pod is so, and returns it.
    pub async fn until(&self, name: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        let found = await_condition(self.pods(), name, move |pod: Option<&Pod>| pod.is_some_and(&condition));
        match tokio::time::timeout(std::time::Duration::from_secs(15), found).await {
            Ok(pod) => pod.unwrap().unwrap(),
            Err(_) => {
                let now = self.pods().get(name).await.unwrap();
                let events: Api<k8s_openapi::api::core::v1::Event> =
                    Api::namespaced(self.client.clone(), "default");
                for event in events.list(&Default::default()).await.unwrap() {
                    println!("{:?} {:?} {:?}", event.involved_object.name, event.reason, event.message);
                }
                panic!("pod {name} never became so: {}", serde_json::to_string_pretty(&now.status).unwrap());
            }
        }
    }

    pub async fn gone(&self, name: &str) {
        await_condition(self.pods(), name, |pod: Option<&Pod>| pod.is_none()).await.unwrap();
    }

    pub async fn log(&self, name: &str) -> String {
        self.pods().logs(name, &Default::default()).await.unwrap()
    }
}

pub fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}
