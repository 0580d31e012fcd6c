//! The node's side: a DaemonSet's pod, which sees the node's folders for plugins and network configurations.

mod conflist;
mod files;
mod repair;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};

use files::Files;
pub use repair::Repair;

/// How often is looked whether everything is as it should be: network plugins rewrite their configurations, and tokens
/// are renewed.
const EVERY: Duration = Duration::from_secs(1);

/// `lateen cni install`.
#[derive(Debug, Args)]
pub struct Install {
    /// The node's folder of plugins, as it is mounted here
    #[arg(long, default_value = "/host/opt/cni/bin", value_name = "DIR")]
    bin_dir: PathBuf,
    /// The node's folder of network configurations, as it is mounted here
    #[arg(long, default_value = "/host/etc/cni/net.d", value_name = "DIR")]
    mounted_net_dir: PathBuf,
    /// The same folder, as the node sees it
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    net_dir: PathBuf,
    /// Name of the configuration to go into [default: the first one, which runtimes use]
    #[arg(long, value_name = "NAME")]
    conf_name: Option<String>,
    /// Write a configuration of its own instead of going into one that is there, for runtimes that join them (Multus)
    #[arg(long)]
    unchained: bool,
    /// Namespaces whose pods the plugin never looks at
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACE,...")]
    exclude_namespaces: Vec<String>,
    /// Folder with this pod's token and the API's certificate
    #[arg(long, default_value = "/var/run/secrets/kubernetes.io/serviceaccount", value_name = "DIR")]
    account_dir: PathBuf,
    /// The API server as the node reaches it
    #[arg(
        long,
        env = "KUBERNETES_SERVICE_HOST",
        default_value = "kubernetes.default.svc",
        value_name = "HOST"
    )]
    api_host: String,
    /// Its port
    #[arg(long, env = "KUBERNETES_SERVICE_PORT", default_value = "443", value_name = "PORT")]
    api_port: u16,
    /// The DaemonSet that this is a pod of
    #[arg(long, default_value = "istio-cni-node", value_name = "NAME")]
    daemon_set: String,
    /// Its namespace
    #[arg(long, env = "POD_NAMESPACE", default_value = "istio-system", value_name = "NAMESPACE")]
    namespace: String,
    /// Mending of pods
    #[command(flatten)]
    repair: Repair,
}

/// Keeps the plugin installed until the process is asked to end.
pub fn main(install: &Install) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let files = Files::new(install)?;
        let client = Client::try_default().await.context("no access to the Kubernetes API")?;
        let mut end = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        files.program()?;
        tokio::select! {
            result = keep(&files) => return result,
            result = repair::run(client.clone(), &install.repair) => return result,
            _ = end.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stays(&client, install).await {
            tracing::info!("the next pod of the DaemonSet goes on; the plugin stays installed");
            return Ok(());
        }
        files.remove()
    })
}

/// Whether the plugin is installed, for a readiness probe.
pub fn ready(install: &Install) -> Result<()> {
    if !Files::new(install)?.is_installed() {
        bail!("the plugin is not installed on this node yet");
    }
    Ok(())
}

/// Looks after the files for ever. What cannot be done now is told once and tried again.
async fn keep(files: &Files<'_>) -> Result<()> {
    let mut told = String::new();
    let mut clock = tokio::time::interval(EVERY);
    loop {
        clock.tick().await;
        match files.keep() {
            Ok(Some(done)) => {
                tracing::info!("{done}");
                told.clear();
            }
            Ok(None) => told.clear(),
            Err(error) => {
                let error = format!("{error:#}");
                if error != told {
                    tracing::warn!("{error}; trying again");
                }
                told = error;
            }
        }
    }
}

/// Whether another pod of the DaemonSet follows this one: then the plugin stays, so that no pod comes up without it
/// meanwhile. When the API has forgotten this pod's account, it was uninstalled with everything else.
async fn stays(client: &Client, install: &Install) -> bool {
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), &install.namespace);
    match tokio::time::timeout(Duration::from_secs(5), api.get_opt(&install.daemon_set)).await {
        Ok(Ok(Some(set))) => set.metadata.deletion_timestamp.is_none(),
        Ok(Ok(None)) => false,
        Ok(Err(kube::Error::Api(status))) => ![401, 403].contains(&status.code),
        _ => true,
    }
}
