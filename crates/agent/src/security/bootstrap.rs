//! What the control plane lays over the proxy's bootstrap.
//!
//! Source: Istio, EnvoyFilter `applyTo: BOOTSTRAP` and pilot-agent's `BOOTSTRAP_XDS_AGENT`: the agent asks over ADS, once,
//! before it starts the proxy.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use lateen_xds::grpc;
use lateen_xds::json::Pool;
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use lateen_xds::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use prost::{Message, Name};

use super::upstream::Upstream;

const STREAM: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// Largest answer.
const MAX_ANSWER: usize = 1 << 20;
/// Limit of one attempt.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two attempts.
const WAIT: Duration = Duration::from_secs(1);
/// Attempts until the proxy starts without: a control plane that is just starting must not be missed.
const ATTEMPTS: usize = 30;

/// The bootstrap with what the control plane says laid over it.
pub(super) async fn patched(control: &Upstream, bootstrap: &Bootstrap) -> Result<Bootstrap> {
    let mut attempt = 1;
    let over = loop {
        match tokio::time::timeout(LIMIT, ask(control, bootstrap)).await {
            Ok(Ok(over)) => break over,
            Ok(Err(error)) if attempt >= ATTEMPTS => return Err(error),
            Err(_) if attempt >= ATTEMPTS => bail!("no answer within {} s", LIMIT.as_secs()),
            _ => attempt += 1,
        }
        tokio::time::sleep(WAIT).await;
    };
    lay_over(bootstrap, &over)
}

/// The bootstrap with a file laid over it: JSON or YAML (Istio, `sidecar.istio.io/bootstrapOverride`).
pub(crate) fn overridden(bootstrap: &Bootstrap, file: &str) -> Result<Bootstrap> {
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    let over = Pool::load()?.read_encoded(&Bootstrap::full_name(), &text).with_context(|| file.to_owned())?;
    lay_over(bootstrap, &over)
}

fn lay_over(bootstrap: &Bootstrap, over: &[u8]) -> Result<Bootstrap> {
    if over.is_empty() {
        return Ok(bootstrap.clone());
    }
    let merged = Pool::load()?.merge(&Bootstrap::full_name(), &bootstrap.encode_to_vec(), over);
    Bootstrap::decode(merged.context("the control plane's bootstrap")?.as_slice())
        .context("the merged bootstrap")
}

async fn ask(control: &Upstream, bootstrap: &Bootstrap) -> Result<Vec<u8>> {
    let message = DiscoveryRequest {
        node: bootstrap.node.clone(),
        type_url: Bootstrap::type_url(),
        ..DiscoveryRequest::default()
    };
    let body = Full::new(grpc::framed(&message)).map_err(|never| match never {}).boxed_unsync();
    let request = Request::post(STREAM)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)?;
    let (head, body) = control.send(request).await?.into_parts();
    if !head.status.is_success() {
        bail!("{} answers {}", control.address(), head.status);
    }
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| anyhow!("{error}"))?;
    let answer: DiscoveryResponse =
        grpc::unframed(body.to_bytes()).map_err(|status| anyhow!("{}", status.message()))?;
    Ok(answer.resources.into_iter().next().map(|any| any.value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_xds::pb::envoy::config::bootstrap::v3::Admin;
    use lateen_xds::pb::envoy::config::core::v3::Node;

    #[test]
    fn a_file_may_be_yaml_and_is_named_when_it_is_wrong() {
        let file = std::env::temp_dir().join(format!("lateen-bootstrap-{}", std::process::id()));
        let path = file.to_str().unwrap();
        std::fs::write(&file, "node: {id: c}\n").unwrap();
        let merged = overridden(&Bootstrap::default(), path).unwrap();
        assert_eq!(merged.node.map(|node| node.id).as_deref(), Some("c"));
        std::fs::write(&file, "nodes: {}\n").unwrap();
        let error = format!("{:#}", overridden(&Bootstrap::default(), path).unwrap_err());
        assert!(error.contains(path) && error.contains("nodes"), "{error}");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn what_is_laid_over_replaces_fields_and_keeps_the_rest() {
        let node = |id: &str| Some(Node { id: id.to_owned(), ..Node::default() });
        let own = Bootstrap { node: node("a"), admin: Some(Admin::default()), ..Bootstrap::default() };
        let over = Bootstrap { node: node("b"), ..Bootstrap::default() };
        let merged = lay_over(&own, &over.encode_to_vec()).unwrap();
        assert_eq!(merged.node.map(|node| node.id).as_deref(), Some("b"));
        assert!(merged.admin.is_some());
        assert_eq!(lay_over(&own, &[]).unwrap(), own);
    }
}
