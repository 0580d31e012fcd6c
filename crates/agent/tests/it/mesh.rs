use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config};
use lateen_agent::security::{Security, SecurityOptions};
use lateen_apiserver::{ApiServer, Handle};
use lateen_control::ca::CaOptions;
use lateen_control::{Addresses, Control, ControlOptions, KubeAccess, Ports};
use lateen_identity::{Authority, Lifetimes};
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const HOUR: Duration = Duration::from_secs(3600);

/// An API server and a control plane.
pub struct Mesh {
    pub client: Client,
    pub addresses: Addresses,
    pub directory: PathBuf,
    shutdown: CancellationToken,
    control: tokio::task::JoinHandle<anyhow::Result<()>>,
    _api: Handle,
}

impl Mesh {
    /// Certificates live for `life`; a new root is made known for `propagation` before it signs.
    pub async fn start(life: Duration, propagation: Duration) -> Mesh {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("lateen-agent-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = ApiServer::builder().listener(listener).start().await.unwrap();
        let kubeconfig = directory.join("kubeconfig");
        std::fs::write(&kubeconfig, api.kubeconfig()).unwrap();
        let config = Kubeconfig::read_from(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        namespace(&client, "istio-system").await;
        let options = ControlOptions {
            address: [127, 0, 0, 1].into(),
            ports: Ports { xds: 0, secure: 0, webhooks: 0, http: 0, monitoring: 0 },
            kube: KubeAccess::File(kubeconfig),
            ca: CaOptions {
                lifetimes: Lifetimes { default: life, longest: HOUR },
                propagation,
                ..CaOptions::default()
            },
            ..ControlOptions::default()
        };
        let control = Control::bind(options).await.unwrap();
        let addresses = control.addresses();
        let shutdown = CancellationToken::new();
        let control = tokio::spawn(control.run(shutdown.clone()));
        Mesh { client, addresses, directory, shutdown, control, _api: api }
    }

    /// A service account's pod as its agent sees it: the token, and the roots as the kubelet mounts them.
    pub async fn pod(&self, namespace_name: &str, account: &str) -> Pod {
        namespace(&self.client, namespace_name).await;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace_name);
        let object = json!({"metadata": {"name": account}});
        let made = accounts.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await;
        made.unwrap();
        let directory = self.directory.join(format!("{namespace_name}-{account}"));
        std::fs::create_dir_all(&directory).unwrap();
        let token = self.token(namespace_name, account, "istio-ca").await;
        std::fs::write(directory.join("token"), token).unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace_name);
        let root = directory.join("root-cert.pem");
        let (first, seen) = tokio::sync::oneshot::channel();
        let kubelet = tokio::spawn(mount(maps, root, first));
        tokio::time::timeout(PATIENCE, seen).await.expect("the root is never mounted").unwrap();
        let variables = [
            ("POD_NAMESPACE", namespace_name),
            ("SERVICE_ACCOUNT", account),
            ("SECRET_GRACE_PERIOD_RATIO_JITTER", "0.05"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let address = self.addresses.secure.to_string();
        let options = SecurityOptions::read(&variables.into(), &address).unwrap();
        let options = SecurityOptions {
            token_file: directory.join("token"),
            root_file: directory.join("root-cert.pem"),
            sds_socket: directory.join("sds"),
            xds_socket: directory.join("xds"),
            ..options
        };
        Pod { options, kubelet }
    }

    pub async fn token(&self, namespace: &str, account: &str, audience: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                expiration_seconds: Some(600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        answer.status.unwrap().token
    }

    /// Plugs an authority in.
    pub async fn plug(&self, authority: &Authority) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "istio-system");
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts"},
            "stringData": {
                "ca-cert.pem": authority.certificate_pem(), "ca-key.pem": authority.key_pem(),
                "cert-chain.pem": authority.chain_pem(), "root-cert.pem": authority.trust().to_pem(),
            },
        });
        let force = PatchParams::apply("test").force();
        secrets.patch("cacerts", &force, &Patch::Apply(object)).await.unwrap();
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.control.await.unwrap().unwrap();
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// A pod's agent-to-be, and its kubelet.
pub struct Pod {
    pub options: SecurityOptions,
    kubelet: tokio::task::JoinHandle<()>,
}

impl Pod {
    pub fn agent(&self) -> Security {
        Security::start(self.options.clone()).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kubelet.abort();
    }
}

async fn namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    match namespaces.create(&PostParams::default(), &object).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("{error}"),
    }
}

/// Writes the namespace's root ConfigMap into a file, as kubelets do: staged, then renamed.
async fn mount(maps: Api<ConfigMap>, file: PathBuf, first: tokio::sync::oneshot::Sender<()>) {
    let mut first = Some(first);
    // Without pauses a client whose runtime ends would fail for ever without ever giving way.
    let objects = watcher::watch_object(maps, "istio-ca-root-cert").default_backoff();
    let mut objects = std::pin::pin!(objects);
    while let Some(object) = objects.next().await {
        let Ok(Some(map)) = object else { continue };
        write(&file, &map.data.unwrap()["root-cert.pem"]);
        if let Some(first) = first.take() {
            first.send(()).unwrap();
        }
    }
}

/// Replaces a file in one step.
pub fn write(file: &Path, text: &str) {
    let staged = file.with_extension("staged");
    std::fs::write(&staged, text).unwrap();
    std::fs::rename(staged, file).unwrap();
}
