//! Serving HTTP: listening, ending, answers.

use std::net::Ipv6Addr;

use anyhow::Context;
use axum::Router;
use axum::extract::Query;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Listens on `port` of all addresses, IPv6 where the machine has it.
///
/// # Errors
/// When the port is taken or not allowed.
pub async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(("0.0.0.0", port))
            .await
            .with_context(|| format!("cannot listen on port {port}"))?,
    };
    Ok(listener)
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the port cannot be listened on.
pub async fn serve(router: Router, port: u16) -> anyhow::Result<()> {
    serve_on(listen(port).await?, router).await
}

/// Serves on a listener until SIGTERM or SIGINT; requests that have begun are finished.
///
/// # Errors
/// When signals cannot be waited for.
pub async fn serve_on(listener: TcpListener, router: Router) -> anyhow::Result<()> {
    println!("listening on {}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // Without it, small answers wait for an acknowledgement; where it fails they are slower, no more.
        let _ = stream.set_nodelay(true);
    });
    let end = ended()?;
    axum::serve(listener, router).with_graceful_shutdown(end).await?;
    Ok(())
}

/// Waits for SIGTERM or SIGINT. As the first process of a container, these would otherwise be ignored.
///
/// # Errors
/// When signals cannot be waited for.
pub fn ended() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// An answer in JSON, made to be read.
pub fn pretty(status: StatusCode, value: &Value) -> Response {
    let text = format!("{value:#}\n");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The pod's name.
pub fn pod_name() -> String {
    let named = ["POD_NAME", "HOSTNAME"].iter().find_map(|name| env(name));
    named
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()))
        .unwrap_or_default()
}

/// An environment variable that is set and not empty.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The pairs of a form (`application/x-www-form-urlencoded`), which is written as a query is; none when it is not one.
pub fn form(body: &[u8]) -> Vec<(String, String)> {
    let uri = format!("/?{}", String::from_utf8_lossy(body)).parse::<Uri>();
    let pairs = uri.ok().and_then(|uri| Query::<Vec<(String, String)>>::try_from_uri(&uri).ok());
    pairs.map(|Query(pairs)| pairs).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_like_a_query() {
        assert_eq!(
            form(b"a=1&b=x%20y+z"),
            [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x y z".to_owned())]
        );
        assert_eq!(form(b"\xff\0 "), []);
    }
}
