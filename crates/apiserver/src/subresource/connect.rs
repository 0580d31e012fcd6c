//! Logs, exec, attach and port-forward: passed through to the node's kubelet interface on its unix socket.

use std::path::Path;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::found;
use crate::object;
use crate::server::{Reply, Request, reply};
use crate::status::{ApiError, Result};
use crate::verbs::Call;

/// The container that a request names, or the only one there can be meant.
fn container(request: &Request, pod: &Value) -> Result<String> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let names = |list: &str| -> Vec<String> {
        object::list(pod, &["spec", list]).iter().map(|c| object::text(c, &["name"]).to_owned()).collect()
    };
    let (all, main) = (lists.iter().flat_map(|list| names(list)).collect::<Vec<_>>(), names("containers"));
    let pod_name = object::name(pod);
    let annotation = "kubectl.kubernetes.io/default-container";
    let chosen = request.query.get("container").map(str::to_owned).or_else(|| {
        let default = object::text(pod, &["metadata", "annotations", annotation]).to_owned();
        main.iter().find(|name| **name == default).cloned()
    });
    match chosen {
        Some(name) if all.contains(&name) => Ok(name),
        Some(name) => {
            let message = format!("container {name} is not valid for pod {pod_name}");
            Err(ApiError::bad_request(message))
        }
        None if main.len() == 1 => Ok(main[0].clone()),
        None => {
            let message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                main.join(" ")
            );
            Err(ApiError::bad_request(message))
        }
    }
}

fn socket<'a>(call: &'a Call, pod: &Value) -> Result<&'a Path> {
    let node = object::text(pod, &["spec", "nodeName"]);
    if node.is_empty() {
        let message = format!("pod {} does not have a host assigned", object::name(pod));
        return Err(ApiError::bad_request(message));
    }
    let none = || ApiError::internal(format!("node {node:?} has no kubelet interface"));
    call.context.node_socket.as_deref().ok_or_else(none)
}

fn query(request: &Request) -> String {
    request.head.uri.query().map(|q| format!("?{q}")).unwrap_or_default()
}

/// Answers with a container's log.
pub async fn log(call: &Call, request: Request, name: &str) -> Result<Reply> {
    let pod = found(call, name)?;
    let container = container(&request, &pod)?;
    if object::text(&pod, &["spec", "nodeName"]).is_empty() {
        // Nothing has been said yet.
        return Ok(reply::bytes(StatusCode::OK, "text/plain", Bytes::new()));
    }
    let socket = socket(call, &pod)?;
    let path = format!("/containerLogs/{}/{name}/{container}{}", call.namespace, query(&request));
    let response = send(socket, http::Request::get(path), &HeaderMap::new(), Bytes::new()).await?;
    pass(response).await
}

/// Connects the client with a container: what it sends goes to the node byte by byte, and back.
pub async fn stream(call: &Call, mut request: Request, name: &str, sub: &str) -> Result<Reply> {
    let pod = found(call, name)?;
    let socket = socket(call, &pod)?;
    let path = match sub {
        "portforward" => format!("/portForward/{}/{name}{}", call.namespace, query(&request)),
        _ => {
            let container = container(&request, &pod)?;
            format!("/{sub}/{}/{name}/{container}{}", call.namespace, query(&request))
        }
    };
    let upgrade = request.head.headers.get(UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("websocket") {
        let message = format!(
            "unable to upgrade: {} is not spoken here, use WebSocket (kubectl 1.31 or later does)",
            if upgrade.is_empty() { "a plain request" } else { upgrade }
        );
        return Err(ApiError::bad_request(message));
    }
    let Some(client) = request.upgrade.take() else {
        return Err(ApiError::bad_request("the connection cannot be upgraded"));
    };
    let mut response = send(socket, http::Request::get(path), &request.head.headers, Bytes::new()).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return pass(response).await;
    }
    let node = hyper::upgrade::on(&mut response);
    let stop = call.context.stop.clone();
    tokio::spawn(async move {
        let (Ok(client), Ok(node)) = tokio::join!(client, node) else { return };
        let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
        tokio::select! {
            // Either side may simply hang up.
            _ = tokio::io::copy_bidirectional(&mut client, &mut node) => {}
            () = stop.cancelled() => {}
        }
    });
    let (head, _) = response.into_parts();
    let mut reply = http::Response::from_parts(head, reply::full(Bytes::new()));
    reply.headers_mut().remove(http::header::CONTENT_LENGTH);
    Ok(reply)
}

/// Sends a request to the node, with the headers that WebSocket needs.
async fn send(
    socket: &Path,
    builder: http::request::Builder,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<http::Response<Incoming>> {
    let failed =
        |e: &dyn std::fmt::Display| ApiError::internal(format!("cannot reach the node's kubelet: {e}"));
    let stream = UnixStream::connect(socket).await.map_err(|e| failed(&e))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| failed(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the connection to the kubelet ended");
        }
    });
    let mut request = builder.header(HOST, "node").body(Full::new(body)).map_err(|e| failed(&e))?;
    for (name, value) in headers {
        let wanted = name == UPGRADE || name == CONNECTION || name.as_str().starts_with("sec-websocket");
        if wanted {
            request.headers_mut().append(name, value.clone());
        }
    }
    sender.send_request(request).await.map_err(|e| failed(&e))
}

/// Passes the node's answer on; its errors become the API's.
async fn pass(response: http::Response<Incoming>) -> Result<Reply> {
    let (head, body) = response.into_parts();
    if head.status.is_success() {
        let body = body.map_err(std::io::Error::other).boxed_unsync();
        let mut reply = http::Response::new(body);
        *reply.status_mut() = head.status;
        if let Some(kind) = head.headers.get(http::header::CONTENT_TYPE) {
            reply.headers_mut().insert(http::header::CONTENT_TYPE, kind.clone());
        }
        return Ok(reply);
    }
    let text = http_body_util::Limited::new(body, 64 * 1024).collect().await;
    let text = text.map(|t| String::from_utf8_lossy(&t.to_bytes()).trim().to_owned()).unwrap_or_default();
    let reason = match head.status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::BAD_REQUEST => "BadRequest",
        _ => "InternalError",
    };
    Err(ApiError::new(head.status, reason, text))
}
