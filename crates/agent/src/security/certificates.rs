use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use lateen_identity::TrustBundle;
use lateen_xds::certificates::{CREATE_CERTIFICATE, CertificateRequest, CertificateResponse};
use lateen_xds::grpc;

use super::options::SecurityOptions;
use super::upstream::Upstream;

/// Limit of one attempt.
const LIMIT: Duration = Duration::from_secs(10);
/// An answer that is longer holds no chain.
const MAX_ANSWER: usize = 1 << 20;

/// What the authority gave.
#[derive(Debug)]
pub(super) struct Issued {
    /// The chain, leaf first, as PEM.
    pub chain: String,
    /// The roots that came with it.
    pub roots: TrustBundle,
}

/// Has a CSR signed.
///
/// # Errors
/// The authority cannot be reached, refuses, or its answer cannot be used.
pub(super) async fn create(authority: &Upstream, options: &SecurityOptions, csr: &str) -> Result<Issued> {
    let asked = call(authority, options, csr);
    tokio::time::timeout(LIMIT, asked)
        .await
        .with_context(|| format!("{}: no certificate within {} s", authority.address(), LIMIT.as_secs()))?
}

async fn call(authority: &Upstream, options: &SecurityOptions, csr: &str) -> Result<Issued> {
    let lifetime = options.lifetime.map_or(0, |life| i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
    let mut message =
        CertificateRequest { csr: csr.to_owned(), validity_duration: lifetime, ..Default::default() };
    if let Some(signer) = &options.cert_signer {
        message.set_cert_signer(signer);
    }
    let body = Full::new(grpc::framed(&message)).map_err(|never| match never {}).boxed_unsync();
    let request = Request::post(CREATE_CERTIFICATE)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("clusterid", HeaderValue::from_str(&options.cluster)?)
        .body(body)?;
    let (head, body) = authority.send(request).await?.into_parts();
    if !head.status.is_success() {
        bail!("{} answers {}", authority.address(), head.status);
    }
    check(&head.headers)?;
    let collected =
        Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
    if let Some(trailers) = collected.trailers() {
        check(trailers)?;
    }
    let answer: CertificateResponse =
        grpc::unframed(collected.to_bytes()).map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    split(answer.cert_chain)
}

/// gRPC's status, in the head or the trailers.
fn check(headers: &HeaderMap) -> Result<()> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => bail!(
            "the certificate authority refuses (gRPC status {code}): {}",
            text("grpc-message").unwrap_or_default()
        ),
    }
}

/// Leaf and intermediates make the chain; what signed itself at the end is a root.
fn split(parts: Vec<String>) -> Result<Issued> {
    let whole = parts.concat();
    let all = TrustBundle::from_pem(&whole).context("the certificate authority's answer")?;
    let (mut chain, mut roots) = (TrustBundle::default(), TrustBundle::default());
    for certificate in all.certificates() {
        let root = lateen_identity::is_self_signed(certificate);
        if root { &mut roots } else { &mut chain }.add(certificate.clone());
    }
    // A root that is itself below another (a plugged bundle) comes last.
    if roots.is_empty()
        && let Some((last, others)) = all.certificates().split_last().filter(|(_, others)| !others.is_empty())
    {
        roots.add(last.clone());
        chain = TrustBundle::default();
        others.iter().for_each(|certificate| chain.add(certificate.clone()));
    }
    if chain.is_empty() || roots.is_empty() {
        bail!("the certificate authority's answer lacks a certificate or its root");
    }
    Ok(Issued { chain: chain.to_pem(), roots })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use lateen_identity::{Authority, LeafRequest};

    use super::*;

    #[test]
    fn an_answer_is_chain_and_roots() {
        let hour = Duration::from_secs(3600);
        let root = Authority::create("root", hour).unwrap();
        let other = Authority::create("other", hour).unwrap();
        let below = root.intermediate("below", hour, SystemTime::now()).unwrap();
        let leaf = below.issue(&LeafRequest::server(["a"], hour)).unwrap();
        let answer = vec![
            leaf.chain_pem().to_owned(),
            root.certificate_pem().to_owned(),
            other.certificate_pem().to_owned(),
        ];
        let issued = split(answer).unwrap();
        assert_eq!(issued.chain, leaf.chain_pem());
        assert!(issued.roots.contains(root.certificate()) && issued.roots.contains(other.certificate()));
        assert_eq!(issued.roots.certificates().len(), 2);

        let issued = split(vec![leaf.chain_pem().to_owned()]).unwrap();
        assert!(issued.roots.contains(below.certificate()), "the last one is what is to be trusted");
        assert!(split(vec![root.certificate_pem().to_owned()]).is_err());
        assert!(split(vec!["nonsense".to_owned()]).is_err());
    }
}
