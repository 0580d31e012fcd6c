//! HTTPS: the system's authorities or given ones, client certificates, and `-k`.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use super::{Curl, Failure};

/// Where systems keep the authorities that they trust.
const BUNDLES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Secures a connection to `host`.
pub async fn secure(curl: &Curl, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|_| Failure::Url(format!("{host:?} is no server name")))?;
    let connector = TlsConnector::from(Arc::new(config(curl)?));
    connector.connect(name, stream).await.map_err(|error| Failure::Tls(error.to_string()))
}

fn config(curl: &Curl) -> Result<ClientConfig, Failure> {
    let failed = |error: Error| Failure::Tls(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(failed)?;
    let builder = if curl.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(lateen_identity::AnyServer::new(provider)))
    } else {
        builder.with_root_certificates(roots(curl)?)
    };
    let Some(file) = &curl.cert else { return Ok(builder.with_no_client_auth()) };
    let key = curl.key.as_ref().unwrap_or(file);
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| Failure::Certificate(key.clone(), error.to_string()))?;
    builder.with_client_auth_cert(certificates(Path::new(file))?, key).map_err(failed)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |error: String| Failure::Certificate(file.display().to_string(), error);
    let iter = CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
    iter.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))
}

fn roots(curl: &Curl) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let system = BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    let file = curl.cacert.as_deref().map(Path::new).or(system);
    if let Some(file) = file {
        // A system's bundle may hold what rustls does not take; the rest is good.
        roots.add_parsable_certificates(certificates(file)?);
    }
    Ok(roots)
}
