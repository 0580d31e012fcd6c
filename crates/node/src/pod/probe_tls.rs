//! TLS of probes: as kubelet's, it takes any certificate.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use lateen_identity::AnyServer;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Source: Kubernetes, "Configure Probes": with scheme HTTPS "the kubelet sends an HTTPS request skipping the
/// certificate verification".
static CLIENT: LazyLock<Result<Arc<ClientConfig>, Error>> = LazyLock::new(|| {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(AnyServer::new(provider));
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
});

/// Shakes hands over a connection.
///
/// # Errors
/// In words, for the Unhealthy event.
pub(super) async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    host: Option<&str>,
) -> Result<TlsStream<TcpStream>, String> {
    let config = CLIENT.as_ref().map_err(|error| format!("tls: {error}"))?.clone();
    let name = host.and_then(|host| ServerName::try_from(host.to_owned()).ok());
    let name = name.unwrap_or_else(|| ServerName::from(address.ip()));
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| format!("tls: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn what_speaks_no_tls_is_told_from_what_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 64];
            let _ = stream.read(&mut buffer).await;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let error = shake_hands(stream, address, None).await.unwrap_err();
        assert!(error.starts_with("tls: "), "{error}");
    }

    #[tokio::test]
    async fn any_certificate_will_do() {
        let authority =
            lateen_identity::Authority::create("probe", std::time::Duration::from_secs(3600)).unwrap();
        let leaf = lateen_identity::LeafRequest::server(["elsewhere"], std::time::Duration::from_secs(600));
        let server = authority.issue(&leaf).unwrap().server_config(&[], None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
            let mut stream = acceptor.accept(stream).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = shake_hands(stream, address, None).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello");
    }
}
