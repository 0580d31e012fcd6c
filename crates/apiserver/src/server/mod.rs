//! The HTTP side: connections, authentication, routes, answers.

mod auth;
mod query;
pub mod reply;
pub mod route;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub use auth::{User, token_claims};
pub use query::Query;
pub use reply::Reply;

use crate::authorize;
use crate::context::Context;

/// Connections may be this many at once: a laptop's clients are dozens.
const CONNECTIONS: usize = 4096;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// An HTTP/1 connection may wait this long for a request's head; an HTTP/2 one is asked whether it lives.
const IDLE: Duration = Duration::from_secs(90);
/// Streams that one HTTP/2 client may have open; watches take one each.
const STREAMS: u32 = 1000;

/// What every request passes along.
pub struct Request {
    /// The request line and headers.
    pub head: http::request::Parts,
    /// The body, until someone reads it.
    pub body: Option<Incoming>,
    /// Parameters.
    pub query: Query,
    /// Who asks.
    pub user: User,
    /// A connection that may be upgraded.
    pub upgrade: Option<hyper::upgrade::OnUpgrade>,
}

/// Accepts connections until the server stops.
pub async fn serve(context: Arc<Context>, listener: TcpListener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let permits = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = context.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let Ok(permit) = permits.clone().try_acquire_owned() else { continue };
                let (context, acceptor) = (context.clone(), acceptor.clone());
                tokio::spawn(async move {
                    connection(&context, stream, acceptor).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors: others will close.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(context: &Arc<Context>, stream: TcpStream, acceptor: TlsAcceptor) {
    // Small answers should not wait for acknowledgements; a socket that refuses still works.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let peer = auth::from_certificate(stream.get_ref().1.peer_certificates());
    let service = service_fn(|request: http::Request<Incoming>| {
        let (context, peer) = (context.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer(&context, peer, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    let http2 = &mut builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(IDLE).max_concurrent_streams(STREAMS);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = context.stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let grace = Duration::from_millis(500);
            tokio::time::timeout(grace, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(context: &Arc<Context>, peer: Option<User>, mut request: http::Request<Incoming>) -> Reply {
    let upgrade = request.headers().contains_key(http::header::UPGRADE);
    let upgrade = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let user = auth::authenticate(context, peer, &head.headers);
    let user = user.and_then(|user| authorize::impersonate::user(context, user, &head.headers));
    let user = match user {
        Ok(user) => user,
        Err(error) => return reply::error(&error),
    };
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let request = Request { head, body: Some(body), query, user, upgrade };
    match route::route(context, request).await {
        Ok(reply) => reply,
        Err(error) => reply::error(&error),
    }
}
