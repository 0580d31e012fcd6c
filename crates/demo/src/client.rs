//! Calling other services: HTTP/1.1, a connection a request, as the samples do.

use std::time::Duration;

use anyhow::Context;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The largest answer that is read, in bytes.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// An answer in JSON; `None` when the body is not JSON.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub json: Option<Value>,
}

/// Gets a URL, all within `timeout`.
///
/// # Errors
/// When there is no answer in time.
pub async fn get(url: &str, headers: HeaderMap, timeout: Duration) -> anyhow::Result<Answer> {
    tokio::time::timeout(timeout, exchange(url, headers))
        .await
        .with_context(|| format!("{url} took too long"))?
}

async fn exchange(url: &str, headers: HeaderMap) -> anyhow::Result<Answer> {
    let uri: Uri = url.parse()?;
    let host = uri.host().context("the URL has no host")?;
    let port = uri.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request =
        Request::builder().method(Method::GET).uri(uri.path_and_query().map_or("/", |p| p.as_str()));
    if let Some(all) = request.headers_mut() {
        *all = headers;
        all.insert(HOST, HeaderValue::from_str(uri.authority().map_or(host, |a| a.as_str()))?);
        all.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|e| anyhow::anyhow!("{e}"))?;
    driver.abort();
    Ok(Answer { status, json: serde_json::from_slice(&body.to_bytes()).ok() })
}
