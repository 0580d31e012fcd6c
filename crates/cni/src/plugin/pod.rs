//! The pod of a call, as the API has it.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::protocol::{Failure, NetworkConfig, PodName};

/// How often the API is asked, how long one answer may take, and how long is waited between: together less than a
/// runtime waits for a plugin.
const ATTEMPTS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(5);
const WAIT: Duration = Duration::from_secs(1);

/// What the API says.
pub enum Found {
    /// The pod.
    Pod(Box<Pod>),
    /// It is deleted, or was never there: a static pod, which is never injected.
    Gone,
}

/// Asks the API for a pod.
pub fn find(config: &NetworkConfig, name: &PodName<'_>) -> Result<Found, Failure> {
    block_on(async {
        let client = client(&config.kubernetes.kubeconfig).await?;
        let api: Api<Pod> = Api::namespaced(client, name.namespace);
        let mut last = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(WAIT).await;
            }
            match tokio::time::timeout(PATIENCE, api.get_opt(name.name)).await {
                Ok(Ok(Some(pod))) if is(&pod, name) => return Ok(Found::Pod(Box::new(pod))),
                Ok(Ok(None)) => return Ok(Found::Gone),
                Ok(Ok(Some(_))) => last = "it is another pod of that name".to_owned(),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = "the API does not answer".to_owned(),
            }
        }
        Err(Failure::again(format!("cannot read pod {}/{}: {last}", name.namespace, name.name)))
    })
}

/// Whether the API can be asked at all.
pub fn reachable(config: &NetworkConfig) -> Result<(), Failure> {
    block_on(async {
        let client = client(&config.kubernetes.kubeconfig).await?;
        match tokio::time::timeout(PATIENCE, client.apiserver_version()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::again(format!("the Kubernetes API: {error}"))),
            Err(_) => Err(Failure::again("the Kubernetes API does not answer")),
        }
    })
}

fn is(pod: &Pod, name: &PodName<'_>) -> bool {
    name.uid.is_empty() || pod.metadata.uid.as_deref() == Some(name.uid)
}

async fn client(path: &str) -> Result<Client, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::io(&format!("kubeconfig {path}"), error);
    let kubeconfig = Kubeconfig::read_from(Path::new(path)).map_err(|e| failed(&e))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.map_err(|e| failed(&e))?).map_err(|e| failed(&e))
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::io("cannot start the client", error))?.block_on(work)
}
