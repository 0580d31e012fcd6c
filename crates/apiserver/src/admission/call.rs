//! Speaking to a webhook: one TLS connection a webhook, kept open.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::context::Context;
use crate::object;

/// No answer may be larger.
const MAX_ANSWER: usize = 3 * 1024 * 1024;

/// Where a webhook is, and how it is trusted.
pub struct Target {
    host: String,
    port: u16,
    path: String,
    address: Option<SocketAddr>,
    ca: String,
}

impl Target {
    /// Reads a webhook's `clientConfig`.
    ///
    /// # Errors
    /// When its service does not exist or its URL cannot be used.
    pub fn of(context: &Context, webhook: &Value) -> Result<Self, String> {
        let config = webhook.get("clientConfig").unwrap_or(&Value::Null);
        let ca = object::text(config, &["caBundle"]).to_owned();
        if let Some(url) = config.get("url").and_then(Value::as_str) {
            let uri: http::Uri = url.parse().map_err(|e| format!("its url {url:?} cannot be used: {e}"))?;
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
            return Ok(Self { host, port: uri.port_u16().unwrap_or(443), path, address: None, ca });
        }
        let text = |field: &str| object::text(config, &["service", field]);
        let (namespace, name) = (text("namespace"), text("name"));
        let port =
            object::int(config, &["service", "port"]).and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
        let path = format!("/{}", text("path").trim_start_matches('/'));
        let address = match context.resolver.as_ref().and_then(|resolve| resolve(namespace, name, port)) {
            Some(address) => address,
            None => {
                let service = context.get("/services", namespace, name);
                let service = service.ok_or_else(|| format!("service \"{name}\" not found"))?;
                let ip = object::text(&service, &["spec", "clusterIP"]);
                let ip = ip.parse().map_err(|_| format!("service \"{name}\" has no cluster IP"))?;
                SocketAddr::new(ip, port)
            }
        };
        Ok(Self { host: format!("{name}.{namespace}.svc"), port, path, address: Some(address), ca })
    }

    /// The URL, for messages.
    pub fn url(&self) -> String {
        format!("https://{}:{}{}", self.host, self.port, self.path)
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// Connections to webhooks.
#[derive(Default)]
pub struct Clients {
    idle: Mutex<HashMap<String, Vec<Sender>>>,
    tls: Mutex<HashMap<String, Arc<ClientConfig>>>,
}

impl Clients {
    /// Closes connections: what they lead to may have changed.
    pub fn forget(&self) {
        self.idle.lock().clear();
        self.tls.lock().clear();
    }

    /// Posts a review and returns the answer.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the user.
    pub async fn post(&self, target: &Target, body: Bytes) -> Result<Value, String> {
        let shown = target.url();
        let failed = |error: String| format!("failed to call webhook: Post {shown:?}: {error}");
        let key = format!("{}:{}:{:?}", target.host, target.port, target.address);
        let pooled = self.idle.lock().get_mut(&key).and_then(Vec::pop).filter(|s| !s.is_closed());
        if let Some(mut sender) = pooled
            && let Ok(answer) = exchange(&mut sender, target, body.clone()).await
        {
            self.keep(key, sender);
            return Ok(answer);
        }
        let mut sender = self.connect(target).await.map_err(failed)?;
        let answer = exchange(&mut sender, target, body).await.map_err(failed)?;
        self.keep(key, sender);
        Ok(answer)
    }

    fn keep(&self, key: String, sender: Sender) {
        const IDLE: usize = 8;
        let mut idle = self.idle.lock();
        let senders = idle.entry(key).or_default();
        senders.retain(|s| !s.is_closed());
        if senders.len() < IDLE && !sender.is_closed() {
            senders.push(sender);
        }
    }

    async fn connect(&self, target: &Target) -> Result<Sender, String> {
        let stream = match target.address {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((target.host.as_str(), target.port)).await,
        };
        let stream = stream.map_err(|e| e.to_string())?;
        // Delay costs latency only.
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(target.host.clone()).map_err(|e| e.to_string())?;
        let connector = TlsConnector::from(self.config(&target.ca)?);
        let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|e| e.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a webhook's connection ended");
            }
        });
        Ok(sender)
    }

    fn config(&self, ca: &str) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.tls.lock().get(ca) {
            return Ok(config.clone());
        }
        let pem =
            base64::engine::general_purpose::STANDARD.decode(ca).map_err(|e| format!("its caBundle: {e}"))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|e| format!("its caBundle: {e}"))?;
            roots.add(certificate).map_err(|e| format!("its caBundle: {e}"))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.map_err(|e| e.to_string())?.with_root_certificates(roots).with_no_client_auth();
        let config = Arc::new(config);
        self.tls.lock().insert(ca.to_owned(), config.clone());
        Ok(config)
    }
}

async fn exchange(sender: &mut Sender, target: &Target, body: Bytes) -> Result<Value, String> {
    sender.ready().await.map_err(|e| e.to_string())?;
    let request = http::Request::post(&target.path)
        .header(HOST, format!("{}:{}", target.host, target.port))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body.to_bytes()).chars().take(200).collect::<String>();
        return Err(format!("it answered {status}: {text}"));
    }
    serde_json::from_slice(&body.to_bytes()).map_err(|e| format!("its answer is no AdmissionReview: {e}"))
}
