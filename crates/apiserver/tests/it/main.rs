//! The server as its clients see it: `kube` and kubectl, over TLS.

mod admission;
mod api;
mod collect;
mod kubectl;
mod node;
mod rbac;
mod restart;
mod watch;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use kube::api::DynamicObject;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Config};
use lateen_apiserver::{ApiServer, Builder, Handle};
use serde_json::Value;

/// A server on a loopback port, in memory.
fn builder() -> Builder {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    ApiServer::builder().listener(listener)
}

async fn start() -> (Handle, Client) {
    start_with(builder()).await
}

async fn start_with(builder: Builder) -> (Handle, Client) {
    let handle = builder.start().await.expect("starts");
    handle.ready().await;
    let client = client(&handle).await;
    (handle, client)
}

async fn client(handle: &Handle) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(handle.kubeconfig()).expect("a kubeconfig");
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    Client::try_from(config).expect("a client")
}

/// Objects of any kind.
fn objects(client: &Client, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::default_namespaced_with(client.clone(), &resource)
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object")
}

/// A directory that goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let unique = format!("lateen-apiserver-{}-{:?}", std::process::id(), std::thread::current().id());
        let unique: String = unique.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The status of a refused request.
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String, String) {
    match result.expect_err("refused") {
        kube::Error::Api(status) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("not an answer of the API: {other}"),
    }
}
