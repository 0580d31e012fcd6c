//! The control plane's streams, in the workload's name: the proxy needs no credentials of its own.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lateen_xds::grpc;
use tokio::net::{UnixListener, UnixStream};
use tonic::{Code, Status};

use super::socket;
use super::upstream::Upstream;

/// The only service that is relayed: the proxy has no business with the others.
const SERVICE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
/// Streams that a proxy may have open.
const MAX_STREAMS: u32 = 8;
/// What the proxy may send ahead of the control plane's reading.
const WINDOW: u32 = 128 << 10;

/// Relays the streams of the proxy for ever.
pub(super) async fn serve(listener: UnixListener, upstream: Arc<Upstream>) {
    socket::serve(listener, |stream| connection(stream, Arc::clone(&upstream))).await;
}

async fn connection(stream: UnixStream, upstream: Arc<Upstream>) {
    let service = service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        async move { Ok::<_, Infallible>(relay(request, &upstream).await) }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "the proxy's connection ended");
    }
}

async fn relay(
    request: Request<Incoming>,
    upstream: &Upstream,
) -> Response<UnsyncBoxBody<Bytes, hyper::Error>> {
    let refuse = |code: Code, reason: &str| {
        grpc::refusal(&Status::new(code, reason))
            .map(|body| body.map_err(|never| match never {}).boxed_unsync())
    };
    if !request.uri().path().starts_with(SERVICE) {
        return refuse(Code::Unimplemented, "only the AggregatedDiscoveryService is relayed");
    }
    match upstream.send(request.map(BodyExt::boxed_unsync)).await {
        Ok(response) => response.map(BodyExt::boxed_unsync),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(error, "the control plane cannot be reached");
            refuse(Code::Unavailable, &error)
        }
    }
}
