//! Header edits that a route, virtual host, route configuration or weighted cluster asks for.

use crate::request_info::ValueFormat;
use bytes::Bytes;
use std::sync::Arc;

/// Edits of the headers of a request or a response, in order.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    /// Lower-case names to remove; removed before anything is added.
    pub remove: Vec<Box<str>>,
    /// Headers to add or set.
    pub add: Vec<HeaderMutation>,
}

impl HeaderEdits {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

/// One header to add or set.
#[derive(Clone, Debug)]
pub struct HeaderMutation {
    /// Lower-case name; `:authority`, `:path`, `:method` are refused by conversion where Envoy refuses them.
    pub name: Bytes,
    /// The value.
    pub value: HeaderValue,
    /// What happens to a header of that name that is there.
    pub action: AppendAction,
    /// Keep the header even when its value is empty.
    pub keep_empty: bool,
}

/// The value of a header that is added.
#[derive(Clone, Debug)]
pub enum HeaderValue {
    /// Always the same.
    Literal(Bytes),
    /// Depends on the request.
    Format(Arc<dyn ValueFormat>),
}

/// What happens to a header that is there (Envoy's `HeaderAppendAction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    /// The new value is appended as another header.
    #[default]
    AppendIfExistsOrAdd,
    /// Only where there is none.
    AddIfAbsent,
    /// Replaces what is there, else adds.
    OverwriteIfExistsOrAdd,
    /// Replaces what is there, else does nothing.
    OverwriteIfExists,
}

/// Edits of requests and responses that one level of configuration asks for.
#[derive(Clone, Debug, Default)]
pub struct LevelEdits {
    /// Edits of the request.
    pub request: HeaderEdits,
    /// Edits of the response.
    pub response: HeaderEdits,
}

impl LevelEdits {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}
