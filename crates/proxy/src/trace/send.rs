//! Spans wait on the worker that made them, and go to the collector in batches, by a task of the worker.

use super::span::Span;
use super::{otlp, zipkin};
use crate::config::{TraceProtocol, Tracer};
use crate::http::{Headers, RequestHead, Scheme};
use crate::upstream::call::{Answer, Call, call};
use crate::worker::Worker;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long spans wait for others to go with.
const COLLECT: Duration = Duration::from_millis(500);
/// Most bytes of a collector's answer, of which nothing is read.
const MAX_ANSWER: usize = 64 << 10;

/// Spans of one worker, by the tracer that sends them. A tracer is here for as long as a task sends its spans.
#[derive(Debug, Default)]
pub struct Waiting(RefCell<HashMap<usize, Vec<Span>>>);

/// Hands spans over. Where too many wait, they are dropped and counted.
pub(super) fn queue(worker: &Rc<Worker>, tracer: &Arc<Tracer>, spans: Vec<Span>) {
    let key = Arc::as_ptr(tracer) as usize;
    let mut waiting = worker.spans.0.borrow_mut();
    if let Some(list) = waiting.get_mut(&key) {
        if list.len() + spans.len() > tracer.most {
            tracer.counts.dropped.fetch_add(spans.len() as u64, Ordering::Relaxed);
        } else {
            list.extend(spans);
        }
        return;
    }
    waiting.insert(key, spans);
    drop(waiting);
    tokio::task::spawn_local(send_all(worker.clone(), tracer.clone(), key));
}

/// Sends batches until nothing waits any more.
async fn send_all(worker: Rc<Worker>, tracer: Arc<Tracer>, key: usize) {
    loop {
        tokio::time::sleep(COLLECT).await;
        let batch = {
            let mut waiting = worker.spans.0.borrow_mut();
            match waiting.get_mut(&key).map(std::mem::take) {
                Some(batch) if !batch.is_empty() => batch,
                _ => {
                    waiting.remove(&key);
                    return;
                }
            }
        };
        let count = batch.len() as u64;
        match send(&worker, &tracer, &batch).await {
            Ok(()) => drop(tracer.counts.sent.fetch_add(count, Ordering::Relaxed)),
            Err(reason) => {
                tracer.counts.dropped.fetch_add(count, Ordering::Relaxed);
                tracing::debug!(cluster = %tracer.cluster.name, reason, count, "spans were not taken");
            }
        }
    }
}

async fn send(worker: &Rc<Worker>, tracer: &Tracer, batch: &[Span]) -> Result<(), String> {
    let (body, kind) = match tracer.protocol {
        TraceProtocol::Zipkin => (zipkin::encode(tracer, batch), "application/json"),
        TraceProtocol::OtlpHttp => (otlp::encode(tracer, batch), "application/x-protobuf"),
        TraceProtocol::OtlpGrpc => (framed(&otlp::encode(tracer, batch)), "application/grpc"),
    };
    let grpc = tracer.protocol == TraceProtocol::OtlpGrpc;
    let mut headers = Headers::new();
    headers.append_static("content-type", kind);
    if grpc {
        headers.append_static("te", "trailers");
    } else {
        headers.append("content-length", body.len().to_string());
    }
    for (name, value) in &tracer.headers {
        headers.append_own(name.clone(), value.clone());
    }
    let head = RequestHead {
        method: http::Method::POST,
        authority: tracer.authority.clone(),
        path: tracer.path.clone(),
        scheme: Scheme::Http,
        headers,
    };
    let request =
        Call { head: &head, body: body.into(), http2: grpc, limit: tracer.timeout, most: MAX_ANSWER };
    let answer = call(worker, &tracer.cluster, request).await.map_err(|failure| format!("{failure:?}"))?;
    accepted(&answer, grpc)
}

fn accepted(answer: &Answer, grpc: bool) -> Result<(), String> {
    let status = answer.head.status;
    if !(200..300).contains(&status) {
        return Err(format!("status {status}"));
    }
    let of = |headers: &Headers| headers.get_str("grpc-status").map(str::to_owned);
    let status = answer.trailers.as_ref().and_then(of).or_else(|| of(&answer.head.headers));
    match status {
        Some(code) if grpc && code != "0" => Err(format!("grpc-status {code}")),
        _ => Ok(()),
    }
}

/// A message as gRPC sends it: not compressed, with its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(message.len() + 5);
    body.push(0);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(message);
    body
}
