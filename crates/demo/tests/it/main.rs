//! The demo applications over real sockets.

mod bookinfo;
mod curl;
mod echo;
mod httpbin;
mod images;

use axum::Router;
use lateen_demo::server;
use tokio::net::TcpListener;

/// Serves a router on a port of its own; says which.
async fn start(router: Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { server::serve_on(listener, router).await.unwrap() });
    port
}
