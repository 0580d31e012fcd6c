//! Applications' health over TLS and over gRPC.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lateen_identity::AnyServer;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Most bytes of an answer of the health service.
const MAX_ANSWER: usize = 4 << 10;
/// `SERVING` as a field of `HealthCheckResponse`.
const SERVING: [u8; 2] = [0x08, 1];

static CLIENT: LazyLock<Option<Arc<ClientConfig>>> = LazyLock::new(|| {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let verifier = Arc::new(AnyServer::new(provider));
    Some(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
});

/// Shakes hands with an application, whose certificate is not verified: as the kubelet's own probes do it
/// (Kubernetes, "Configure Probes").
pub(crate) async fn shake_hands(stream: TcpStream, address: IpAddr) -> Option<TlsStream<TcpStream>> {
    let config = CLIENT.as_ref()?.clone();
    TlsConnector::from(config).connect(ServerName::from(address), stream).await.ok()
}

/// Asks the health service (`grpc.health.v1.Health/Check`) over a connection; none: there is no answer.
pub(crate) async fn is_serving(stream: TcpStream, service: &str) -> Option<bool> {
    // HealthCheckRequest: the service's name as field 1, left out where it is empty.
    let length = u8::try_from(service.len()).ok().filter(|length| *length < 0x80)?;
    let message = if length == 0 { Vec::new() } else { [&[0x0a, length], service.as_bytes()].concat() };
    let frame = [&[0, 0, 0, 0, u8::try_from(message.len()).ok()?], &message[..]].concat();
    let authority = stream.peer_addr().ok()?;
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(frame)))
        .ok()?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.ok()?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        Some(Limited::new(response.into_body(), MAX_ANSWER).collect().await.ok()?.to_bytes())
    };
    let answer = answer.await;
    connection.abort();
    Some(answer?.get(5..).is_some_and(|message| message.starts_with(&SERVING)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::post;
    use tokio::net::TcpListener;

    /// A health service that answers with this status.
    async fn serving(status: u8) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move || async move {
            ([("content-type", "application/grpc")], vec![0, 0, 0, 0, 2, 0x08, status])
        };
        let router = axum::Router::new().route("/grpc.health.v1.Health/Check", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_an_application_that_says_that_it_serves_is_healthy() {
        assert_eq!(is_serving(serving(1).await, "shop").await, Some(true));
        assert_eq!(is_serving(serving(2).await, "").await, Some(false));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_speaks_no_grpc_gives_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { drop(listener.accept().await) });
        assert_eq!(is_serving(TcpStream::connect(address).await.unwrap(), "").await, None);
    }
}
