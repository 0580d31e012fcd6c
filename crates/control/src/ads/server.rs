use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lateen_xds::grpc::{self, GrpcBody};
use lateen_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use lateen_xds::server::Protocol;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::codec::{Codec, Streaming};
use tonic::{Code, Status};

use super::access::Access;
use super::connection;
use super::discovery::Discovery;
use crate::Context;
use crate::accept::accept;

const SERVICE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";

/// A request that is larger is refused: ten thousand subscribed names with their versions fit.
const MAX_REQUEST: usize = 8 << 20;

/// Streams that one connection may have open.
const MAX_STREAMS: u32 = 16;

/// Size of a request's headers: a token has a few KiB at most.
const MAX_HEADERS: u32 = 32 << 10;

/// Octets of pushes that wait in a connection for its peer: with many proxies at once this is what a push takes.
const MAX_SEND_BUFFER: usize = 64 << 10;

/// Connections that may be open at once.
const MAX_CONNECTIONS: usize = 20_000;

/// Pings that find dead proxies (istiod: `PILOT_GRPC_KEEPALIVE_INTERVAL`, `..._TIMEOUT`).
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves ADS on a listener until `shutdown`.
pub async fn serve(listener: TcpListener, context: Arc<Context>, shutdown: CancellationToken) {
    let stop = shutdown.clone();
    accept(listener, ("xDS", MAX_CONNECTIONS), shutdown, |stream, _| {
        Some(connection(stream, Arc::clone(&context), stop.clone()))
    })
    .await;
}

async fn connection(stream: TcpStream, context: Arc<Context>, shutdown: CancellationToken) {
    // Pushes are small and urgent.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let stop = shutdown.clone();
    let service = service_fn(move |request| {
        let response = route(request, Arc::clone(&context), Access::Open, stop.clone());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    serve_connection(stream, service, shutdown).await;
}

/// Serves HTTP/2 on a connection until it, or `shutdown`, ends it.
pub(crate) async fn serve_connection<I, S>(stream: I, service: S, shutdown: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = GrpcBody, Error = Infallible> + 'static,
    S::Future: Send + 'static,
{
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            // Streams end by themselves on shutdown; a peer that does not read must not hold us up.
            tokio::time::timeout(Duration::from_secs(2), served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "xDS connection ended");
    }
}

/// Answers a request for one of ADS's two streams.
pub(crate) fn route(
    request: Request<Incoming>,
    context: Arc<Context>,
    access: Access,
    shutdown: CancellationToken,
) -> Response<GrpcBody> {
    match request.uri().path().strip_prefix(SERVICE) {
        Some("DeltaAggregatedResources") => {
            stream::<DeltaDiscoveryRequest>(request, Protocol::Delta, context, access, shutdown)
        }
        Some("StreamAggregatedResources") => {
            stream::<DiscoveryRequest>(request, Protocol::StateOfTheWorld, context, access, shutdown)
        }
        _ => grpc::refusal(&Status::new(Code::Unimplemented, "this service is not served here")),
    }
}

fn stream<Q: Discovery + Message + Default + 'static>(
    request: Request<Incoming>,
    protocol: Protocol,
    context: Arc<Context>,
    access: Access,
    shutdown: CancellationToken,
) -> Response<GrpcBody> {
    let decoder = tonic_prost::ProstCodec::<(), Q>::default().decoder();
    let requests = Streaming::new_request(decoder, request.into_body(), None, Some(MAX_REQUEST));
    let (sender, body) = GrpcBody::stream();
    tokio::spawn(connection::run(requests, sender, protocol, context, access, shutdown));
    grpc::response(body)
}
