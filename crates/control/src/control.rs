use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lateen_identity::Authority;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::source::{Injection, MeshConfigMap, Namespaces, kubernetes};
use crate::webhook::{Injector, Webhooks};
use crate::{Context, ControlOptions, KubeAccess, ads, debug, findings, hub, webhook};

/// The control plane's root lives as long as istiod's: ten years.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Where a control plane listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// ADS in plaintext.
    pub xds: SocketAddr,
    /// Webhooks over HTTPS.
    pub webhooks: SocketAddr,
    /// Readiness and debug pages.
    pub http: SocketAddr,
    /// Metrics and debug pages.
    pub monitoring: SocketAddr,
}

/// A control plane with its ports bound, not yet serving.
pub struct Control {
    options: ControlOptions,
    client: Client,
    authority: Authority,
    xds: TcpListener,
    webhooks: TcpListener,
    http: TcpListener,
    monitoring: TcpListener,
    addresses: Addresses,
}

/// Runs a control plane until `shutdown`. Outages of the Kubernetes API do not end it.
///
/// # Errors
/// When a port cannot be bound, or no usable access to a Kubernetes API is configured.
pub async fn run(options: ControlOptions, shutdown: CancellationToken) -> Result<()> {
    Control::bind(options).await?.run(shutdown).await
}

impl Control {
    /// Binds the ports and prepares access to the Kubernetes API (without calling it).
    ///
    /// # Errors
    /// As [`run`].
    pub async fn bind(options: ControlOptions) -> Result<Control> {
        let client = client(&options.kube).await?;
        let authority = Authority::create(&options.inject.trust_domain, ROOT_LIFETIME)?;
        let bind = async |what: &str, port: u16| {
            let address = SocketAddr::new(options.address, port);
            TcpListener::bind(address).await.with_context(|| format!("cannot listen for {what} on {address}"))
        };
        let ports = options.ports;
        let xds = bind("xDS", ports.xds).await?;
        let webhooks = bind("webhooks", ports.webhooks).await?;
        let http = bind("readiness and debug pages", ports.http).await?;
        let monitoring = bind("metrics", ports.monitoring).await?;
        let addresses = Addresses {
            xds: xds.local_addr()?,
            webhooks: webhooks.local_addr()?,
            http: http.local_addr()?,
            monitoring: monitoring.local_addr()?,
        };
        Ok(Control { options, client, authority, xds, webhooks, http, monitoring, addresses })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The root certificate (PEM) of the webhooks' serving certificate.
    pub fn ca_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// Serves until `shutdown`, then ends every stream and connection.
    ///
    /// # Errors
    /// When the serving certificate cannot be made.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Control { options, client, authority, xds, webhooks, http, monitoring, addresses } = self;
        let context = Context::new();
        let leaf = webhook::certificate(&authority, &options.namespace, &options.domain)?;
        let acceptor = TlsAcceptor::from(Arc::new(leaf.server_config(&["h2", "http/1.1"], None)?));
        let namespaces = Namespaces::default();
        let (updates, receiver) = hub::queue();
        let mut watches = JoinSet::new();
        let injection = Injection::new(options.inject);
        let map = MeshConfigMap {
            injection: injection.clone(),
            namespace: options.namespace,
            name: options.mesh_config_map,
            domain: options.domain,
        };
        let expected = kubernetes(&client, &map, &namespaces, &updates, &mut watches);
        drop(updates);
        watches.spawn(webhook::keep_patched(client.clone(), authority.certificate_pem().to_owned()));
        watches.spawn(hub::run(Arc::clone(&context.hub), receiver, expected));
        watches.spawn(findings::report(Arc::clone(&context.hub)));
        let injector = Arc::new(Injector {
            config: injection,
            hub: Arc::clone(&context.hub),
            namespaces,
            client: Some(client),
        });
        let webhook_state = Webhooks { injector, metrics: Arc::clone(&context.metrics) };
        tracing::info!(
            xds = %addresses.xds,
            webhooks = %addresses.webhooks,
            http = %addresses.http,
            monitoring = %addresses.monitoring,
            "control plane started"
        );
        tokio::join!(
            ads::serve(xds, Arc::clone(&context), shutdown.clone()),
            webhook::serve(webhooks, acceptor, webhook_state, shutdown.clone()),
            debug::serve(http, Arc::clone(&context), shutdown.clone()),
            debug::serve(monitoring, context, shutdown.clone()),
        );
        watches.shutdown().await;
        tracing::info!("control plane stopped");
        Ok(())
    }
}

async fn client(access: &KubeAccess) -> Result<Client> {
    let config = match access {
        KubeAccess::Infer => Config::infer().await.context(
            "no access to a Kubernetes API: set KUBECONFIG, or run in a pod with a service account",
        )?,
        KubeAccess::File(path) => from_file(path).await?,
    };
    Client::try_from(config).context("cannot use the access to the Kubernetes API")
}

async fn from_file(path: &Path) -> Result<Config> {
    let read = || format!("kubeconfig {}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(read)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.with_context(read)
}
