//! watch: an answer that goes on, fed from the store's log.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::StatusCode;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::read::{Selection, revision};
use super::{Call, Shape, render};
use crate::context::Context;
use crate::registry::Served;
use crate::selector::Fields;
use crate::server::{Reply, Request, reply};
use crate::status::{ApiError, Result};
use crate::store::{Entry, Event, EventKind};

/// Bookmarks come at least this often to whoever wants them.
const BOOKMARKS: Duration = Duration::from_secs(50);
/// A chunk holds at most this many bytes before it goes out.
const CHUNK: usize = 256 * 1024;
/// A watch ends after this unless the client says when.
const LONGEST: Duration = Duration::from_secs(45 * 60);

struct Watcher {
    context: Arc<Context>,
    served: Served,
    selection: Selection,
    shape: Shape,
    /// Changes up to this revision have been told.
    position: u64,
    changed: Receiver<u64>,
    /// Objects that stand at the start, still to be told.
    initial: std::vec::IntoIter<Arc<Entry>>,
    /// The bookmark after them is still to be told.
    initial_bookmark: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    columns_told: bool,
    over: bool,
}

/// Answers with changes as they happen.
pub fn watch(call: &Call, request: &Request, name: Option<&str>, shape: Shape) -> Result<Reply> {
    let query = &request.query;
    let mut selection = Selection::of(call.resource(), query, &call.namespace)?;
    if let Some(name) = name {
        selection.fields = Fields::parse(&format!("metadata.name={name}"))?;
    }
    let store = &call.context.store;
    let shard = &call.resource().shard;
    let changed = store.subscribe(shard);
    let given = query.get("resourceVersion").map(revision).transpose()?.unwrap_or_default();
    let streaming_list = query.flag("sendInitialEvents");
    let bookmarks = query.flag("allowWatchBookmarks");
    let (initial, position) = if streaming_list || (given == 0 && query.get("sendInitialEvents").is_none()) {
        let (entries, revision) = store.list(shard, selection.namespace.as_deref(), None);
        let entries = entries.into_iter().filter(|(key, entry)| selection.matches(key, entry));
        (entries.map(|(_, entry)| entry).collect(), revision)
    } else if given == 0 {
        (Vec::new(), store.revision())
    } else {
        (Vec::new(), given)
    };
    let timeout = query.get("timeoutSeconds").and_then(|t| t.parse().ok()).filter(|t| *t > 0);
    let timeout = timeout.map_or(LONGEST, Duration::from_secs).min(Duration::from_secs(24 * 3600));
    let now = Instant::now();
    let watcher = Watcher {
        context: call.context.clone(),
        served: call.served.clone(),
        selection,
        shape,
        position,
        changed,
        initial: initial.into_iter(),
        initial_bookmark: streaming_list && bookmarks,
        bookmarks,
        next_bookmark: now + BOOKMARKS,
        end: now + timeout,
        columns_told: false,
        over: false,
    };
    let frames = stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((Ok(Frame::data(chunk)), watcher))
    });
    let mut reply = reply::json_text(StatusCode::OK, Bytes::new());
    *reply.body_mut() = StreamBody::new(frames).boxed_unsync();
    reply::warn(reply.headers_mut(), &call.warnings);
    Ok(reply)
}

impl Watcher {
    /// The next changes as JSON text, one a line.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while !self.over {
            self.tell_initial(&mut out);
            if out.is_empty() {
                self.changed.borrow_and_update();
                self.tell_changes(&mut out);
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
            tokio::select! {
                result = self.changed.changed() => {
                    if result.is_err() {
                        // The resource is no longer served.
                        return None;
                    }
                }
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.bookmark(false, &mut out);
                    return Some(out.freeze());
                }
                () = tokio::time::sleep_until(self.end) => return None,
                () = self.context.stop.cancelled() => return None,
            }
        }
        None
    }

    fn tell_initial(&mut self, out: &mut BytesMut) {
        while out.len() < CHUNK {
            let Some(entry) = self.initial.next() else { break };
            self.tell("ADDED", &entry, out);
        }
        if self.initial.len() == 0 && std::mem::take(&mut self.initial_bookmark) {
            self.bookmark(true, out);
        }
    }

    fn tell_changes(&mut self, out: &mut BytesMut) {
        let (events, latest) = match self.context.store.since(&self.served.resource.shard, self.position) {
            Ok(found) => found,
            Err(gone) => {
                let message = format!("too old resource version: {} ({})", self.position, gone.oldest);
                let status = ApiError::expired(message).to_status();
                line(out, &json!({"type": "ERROR", "object": status}));
                self.over = true;
                return;
            }
        };
        for event in events {
            if out.len() >= CHUNK {
                return;
            }
            self.position = event.entry.revision;
            if let Some(kind) = self.kind(&event) {
                self.tell(kind, &event.entry, out);
            }
        }
        self.position = self.position.max(latest);
    }

    /// What a change is to this watch: objects come into its selection and leave it.
    fn kind(&self, event: &Event) -> Option<&'static str> {
        let selected = |entry: &Entry| self.selection.matches(&event.key, entry);
        let before = event.previous.as_deref().is_some_and(selected);
        let after = event.kind != EventKind::Deleted && selected(&event.entry);
        match (before, after) {
            (false, true) => Some("ADDED"),
            (true, true) => Some("MODIFIED"),
            (true, false) => Some("DELETED"),
            (false, false) => None,
        }
    }

    fn tell(&mut self, kind: &str, entry: &Entry, out: &mut BytesMut) {
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        let columns = !std::mem::replace(&mut self.columns_told, true);
        render::entry(&self.served, entry, self.shape, columns, out);
        out.put_slice(b"}\n");
    }

    fn bookmark(&mut self, initial: bool, out: &mut BytesMut) {
        self.next_bookmark = Instant::now() + BOOKMARKS;
        let mut metadata = json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, version): (&str, &str) = match self.shape {
            Shape::Full => (&self.served.resource.kind, &self.served.version().api_version),
            Shape::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1"),
            Shape::Table(_) => ("Table", "meta.k8s.io/v1"),
        };
        let mut object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        if matches!(self.shape, Shape::Table(_)) {
            object["rows"] = json!([]);
            object["columnDefinitions"] = Value::Null;
        }
        line(out, &json!({"type": "BOOKMARK", "object": object}));
    }
}

fn line(out: &mut BytesMut, value: &Value) {
    out.put_slice(value.to_string().as_bytes());
    out.put_u8(b'\n');
}
