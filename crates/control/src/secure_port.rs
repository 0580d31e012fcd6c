//! Port 15012: xDS and the certificate authority over TLS, for callers that prove who they are.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use lateen_identity::{SpiffeId, identities};
use lateen_xds::certificates::{CREATE_CERTIFICATE, CertificateRequest};
use lateen_xds::grpc::{self, GrpcBody};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::accept::accept;
use crate::ads::{self, Access};
use crate::auth::{Authenticator, Evidence};
use crate::ca::{CertificateService, ServingTls};
use crate::{Context, Refusal};

/// Connections that may be open at once.
const MAX_CONNECTIONS: usize = 20_000;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A request for a certificate that is longer is not read.
const MAX_REQUEST: usize = 64 << 10;
/// How long reading such a request may take.
const READ: Duration = Duration::from_secs(10);

/// What the port serves.
#[derive(Clone)]
pub(crate) struct SecurePort {
    pub context: Arc<Context>,
    pub certificates: Arc<CertificateService>,
    pub authenticator: Authenticator,
    /// Whether a caller's identity must be that of its node (`ENABLE_XDS_IDENTITY_CHECK`).
    pub check_identity: bool,
    /// The control plane's namespace.
    pub system: Arc<str>,
}

/// Serves the port until `shutdown`. Before the first serving certificate is there, connections wait.
pub(crate) async fn serve(
    listener: TcpListener,
    mut tls: watch::Receiver<Option<Arc<ServingTls>>>,
    port: SecurePort,
    shutdown: CancellationToken,
) {
    tokio::select! {
        found = tls.wait_for(Option::is_some) => if found.is_err() { return },
        () = shutdown.cancelled() => return,
    }
    let stop = shutdown.clone();
    accept(listener, ("15012", MAX_CONNECTIONS), shutdown, |stream, peer| {
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow().as_ref()?.secure));
        Some(connection(stream, peer, acceptor, port.clone(), stop.clone()))
    })
    .await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    port: SecurePort,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let slow = || std::io::Error::new(std::io::ErrorKind::TimedOut, "it took too long");
    let stream = match handshake.unwrap_or_else(|_| Err(slow())) {
        Ok(stream) => stream,
        Err(error) => {
            port.context.metrics.refusals.on(Refusal::Handshake);
            return tracing::warn!(%peer, %error, "TLS handshake failed");
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate: Arc<[SpiffeId]> = certificate.map(identities).unwrap_or_default().into();
    let stop = shutdown.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let evidence = Evidence::new(peer, &certificate, request.headers());
        let (port, stop) = (port.clone(), stop.clone());
        async move { Ok::<_, Infallible>(port.route(request, evidence, stop).await) }
    });
    ads::serve_connection(stream, service, shutdown).await;
}

impl SecurePort {
    async fn route(
        &self,
        request: Request<Incoming>,
        evidence: Evidence,
        shutdown: CancellationToken,
    ) -> Response<GrpcBody> {
        if request.uri().path() != CREATE_CERTIFICATE {
            let access = Access::Proved {
                authenticator: self.authenticator.clone(),
                evidence,
                check_identity: self.check_identity,
                system: Arc::clone(&self.system),
            };
            return ads::route(request, Arc::clone(&self.context), access, shutdown);
        }
        let outcome = match read(request.into_body()).await {
            Ok(request) => self.certificates.create(&evidence, request).await,
            Err(status) => {
                self.context.metrics.ca.on_request();
                self.context.metrics.ca.on_parse_error();
                tracing::warn!(peer = %evidence.peer, reason = status.message(), "certificate refused");
                Err(status)
            }
        };
        match outcome {
            Ok(response) => grpc::response(GrpcBody::single(grpc::framed(&response))),
            Err(status) => grpc::refusal(&status),
        }
    }
}

/// The one message of a unary call.
async fn read(body: Incoming) -> Result<CertificateRequest, Status> {
    let collected = tokio::time::timeout(READ, Limited::new(body, MAX_REQUEST).collect()).await;
    let collected = collected.map_err(|_| Status::deadline_exceeded("the request takes too long"))?;
    let bytes = collected
        .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Status::resource_exhausted(format!("the request has more than {MAX_REQUEST} bytes")),
            None => Status::cancelled("the request broke off"),
        })?
        .to_bytes();
    grpc::unframed(bytes)
}
