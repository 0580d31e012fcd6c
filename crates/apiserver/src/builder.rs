//! Starting and stopping the server.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, ServiceResolver};
use crate::pki::{Pki, PkiError};
use crate::registry::Catalog;
use crate::store::{OpenError, Store};
use crate::tokens::Tokens;
use crate::{admission, background, crd, server};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its state file.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Its certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A listener or directory.
    #[error("cannot use {what}: {source}")]
    Io {
        /// What.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The objects that every cluster has.
    #[error("cannot make the objects that every cluster has: {0}")]
    Bootstrap(String),
}

/// The API server; see [`ApiServer::builder`].
pub struct ApiServer;

impl ApiServer {
    /// Describes a server: in memory and without listeners until told otherwise.
    pub fn builder() -> Builder {
        Builder {
            state_dir: None,
            listeners: Vec::new(),
            node_socket: None,
            names: Vec::new(),
            url: None,
            cluster: "lateen".into(),
            resolver: None,
        }
    }
}

/// Describes a server before it starts.
pub struct Builder {
    state_dir: Option<PathBuf>,
    listeners: Vec<TcpListener>,
    node_socket: Option<PathBuf>,
    names: Vec<String>,
    url: Option<String>,
    cluster: String,
    resolver: Option<ServiceResolver>,
}

impl Builder {
    /// Keeps objects, certificates and keys in a directory (made when missing), over restarts.
    #[must_use]
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// Serves on a listener as well. The first one's address goes into the kubeconfig.
    #[must_use]
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// The node's kubelet interface (HTTP on a unix socket): logs, exec, attach and port-forward go there.
    #[must_use]
    pub fn node_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.node_socket = Some(path.into());
        self
    }

    /// Another DNS name or address under which the server is reached, for its certificate.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.names.push(name.into());
        self
    }

    /// The URL that the kubeconfig names, where it is not the first listener's address.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// The name of cluster and context in the kubeconfig (`lateen` otherwise).
    #[must_use]
    pub fn cluster_name(mut self, name: impl Into<String>) -> Self {
        self.cluster = name.into();
        self
    }

    /// How webhooks that name a service are reached; without it, at the service's ClusterIP.
    #[must_use]
    pub fn service_resolver(mut self, resolver: ServiceResolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Starts the server; when this returns, it answers.
    ///
    /// # Errors
    /// When the state cannot be read, or a listener cannot be used.
    pub async fn start(self) -> Result<Handle, StartError> {
        let io = |what: String| move |source| StartError::Io { what, source };
        if let Some(directory) = &self.state_dir {
            std::fs::create_dir_all(directory).map_err(io(directory.display().to_string()))?;
        }
        let mut addresses = Vec::new();
        let mut listeners = Vec::new();
        for listener in self.listeners {
            let address = listener.local_addr().map_err(io("a listener".into()))?;
            listener.set_nonblocking(true).map_err(io(format!("the listener on {address}")))?;
            let listener = tokio::net::TcpListener::from_std(listener);
            listeners.push(listener.map_err(io(format!("the listener on {address}")))?);
            addresses.push(address);
        }
        let store = match &self.state_dir {
            None => Store::in_memory(),
            Some(directory) => Store::open(&directory.join("state.redb"))?,
        };
        let names = names(&self.names, &addresses);
        let directory = self.state_dir.as_deref();
        let context = Arc::new(Context {
            store,
            catalog: Catalog::default(),
            pki: Pki::open(directory, &names)?,
            tokens: Tokens::open(directory)?,
            webhooks: admission::webhooks::Webhooks::default(),
            node_socket: self.node_socket,
            resolver: self.resolver,
            allocation: Arc::default(),
            stop: CancellationToken::new(),
        });
        crd::load(&context);
        let mut tasks = JoinSet::new();
        background::start(&context, &mut tasks);
        background::bootstrap(&context).await.map_err(|e| StartError::Bootstrap(e.message))?;
        let tls = Arc::new(context.pki.server_config()?);
        for listener in listeners {
            tasks.spawn(server::serve(context.clone(), listener, tls.clone()));
        }
        let url = self.url.unwrap_or_else(|| match addresses.first() {
            Some(address) => format!("https://{address}"),
            None => "https://127.0.0.1:6443".into(),
        });
        let kubeconfig = context.pki.kubeconfig(&url, &self.cluster);
        Ok(Handle { context, tasks, addresses, kubeconfig })
    }
}

/// Names of the server's certificate: what every cluster's has, the listeners' addresses, and those given.
fn names(given: &[String], addresses: &[SocketAddr]) -> Vec<String> {
    let known = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "127.0.0.1",
        "10.96.0.1",
    ];
    let mut names: Vec<String> = known.map(str::to_owned).to_vec();
    names.extend(given.iter().cloned());
    names.extend(addresses.iter().filter(|a| !a.ip().is_unspecified()).map(|a| a.ip().to_string()));
    names.sort();
    names.dedup();
    names
}

/// A running server. It ends when this is dropped; [`Handle::shutdown`] ends it in order.
pub struct Handle {
    context: Arc<Context>,
    tasks: JoinSet<()>,
    addresses: Vec<SocketAddr>,
    kubeconfig: String,
}

impl Handle {
    /// Returns once the server answers (it does from the start: [`Builder::start`] waits for that).
    pub async fn ready(&self) {}

    /// The addresses on which it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A kubeconfig with the administrator's client certificate.
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// The kubeconfig for clients that reach the server at another URL.
    pub fn kubeconfig_for(&self, url: &str) -> String {
        self.context.pki.kubeconfig(url, "lateen")
    }

    /// The certificate that clients must trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        self.context.pki.ca_pem()
    }

    /// Ends watches and connections, and writes what is left to write.
    pub async fn shutdown(mut self) {
        self.context.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.context.stop.cancel();
    }
}
