//! TLS that we speak as a client.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use rustls::client::{ClientSessionMemoryCache, ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};

use super::context::{CommonContext, Trusted};
use super::secret::Certificate;
use super::slot::Dependent;
use super::stream::TlsStream;
use super::verify::{Mismatch, ServerVerifier};
use crate::http::io::Prefixed;
use crate::tls_info::{self, CertificateInfo, TlsInfo};

/// Sessions that are remembered, over all clusters: a store for each would cost more memory than the mesh's clusters
/// themselves. The library resumes a session only for the context that began it.
const REMEMBERED: usize = 2048;
static SESSIONS: LazyLock<Arc<ClientSessionMemoryCache>> =
    LazyLock::new(|| Arc::new(ClientSessionMemoryCache::new(REMEMBERED)));

/// Upstream TLS. Its certificates may be swapped while it is in use; none yet means that connections fail.
#[derive(Debug)]
pub struct TlsClient {
    current: ArcSwapOption<Ready>,
    context: CommonContext,
    /// Server name that is asked for; none: the endpoint's address (no SNI).
    pub server_name: Option<Box<str>>,
    /// Take the request's authority as the server name (`auto_sni`), or this request header.
    pub auto_sni: Option<Box<str>>,
    /// Take the endpoint's host name as the server name (`auto_host_sni`).
    pub host_sni: bool,
    /// Verify that the certificate bears the server name that was asked for.
    pub verify_name: bool,
    /// Remember sessions, to resume them.
    pub resume: bool,
}

/// A context that is complete.
#[derive(Debug)]
struct Ready {
    config: Arc<ClientConfig>,
    local: Option<Arc<CertificateInfo>>,
    verifies: bool,
}

/// A connection that is secured.
pub type Handshaken = (Box<TlsStream>, TlsInfo);

impl TlsClient {
    /// A context without settings of its own; [`TlsClient::start`] puts it together.
    pub fn new(context: CommonContext) -> Self {
        TlsClient {
            current: ArcSwapOption::empty(),
            context,
            server_name: None,
            auto_sni: None,
            host_sni: false,
            verify_name: false,
            resume: true,
        }
    }

    /// Puts the context together now and whenever one of its secrets changes.
    ///
    /// # Errors
    /// What is given in place cannot be used together.
    pub fn start(self) -> Result<Arc<Self>, String> {
        let client = Arc::new(self);
        client.context.register(&client);
        client.build()?;
        Ok(client)
    }

    /// Its settings that both directions have.
    pub fn context(&self) -> &CommonContext {
        &self.context
    }

    /// Whether connections can be secured.
    pub fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }

    /// Puts the context together; nothing changes while a secret is missing.
    fn build(&self) -> Result<(), String> {
        let Some(certificates) = self.context.certificates()? else { return Ok(()) };
        let trusted = self.context.validation()?;
        let parameters = &self.context.parameters;
        let builder = ClientConfig::builder_with_provider(parameters.provider.clone())
            .with_protocol_versions(&parameters.versions)
            .map_err(|error| error.to_string())?
            .dangerous();
        let verifies = matches!(&trusted, Trusted::By(validation) if !validation.accept_untrusted);
        let builder = match trusted {
            Trusted::NotYet => return Ok(()),
            Trusted::By(validation) => {
                let verifier =
                    ServerVerifier::new(validation, parameters.provider.clone(), self.verify_name)?;
                builder.with_custom_certificate_verifier(Arc::new(verifier))
            }
            // Envoy verifies nothing without a validation context.
            Trusted::Anyone => {
                let anyone = lateen_identity::AnyServer::new(parameters.provider.clone());
                builder.with_custom_certificate_verifier(Arc::new(anyone))
            }
        };
        let certificate: Option<&Arc<Certificate>> = certificates.first();
        let mut config = match certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(Shown(certificate.key.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.context.alpn.clone();
        config.resumption =
            if self.resume { Resumption::store(SESSIONS.clone()) } else { Resumption::disabled() };
        let local = certificate.map(|certificate| certificate.info.clone());
        self.current.store(Some(Arc::new(Ready { config: Arc::new(config), local, verifies })));
        Ok(())
    }

    /// The name to ask an endpoint for. `wanted` is the request's authority, or header, where that counts.
    pub fn name<'a>(&'a self, wanted: Option<&'a str>, host: Option<&'a str>) -> Option<&'a str> {
        let automatic = wanted.filter(|_| self.auto_sni.is_some()).map(crate::config::without_port);
        let host = host.filter(|_| self.host_sni);
        automatic.filter(|name| !name.is_empty()).or(host).or(self.server_name.as_deref())
    }

    /// Secures a connection. `alpn` replaces the context's protocols.
    ///
    /// # Errors
    /// Why it cannot be, in Envoy's words where it has some.
    pub async fn connect(
        &self,
        io: Prefixed,
        name: Option<&str>,
        address: IpAddr,
        alpn: Option<&[Vec<u8>]>,
    ) -> Result<Handshaken, (String, Option<rustls::Error>)> {
        let plain = |text: String| (text, None);
        let ready = self.current.load_full();
        let ready = ready.ok_or_else(|| plain("TLS_error: Secret is not supplied by SDS".to_owned()))?;
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned())
                .map_err(|_| plain(format!("TLS_error: invalid server name {name:?}")))?,
            None => ServerName::IpAddress(address.into()),
        };
        let stream = TlsStream::connect(ready.config.clone(), name, alpn.map(<[_]>::to_vec), io).await;
        let stream = stream.map_err(|error| failure(&error))?;
        let mut info = tls_info::of(stream.session(), ready.verifies);
        info.local.clone_from(&ready.local);
        Ok((Box::new(stream), info))
    }
}

/// Shows the one certificate, which all contexts share.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn failure(error: &io::Error) -> (String, Option<rustls::Error>) {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).cloned();
    let text = match &tls {
        Some(tls) => format!("TLS_error:{}:TLS_error_end", Mismatch::describe(tls)),
        None => format!("TLS_error: {error}"),
    };
    (text, tls)
}

impl Dependent for TlsClient {
    fn rebuild(&self) {
        if let Err(error) = self.build() {
            tracing::warn!(%error, "a TLS context cannot use its secrets; the last good ones stay");
        }
    }
}
