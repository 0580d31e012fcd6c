use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};

use super::config_dump::Which;
use crate::auth::{Authenticator, Caller, Evidence};
use crate::{Context, Refusal};

/// Who may see the debug pages: everybody on the machine itself (`kubectl port-forward`, `kubectl exec`), workloads of
/// the control plane's namespace, and other workloads what was sent to proxies of their own namespace.
///
/// Source: Istio, `ENABLE_DEBUG_ENDPOINT_AUTH`.
#[derive(Clone)]
pub(crate) struct Guard {
    /// Finds out who calls from elsewhere; none: everybody may see everything.
    pub authenticator: Option<Authenticator>,
    /// The control plane's namespace.
    pub namespace: String,
}

/// Lets a request for a debug page pass, or answers it.
pub(super) async fn check(
    State((guard, context)): State<(Guard, Arc<Context>)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match guard.refuse(&context, peer, request.uri(), request.headers()).await {
        None => next.run(request).await,
        Some(answer) => answer,
    }
}

impl Guard {
    async fn refuse(
        &self,
        context: &Context,
        peer: SocketAddr,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<Response> {
        let authenticator = self.authenticator.as_ref().filter(|_| !is_local(peer, headers))?;
        let page = uri.path();
        match authenticator.authenticate(&Evidence::new(peer, &[], headers)).await {
            Ok(caller) if may_see(&self.namespace, &caller, context, uri) => None,
            Ok(caller) => {
                context.metrics.refusals.on(Refusal::DebugNamespace);
                tracing::warn!(%peer, page, caller = %caller.identities[0], "debug page refused: not the caller's namespace");
                let text = "only /debug/config_dump of proxies in the caller's own namespace\n";
                Some((StatusCode::FORBIDDEN, text).into_response())
            }
            Err(error) => {
                context.metrics.refusals.on(Refusal::DebugUnknown);
                tracing::warn!(%peer, page, %error, "debug page refused: the caller is not known");
                let text = "show a service account token of the audience istio-ca, or come by kubectl port-forward\n";
                Some((StatusCode::UNAUTHORIZED, text).into_response())
            }
        }
    }
}

/// Whether a caller may see a page, where the control plane is in the namespace `system`.
pub(crate) fn may_see(system: &str, caller: &Caller, context: &Context, uri: &Uri) -> bool {
    let of = |namespace: &str| caller.identities.iter().any(|id| id.namespace() == namespace);
    if of(system) {
        return true;
    }
    let Ok(Query(Which { proxy })) = Query::try_from_uri(uri) else { return false };
    // What is not connected is not told apart from what is another's.
    matches!(uri.path(), "/debug/config_dump" | "/debug/ndsz")
        && context.registry.find(&proxy).is_some_and(|connection| of(&connection.proxy.namespace))
}

/// Whether the caller is on this machine, and speaks for nobody else.
fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    peer.ip().to_canonical().is_loopback() && !headers.contains_key("x-forwarded-for")
}
