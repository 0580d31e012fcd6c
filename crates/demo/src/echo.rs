//! The stand-in for images that cannot be run here: it answers on their ports and tells all that it knows of itself.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{self, env, pod_name};

/// The longest line and the largest body that are read, in bytes.
const MAX_INPUT: u64 = 64 * 1024;
/// How long a connection may take to say what it speaks.
const FIRST_BYTES: Duration = Duration::from_secs(60);
/// How HTTP begins: methods, and the preface of HTTP/2.
const HTTP: &[&[u8]] =
    &[b"GET ", b"HEAD", b"POST", b"PUT ", b"PATC", b"DELE", b"OPTI", b"TRAC", b"CONN", b"PRI "];

/// What the stand-in is told.
#[derive(Clone, Debug, Args)]
pub struct Echo {
    /// A port to answer on; may be given several times
    #[arg(long = "port")]
    pub ports: Vec<u16>,
    /// The image that it stands in for
    #[arg(long, default_value = "")]
    pub image: String,
    /// The pod's label `version`
    #[arg(long, default_value = "")]
    pub version: String,
}

/// Answers on all ports until SIGTERM.
///
/// # Errors
/// When a port cannot be listened on.
pub async fn run(echo: Echo) -> anyhow::Result<()> {
    let ended = server::ended()?;
    let image = if echo.image.is_empty() { "an image that cannot be run here" } else { &echo.image };
    println!("standing in for {image}, on ports {:?}", echo.ports);
    let me = Arc::new(identity(&echo));
    for port in &echo.ports {
        let listener = server::listen(*port).await?;
        tokio::spawn(accept(listener, me.clone()));
    }
    ended.await;
    Ok(())
}

/// What the stand-in says of itself.
fn identity(echo: &Echo) -> Value {
    let environment: BTreeMap<String, String> =
        std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into(), v.to_string_lossy().into())).collect();
    json!({
        "standIn": true,
        "image": echo.image,
        "pod": pod_name(),
        "namespace": env("POD_NAMESPACE"),
        "version": echo.version,
        "environment": environment,
    })
}

/// Answers every connection that comes.
pub async fn accept(listener: TcpListener, me: Arc<Value>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, me.clone()))),
            // Out of file descriptors: others must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, me: Arc<Value>) {
    // A peer that goes away is no matter of ours.
    let _ = match tokio::time::timeout(FIRST_BYTES, speaks_http(&stream)).await {
        Ok(Ok(true)) => http(stream, me).await,
        Ok(Ok(false)) => lines(stream, &me).await,
        _ => Ok(()),
    };
}

/// Whether the first bytes are HTTP's; waits until they can be told apart.
async fn speaks_http(stream: &TcpStream) -> std::io::Result<bool> {
    let mut start = [0; 4];
    loop {
        let length = stream.peek(&mut start).await?;
        let candidates = HTTP.iter().filter(|method| method.starts_with(&start[..length])).count();
        if length == 0 || candidates == 0 {
            return Ok(false);
        }
        if length == start.len() {
            return Ok(true);
        }
        // Some bytes are there, so peeking does not wait; give the rest time to come.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn http(stream: TcpStream, me: Arc<Value>) -> anyhow::Result<()> {
    let local = stream.local_addr()?;
    let peer = stream.peer_addr()?;
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut answer = (*me).clone();
        answer["port"] = local.port().into();
        answer["client"] = peer.ip().to_canonical().to_string().into();
        async move { Ok::<_, Infallible>(describe(request, answer).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    builder.serve_connection(TokioIo::new(stream), service).await.map_err(|e| anyhow::anyhow!("{e}"))
}

async fn describe(request: Request<Incoming>, mut answer: Value) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let mut headers = serde_json::Map::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let before =
            headers.get(name.as_str()).and_then(Value::as_str).map(|v| format!("{v},")).unwrap_or_default();
        headers.insert(name.to_string(), format!("{before}{value}").into());
    }
    answer["method"] = head.method.as_str().into();
    answer["path"] = head.uri.path_and_query().map_or("/", |path| path.as_str()).into();
    answer["headers"] = headers.into();
    let limit = usize::try_from(MAX_INPUT).unwrap_or(usize::MAX);
    if let Ok(body) = Limited::new(body, limit).collect().await {
        answer["body"] = String::from_utf8_lossy(&body.to_bytes()).into();
    }
    let mut response = Response::new(Full::new(Bytes::from(format!("{answer:#}\n"))));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

/// Answers each line with one line of JSON.
async fn lines(stream: TcpStream, me: &Value) -> anyhow::Result<()> {
    let port = stream.local_addr()?.port();
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        if (&mut reader).take(MAX_INPUT).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let mut answer = me.clone();
        answer["port"] = port.into();
        answer["line"] = String::from_utf8_lossy(&line).trim_end().into();
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
}
