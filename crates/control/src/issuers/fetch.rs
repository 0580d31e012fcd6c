use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use lateen_identity::TrustBundle;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Octets of an answer.
const MAX_ANSWER: usize = 1 << 20;

/// The authorities that systems trust.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where an issuer has its keys, by OpenID Connect Discovery 1.0, section 4.
///
/// # Errors
/// When the document cannot be had, or does not say.
pub(crate) async fn discover(issuer: &str, roots: Option<&Path>) -> Result<String> {
    let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document = get(&place, roots).await?;
    let document: Value =
        serde_json::from_slice(&document).with_context(|| format!("{place} is not JSON"))?;
    let uri = document.get("jwks_uri").and_then(Value::as_str);
    Ok(uri.with_context(|| format!("{place} names no jwks_uri"))?.to_owned())
}

/// The body that an URL answers with. `roots` is a file of authorities (PEM) for HTTPS; the system's by default.
///
/// # Errors
/// When there is no answer in time, it is not of status 2xx, or it is too large.
pub(crate) async fn get(uri: &str, roots: Option<&Path>) -> Result<Bytes> {
    let parsed: Uri = uri.parse().with_context(|| uri.to_owned())?;
    let answer = tokio::time::timeout(LIMIT, request(&parsed, roots)).await;
    answer.with_context(|| format!("{uri} takes too long"))?.with_context(|| uri.to_owned())
}

async fn request(uri: &Uri, roots: Option<&Path>) -> Result<Bytes> {
    let host = uri.host().context("there is no host")?.trim_matches(['[', ']']).to_owned();
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => bail!("the URL must begin with https:// or http://"),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    if !secure {
        return exchange(stream, uri).await;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted(roots.unwrap_or(Path::new(SYSTEM)))?)
        .with_no_client_auth();
    let name = ServerName::try_from(host)?;
    exchange(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, uri).await
}

fn trusted(file: &Path) -> Result<rustls::RootCertStore> {
    let shown = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(shown)?;
    Ok(TrustBundle::from_pem(&text).with_context(shown)?.roots()?)
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &Uri) -> Result<Bytes> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = http::Request::get(path)
        .header("host", host)
        .header("accept", "application/json")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("the answer is {}", response.status());
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    connection.abort();
    Ok(body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
}
