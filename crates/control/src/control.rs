use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::OptionFuture;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::auth::{Authenticator, NodeAuthorizer, Oidc, TokenReviews};
use crate::ca::{CertificateService, ExternalSigner, MeshRoots, ServingTls, TrustDomains};
use crate::leader::{self, Election};
use crate::listen::listen;
use crate::secure_port::SecurePort;
use crate::source::{Injection, MeshConfigMap, Namespaces, kubernetes};
use crate::webhook::{Injector, OwnService, Webhooks};
use crate::{
    Context, ControlOptions, KubeAccess, ads, ca, debug, findings, hub, issuers, secure_port, status, webhook,
};

/// How long the end may wait for the API to take the leader's lease back.
const GIVING_BACK: Duration = Duration::from_secs(3);

/// Where a control plane listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// ADS in plaintext.
    pub xds: SocketAddr,
    /// ADS and the certificate authority over TLS.
    pub secure: SocketAddr,
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
    xds: TcpListener,
    secure: TcpListener,
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
        let bind = |what: &str, port: u16| {
            let address = SocketAddr::new(options.address, port);
            listen(address).with_context(|| format!("cannot listen for {what} on {address}"))
        };
        let ports = options.ports;
        let xds = bind("xDS", ports.xds)?;
        let secure = bind("xDS and certificates over TLS", ports.secure)?;
        let webhooks = bind("webhooks", ports.webhooks)?;
        let http = bind("readiness and debug pages", ports.http)?;
        let monitoring = bind("metrics", ports.monitoring)?;
        let addresses = Addresses {
            xds: xds.local_addr()?,
            secure: secure.local_addr()?,
            webhooks: webhooks.local_addr()?,
            http: http.local_addr()?,
            monitoring: monitoring.local_addr()?,
        };
        Ok(Control { options, client, xds, secure, webhooks, http, monitoring, addresses })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `shutdown`, then ends every stream and connection.
    ///
    /// # Errors
    /// None today; the signature leaves room.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Control { options, client, xds, secure, webhooks, http, monitoring, addresses } = self;
        let context = Context::new();
        let namespaces = Namespaces::default();
        let (updates, receiver) = hub::queue();
        let mut watches = JoinSet::new();
        let trust_domains = TrustDomains::new(&options.inject.trust_domain);
        let own = OwnService { name: options.service.clone(), namespace: options.namespace.clone() };
        let (elected, leads) = watch::channel(false);
        // Each revision has webhooks of its own, and so an election of its own.
        let lease = own.name.replacen("istiod", "istio-leader", 1);
        let election = Election::new(client.clone(), &own.namespace, &lease, &options.pod);
        let election = tokio::spawn(election.run(elected, shutdown.clone()));
        let status_election = Election::new(client.clone(), &own.namespace, status::LEASE, &options.pod);
        let status_election = options.write_status.then_some(status_election);
        let (namespace, pod) = (options.namespace.clone(), options.pod.clone());
        let peers = status::Peers { namespace, pod, port: addresses.http.port() };
        let writer = Writer { client: client.clone(), own, leads };
        let mesh_roots = MeshRoots::default();
        let names = (trust_domains.clone(), mesh_roots.clone());
        let security = Security::start(&options, writer, &context, names, &mut watches);
        let (protect, system) = (options.protect_debug, options.namespace.clone());
        let injection = Injection::new(options.inject);
        let map = MeshConfigMap {
            injection: injection.clone(),
            trust_domains,
            mesh_roots,
            namespace: options.namespace,
            name: options.mesh_config_map,
            injection_name: options.injection_config_map,
            domain: options.domain,
        };
        let expected = kubernetes(&client, &map, &namespaces, &updates, &mut watches);
        let weak = updates.downgrade();
        drop(updates);
        watches.spawn(issuers::keep(Arc::clone(&context.hub), weak));
        watches.spawn(hub::run(Arc::clone(&context.hub), receiver, expected));
        let (tell, analysis) = watch::channel(Arc::default());
        watches.spawn(findings::report(Arc::clone(&context.hub), tell));
        let status = status_election.map(|election| {
            let sources = (Arc::clone(&context), analysis, peers);
            status::start(client.clone(), sources, election, shutdown.clone(), &mut watches)
        });
        let injector = Arc::new(Injector {
            config: injection,
            hub: Arc::clone(&context.hub),
            namespaces,
            client: Some(client),
        });
        let webhook_state = Webhooks { injector, metrics: Arc::clone(&context.metrics) };
        tracing::info!(
            xds = %addresses.xds,
            secure = %addresses.secure,
            webhooks = %addresses.webhooks,
            http = %addresses.http,
            monitoring = %addresses.monitoring,
            "control plane started"
        );
        let Security { tls, port } = security;
        let guard =
            debug::Guard { authenticator: protect.then(|| port.authenticator.clone()), namespace: system };
        tokio::join!(
            ads::serve(xds, Arc::clone(&context), shutdown.clone()),
            secure_port::serve(secure, tls.clone(), port, shutdown.clone()),
            webhook::serve(webhooks, tls, webhook_state, shutdown.clone()),
            debug::serve(http, Arc::clone(&context), guard.clone(), shutdown.clone()),
            debug::serve(monitoring, context, guard, shutdown.clone()),
        );
        let elections = async { tokio::join!(election, OptionFuture::from(status)) };
        if tokio::time::timeout(GIVING_BACK, elections).await.is_err() {
            tracing::debug!("the lease was not given back in time");
        }
        watches.shutdown().await;
        tracing::info!("control plane stopped");
        Ok(())
    }
}

