//! Fetches key sets, off the path of requests: a task for each source, on one worker.

use crate::config::{NewKeys, RemoteKeys};
use crate::http::{Headers, RequestHead, Scheme};
use crate::jose::KeySet;
use crate::upstream::call::{Call, call};
use crate::worker::Worker;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Weak;
use std::time::Duration;

/// Longest key set that is read.
const MAX_SET: usize = 1 << 20;
/// Shortest time between two fetches of one source, however many ask.
const SHORTEST: Duration = Duration::from_millis(200);

/// Fetches for every source that comes up.
pub async fn run(worker: Rc<Worker>, mut new: NewKeys) {
    while let Some(source) = new.recv().await {
        tokio::task::spawn_local(keep(worker.clone(), source));
    }
}

/// Keeps one source's keys fresh, as long as somebody uses it.
async fn keep(worker: Rc<Worker>, source: Weak<RemoteKeys>) {
    while let Some(keys) = source.upgrade() {
        let result = fetch(&worker, &keys).await;
        let next = if result.is_ok() { keys.spec.cache } else { keys.spec.retry };
        if let Err(reason) = &result {
            let kept = keys.load().is_some();
            tracing::warn!(cluster = %keys.spec.cluster, host = %keys.spec.authority, path = %keys.spec.path,
                reason, kept, "a JSON web key set could not be fetched");
        }
        keys.fetched(result.ok());
        let wanted = keys.wanted();
        drop(keys);
        tokio::time::sleep(SHORTEST).await;
        // Who asks before it is time gets a fetch at once.
        let _ = tokio::time::timeout(next.saturating_sub(SHORTEST), wanted.notified()).await;
    }
}

async fn fetch(worker: &Worker, keys: &RemoteKeys) -> Result<KeySet, String> {
    let spec = &keys.spec;
    let mut headers = Headers::new();
    headers.append_static("accept", "application/json");
    let head = RequestHead {
        method: http::Method::GET,
        authority: Bytes::copy_from_slice(spec.authority.as_bytes()),
        path: Bytes::copy_from_slice(spec.path.as_bytes()),
        scheme: if spec.https { Scheme::Https } else { Scheme::Http },
        headers,
    };
    let asked = Call { head: &head, body: Bytes::new(), http2: false, limit: spec.timeout, most: MAX_SET };
    let answer = call(worker, &keys.cluster, asked).await;
    let answer = answer.map_err(|failure| match failure.transport_reason() {
        Some(reason) => reason.to_owned(),
        None => format!("{failure:?}"),
    })?;
    if answer.head.status != 200 {
        return Err(format!("the server answered {}", answer.head.status));
    }
    KeySet::parse(&answer.body).map_err(|error| error.to_string())
}
