//! The control plane's own serving certificate, from the same authority; live through every rotation.

use std::sync::Arc;
use std::time::Duration;

use lateen_identity::{IdentityError, LeafRequest};
use rustls::ServerConfig;
use tokio::sync::watch;

use super::{Authorities, Standing};
use crate::webhook::OwnService;

/// How long a serving certificate lives; at half of it the next one is made.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Time between attempts when it cannot be made.
const AGAIN: Duration = Duration::from_secs(5);

/// TLS of the control plane's ports.
#[derive(Debug)]
pub struct ServingTls {
    /// xDS and CA: HTTP/2; a client may show a workload certificate, and one that the mesh does not trust is
    /// refused.
    pub secure: Arc<ServerConfig>,
    /// Webhooks.
    pub webhooks: Arc<ServerConfig>,
}

/// The names by which pods and the API server call the control plane.
fn names(own: &OwnService, domain: &str) -> Vec<String> {
    let OwnService { name, namespace } = own;
    let mut names = Vec::new();
    // Istio 1.0's name, which old agents still say.
    for service in [name.as_str(), "istio-pilot"] {
        names.push(format!("{service}.{namespace}.svc"));
        names.push(format!("{service}.{namespace}"));
        names.push(format!("{service}.{namespace}.svc.{domain}"));
    }
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names
}

fn make(standing: &Standing, names: &[String]) -> Result<ServingTls, IdentityError> {
    let request = LeafRequest::server(names.iter().map(String::as_str), LIFETIME);
    let leaf = standing.serving.issue(&request)?;
    let secure = leaf.server_config(&["h2"], Some(standing.trust.roots()?))?;
    let webhooks = leaf.server_config(&["h2", "http/1.1"], None)?;
    Ok(ServingTls { secure: Arc::new(secure), webhooks: Arc::new(webhooks) })
}

/// Makes the serving certificate, and the next one at every rotation and at half of its life, for ever.
pub async fn keep(
    mut authorities: Authorities,
    own: OwnService,
    domain: String,
    publish: watch::Sender<Option<Arc<ServingTls>>>,
) {
    let names = names(&own, &domain);
    loop {
        let mut wait = LIFETIME / 2;
        if let Some(standing) = authorities.standing() {
            match make(&standing, &names) {
                Ok(tls) => drop(publish.send_replace(Some(Arc::new(tls)))),
                Err(error) => {
                    tracing::error!(%error, "the serving certificate cannot be made; the last one stays");
                    wait = AGAIN;
                }
            }
        }
        tokio::select! {
            () = authorities.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
