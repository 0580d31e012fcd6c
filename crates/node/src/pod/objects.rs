//! What pods need of the cluster.

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use tokio::sync::watch;

/// Type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Nothing to do.
    Normal,
    /// Someone should look.
    Warning,
}

/// The cluster, as pods see it.
pub(crate) trait Objects: Send + Sync + 'static {
    /// A ConfigMap.
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>>;
    /// A Secret.
    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>>;
    /// The services of a namespace.
    fn services(&self, namespace: &str) -> Vec<Arc<Service>>;
    /// Tells when any ConfigMap or Secret changed.
    fn changes(&self) -> watch::Receiver<u64>;
    /// A token of the pod's service account.
    fn token<'a>(
        &'a self,
        pod: &'a Pod,
        audience: Option<&'a str>,
        seconds: i64,
    ) -> BoxFuture<'a, anyhow::Result<String>>;
    /// Sets an annotation of the pod.
    fn annotate(&self, pod: &Pod, key: &'static str, value: String);
    /// Reports an event on the pod, or on one of its containers.
    fn event(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        reason: &'static str,
        message: String,
    );
}