/// What those who write to the API need: of several control planes, the leader does.
struct Writer {
    client: Client,
    own: OwnService,
    leads: watch::Receiver<bool>,
}

/// What the certificate authority gives to the ports.
struct Security {
    tls: watch::Receiver<Option<Arc<ServingTls>>>,
    port: SecurePort,
}

impl Security {
    /// Starts the certificate authority and what hangs on it.
    fn start(
        options: &ControlOptions,
        writer: Writer,
        context: &Arc<Context>,
        (trust_domains, mesh_roots): (TrustDomains, MeshRoots),
        tasks: &mut JoinSet<()>,
    ) -> Security {
        let Writer { client, own, leads } = writer;
        let metrics = Arc::clone(&context.metrics);
        let (authorities, keeper) = ca::start(
            client.clone(),
            options.ca.clone(),
            trust_domains.clone(),
            mesh_roots.clone(),
            Arc::clone(&metrics),
        );
        let (publish, tls) = watch::channel(None);
        tasks.spawn(keeper.run());
        tasks.spawn(ca::keep_serving(authorities.clone(), own.clone(), options.domain.clone(), publish));
        let (writing, trusted) = (client.clone(), authorities.clone());
        tasks.spawn(leader::while_leading(leads, move || {
            let maps = ca::keep_root_maps(writing.clone(), trusted.clone());
            let webhooks = webhook::keep_patched(writing.clone(), own.clone(), trusted.clone());
            async { tokio::join!(maps, webhooks) }
        }));
        let audiences = options.ca.audiences.clone();
        let tokens = TokenReviews::new(client.clone(), audiences, trust_domains.clone());
        let oidc = options.ca.oidc.clone().map(|oidc| Arc::new(Oidc::new(oidc, trust_domains.clone())));
        let authenticator =
            Authenticator { tokens: Arc::new(tokens), oidc, trust_domains: trust_domains.clone() };
        let hub = Arc::clone(&context.hub);
        let certificates = Arc::new(CertificateService {
            authenticator: authenticator.clone(),
            authorities,
            external: options
                .ca
                .external
                .clone()
                .map(|external| ExternalSigner::new(client.clone(), external, mesh_roots)),
            trust_domains,
            lifetimes: options.ca.lifetimes,
            nodes: NodeAuthorizer {
                trusted: options.ca.trusted_nodes.clone(),
                mesh: Box::new(move || hub.mesh()),
            },
            metrics,
        });
        let context = Arc::clone(context);
        let port = SecurePort {
            context,
            certificates,
            authenticator,
            check_identity: options.check_identity,
            system: options.namespace.as_str().into(),
        };
        Security { tls, port }
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
