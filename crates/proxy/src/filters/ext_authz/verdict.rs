//! What an authorization service has said.

use crate::config::AppendAction;
use crate::http::{Headers, RequestHead};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// Why there is no answer, where it is a matter of time.
pub(super) const TIMED_OUT: &str = "timeout";

/// The answer.
#[derive(Debug)]
pub(super) enum Verdict {
    Ok(Box<Allowed>),
    Denied(Box<Denied>),
    /// There is none: why.
    Error(&'static str),
}

/// One edit of a header.
#[derive(Clone, Debug)]
pub struct HeaderEdit {
    /// Name, in lower case.
    pub name: Bytes,
    /// Value.
    pub value: Bytes,
    /// How.
    pub action: AppendAction,
}

/// Edits of the response that goes to the client.
pub type ResponseEdits = Vec<HeaderEdit>;

/// The request may go on, changed like this.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    pub(super) headers: Vec<HeaderEdit>,
    pub(super) remove: Vec<String>,
    pub(super) set_query: Vec<(String, String)>,
    pub(super) remove_query: Vec<String>,
    pub(super) response: ResponseEdits,
    pub(super) metadata: Map<String, Value>,
}

/// The request is refused with this.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) status: u16,
    pub(super) headers: ResponseEdits,
    pub(super) body: Bytes,
    pub(super) metadata: Map<String, Value>,
}

impl HeaderEdit {
    /// An edit; the name may be in any case.
    pub(super) fn new(name: &str, value: impl Into<Bytes>, action: AppendAction) -> Self {
        HeaderEdit { name: name.to_ascii_lowercase().into(), value: value.into(), action }
    }

    /// Whether name and value can stand in a message.
    fn is_valid(&self) -> bool {
        let pseudo = matches!(&self.name[..], b":path" | b":authority" | b":method");
        (pseudo || HeaderName::from_bytes(&self.name).is_ok()) && HeaderValue::from_bytes(&self.value).is_ok()
    }

    /// Applies the edit to a list of headers.
    pub fn apply(&self, headers: &mut Headers) {
        let (name, value) = (self.name.clone(), self.value.clone());
        let there = std::str::from_utf8(&name).is_ok_and(|name| headers.contains(name));
        match self.action {
            AppendAction::AppendIfExistsOrAdd => headers.append_own(name, value),
            AppendAction::AddIfAbsent if there => {}
            AppendAction::AddIfAbsent => headers.append_own(name, value),
            AppendAction::OverwriteIfExistsOrAdd => headers.set_own(name, value),
            AppendAction::OverwriteIfExists if there => headers.set_own(name, value),
            AppendAction::OverwriteIfExists => {}
        }
    }
}

impl Allowed {
    /// Whether everything that is to be changed can stand in a message: a service must not smuggle.
    pub(super) fn is_valid(&self) -> bool {
        let query = self.set_query.iter().flat_map(|(key, value)| [key, value]);
        self.headers.iter().chain(&self.response).all(HeaderEdit::is_valid)
            && query.chain(&self.remove_query).all(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
    }

    /// Changes the request; tells whether it did.
    pub(super) fn edit(&self, head: &mut RequestHead) -> bool {
        for edit in &self.headers {
            match &edit.name[..] {
                b":path" => head.path = edit.value.clone(),
                b"host" | b":authority" => head.authority = edit.value.clone(),
                b":method" => {
                    if let Ok(method) = http::Method::from_bytes(&edit.value) {
                        head.method = method;
                    }
                }
                _ => edit.apply(&mut head.headers),
            }
        }
        for name in &self.remove {
            let name = name.to_ascii_lowercase();
            // Without them it would be no request.
            if !name.starts_with(':') && name != "host" {
                head.headers.remove(&name);
            }
        }
        if !self.set_query.is_empty() || !self.remove_query.is_empty() {
            head.path = self.path(&head.path);
        }
        !(self.headers.is_empty()
            && self.remove.is_empty()
            && self.set_query.is_empty()
            && self.remove_query.is_empty())
    }

    /// The path with its query changed.
    fn path(&self, path: &Bytes) -> Bytes {
        let end = memchr::memchr(b'?', path).unwrap_or(path.len());
        let query = path.get(end + 1..).unwrap_or_default();
        let key = |pair: &[u8]| pair.split(|byte| *byte == b'=').next().unwrap_or_default().to_vec();
        let gone = |name: &[u8]| {
            self.remove_query.iter().any(|key| key.as_bytes() == name)
                || self.set_query.iter().any(|(key, _)| key.as_bytes() == name)
        };
        let mut pairs: Vec<Vec<u8>> = query
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty() && !gone(&key(pair)))
            .map(<[u8]>::to_vec)
            .collect();
        pairs.extend(self.set_query.iter().map(|(key, value)| format!("{key}={value}").into_bytes()));
        if pairs.is_empty() {
            return path.slice(..end);
        }
        [&path[..end], b"?", &pairs.join(&b'&')].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_changed_by_whole_names() {
        let allowed = Allowed {
            set_query: vec![("a".into(), "2".into())],
            remove_query: vec!["b".into()],
            ..Allowed::default()
        };
        assert_eq!(allowed.path(&"/p?a=1&ab=3&b=4".into()), "/p?ab=3&a=2");
        assert_eq!(allowed.path(&"/p".into()), "/p?a=2");
    }

    #[test]
    fn a_service_cannot_smuggle_header_lines() {
        let edit =
            |name, value: &'static str| HeaderEdit::new(name, value, AppendAction::OverwriteIfExistsOrAdd);
        let valid = |edit| Allowed { headers: vec![edit], ..Allowed::default() }.is_valid();
        assert!(valid(edit("X-User", "a")));
        assert!(!valid(edit("x-user", "a\r\nx-admin: 1")));
        assert!(!valid(edit("x user", "a")));
        assert!(!valid(edit(":scheme", "https")));
    }
}
