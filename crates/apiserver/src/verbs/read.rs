//! get and list.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::render::{self, ListMeta};
use super::{Call, Shape};
use crate::context::must_get;
use crate::registry::Resource;
use crate::selector::{Fields, Labels};
use crate::server::{Query, Reply, Request, reply};
use crate::status::{ApiError, Result};
use crate::store::{Entry, Key};

/// Which objects a list or watch is about.
#[derive(Clone)]
pub struct Selection {
    /// Labels.
    pub labels: Labels,
    /// Fields.
    pub fields: Fields,
    /// Only this namespace.
    pub namespace: Option<String>,
}

impl Selection {
    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400 for selectors that cannot be read, or name a field that cannot be selected by.
    pub fn of(resource: &Resource, query: &Query, namespace: &str) -> Result<Self> {
        let labels = Labels::parse(query.get("labelSelector").unwrap_or_default())?;
        let fields = Fields::parse(query.get("fieldSelector").unwrap_or_default())?;
        let known = (resource.behaviour.fields)(&Value::Null);
        for path in fields.paths() {
            let generic = matches!(path, "metadata.name" | "metadata.namespace");
            if !generic && !known.iter().any(|(name, _)| *name == path) {
                let message = if known.is_empty() && !resource.custom {
                    format!(
                        "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                } else {
                    format!("field label not supported: {path}")
                };
                return Err(ApiError::bad_request(message));
            }
        }
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        let namespace = namespace.or_else(|| fields.required("metadata.namespace").map(str::to_owned));
        Ok(Self { labels, fields, namespace })
    }

    /// Whether an object is selected.
    pub fn matches(&self, key: &Key, entry: &Entry) -> bool {
        self.namespace.as_deref().is_none_or(|n| n == &*key.namespace)
            && self.labels.matches(|label| entry.label(label))
            && self.fields.matches(|path| match path {
                "metadata.name" => &key.name,
                "metadata.namespace" => &key.namespace,
                other => entry.field(other),
            })
    }

    /// Whether every object of the namespace is selected.
    pub fn is_open(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

/// Answers with one object.
pub fn get(call: &Call, name: &str, shape: Shape) -> Result<Reply> {
    let entry = must_get(&call.context, call.resource(), &call.namespace, name)?;
    let mut reply = render::one(&call.served, &entry, shape);
    reply::warn(reply.headers_mut(), &call.warnings);
    Ok(reply)
}

/// Answers with a list.
pub fn list(call: &Call, request: &Request, shape: Shape) -> Result<Reply> {
    let query = &request.query;
    let selection = Selection::of(call.resource(), query, &call.namespace)?;
    let from = query.get("continue").map(continued).transpose()?;
    let shard = &call.resource().shard;
    let store = &call.context.store;
    let (mut entries, revision) = store.list(shard, selection.namespace.as_deref(), from.as_ref());
    check_revision(call, query, revision)?;
    entries.retain(|(key, entry)| selection.matches(key, entry));
    let limit = query.get("limit").and_then(|l| l.parse::<usize>().ok()).filter(|l| *l > 0);
    let mut meta = ListMeta { revision, next: None, remaining: None };
    if let Some(limit) = limit.filter(|limit| entries.len() > *limit) {
        let remaining = entries.len() - limit;
        entries.truncate(limit);
        meta.next = entries.last().map(|(key, _)| next(key, revision));
        meta.remaining = selection.is_open().then_some(remaining);
    }
    let entries: Vec<Arc<Entry>> = entries.into_iter().map(|(_, entry)| entry).collect();
    let mut reply = reply::json_text(StatusCode::OK, render::list(&call.served, &entries, &meta, shape));
    reply::warn(reply.headers_mut(), &call.warnings);
    Ok(reply)
}

/// Refuses what a list cannot give: a state of the future, or exactly one of the past.
fn check_revision(call: &Call, query: &Query, current: u64) -> Result<()> {
    let Some(text) = query.get("resourceVersion").filter(|_| query.get("continue").is_none()) else {
        return Ok(());
    };
    let wanted = revision(text)?;
    if wanted > current {
        let message = format!("Too large resource version: {wanted}, current: {current}");
        return Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message));
    }
    if query.get("resourceVersionMatch") == Some("Exact") && wanted > 0 {
        let same = call
            .context
            .store
            .since(&call.resource().shard, wanted)
            .is_ok_and(|(events, _)| events.is_empty());
        if !same {
            let message =
                "The provided resource version is no longer available; list without resourceVersion";
            return Err(ApiError::expired(message));
        }
    }
    Ok(())
}

/// Parses a resource version.
///
/// # Errors
/// 400 where it is no number.
pub fn revision(text: &str) -> Result<u64> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "invalid resource version: Invalid value: {text:?}: strconv.ParseUint: parsing \
            {text:?}: invalid syntax"
        ))
    })
}

fn next(key: &Key, revision: u64) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "ns": key.namespace, "start": key.name});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn continued(token: &str) -> Result<Key> {
    let parse = || {
        let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        Some(Key::new(value["ns"].as_str()?, value["start"].as_str()?))
    };
    parse().ok_or_else(|| {
        ApiError::bad_request("continue key is not valid: it was not given out by this server")
    })
}
