//! Header edits.

use std::sync::Arc;

use bytes::Bytes;

use super::super::pb::core;
use super::super::{At, Converted, take};
use crate::config::{AppendAction, HeaderEdits, HeaderMutation, HeaderValue, LevelEdits};
use crate::format::Format;

/// The edits of one level.
pub(super) fn level(
    request_add: &[core::HeaderValueOption],
    request_remove: &[String],
    response_add: &[core::HeaderValueOption],
    response_remove: &[String],
    at: &At<'_>,
) -> Converted<LevelEdits> {
    Ok(LevelEdits {
        request: HeaderEdits {
            add: added(request_add, true, &at.field("request_headers_to_add"))?,
            remove: removed(request_remove, &at.field("request_headers_to_remove"))?,
        },
        response: HeaderEdits {
            add: added(response_add, false, &at.field("response_headers_to_add"))?,
            remove: removed(response_remove, &at.field("response_headers_to_remove"))?,
        },
    })
}

fn removed(names: &[String], at: &At<'_>) -> Converted<Vec<Box<str>>> {
    let names = names.iter().enumerate().map(|(index, name)| {
        if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
            return Err(at.index(index).error(format!("`{name}` cannot be removed")));
        }
        Ok(name.to_ascii_lowercase().into())
    });
    names.collect()
}

fn added(options: &[core::HeaderValueOption], request: bool, at: &At<'_>) -> Converted<Vec<HeaderMutation>> {
    options.iter().enumerate().map(|(index, option)| mutation(option, request, &at.index(index))).collect()
}

fn mutation(option: &core::HeaderValueOption, request: bool, at: &At<'_>) -> Converted<HeaderMutation> {
    use core::header_value_option::HeaderAppendAction;
    use core::{HeaderValue as Pair, HeaderValueOption};
    take!(option, at, HeaderValueOption { header, append, append_action, keep_empty_value });
    let pair = header.as_ref().ok_or_else(|| at.field("header").missing())?;
    let at = &at.field("header");
    take!(pair, at, Pair { key, value, raw_value });
    let action = match append {
        Some(append) if append.value => AppendAction::AppendIfExistsOrAdd,
        Some(_) => AppendAction::OverwriteIfExistsOrAdd,
        None => match HeaderAppendAction::try_from(*append_action) {
            Ok(HeaderAppendAction::AppendIfExistsOrAdd) => AppendAction::AppendIfExistsOrAdd,
            Ok(HeaderAppendAction::AddIfAbsent) => AppendAction::AddIfAbsent,
            Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => AppendAction::OverwriteIfExistsOrAdd,
            Ok(HeaderAppendAction::OverwriteIfExists) => AppendAction::OverwriteIfExists,
            Err(_) => return Err(at.field("append_action").unsupported(append_action)),
        },
    };
    let name = key.to_ascii_lowercase();
    // Envoy allows to overwrite `:authority`, `:path` and `host`; to add to them makes no sense.
    let special = name.starts_with(':') || name == "host";
    if name.is_empty() || (special && !(request && action == AppendAction::OverwriteIfExistsOrAdd)) {
        return Err(at.field("key").error(format!("`{key}` cannot be added")));
    }
    if !special && http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(at.field("key").error(format!("`{key}` is not a header's name")));
    }
    let text = if raw_value.is_empty() { value.as_bytes() } else { raw_value };
    let text = std::str::from_utf8(text)
        .map_err(|_| at.field("raw_value").unsupported("a value that is not text"))?;
    if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(at.field("value").error("must not hold line breaks"));
    }
    let format = Format::parse(text).map_err(|reason| at.field("value").error(reason))?;
    let value = match format.literal() {
        Some(text) => HeaderValue::Literal(Bytes::copy_from_slice(text)),
        None => HeaderValue::Format(Arc::new(format)),
    };
    let name = Bytes::from(if name == "host" { ":authority".to_owned() } else { name });
    Ok(HeaderMutation { name, value, action, keep_empty: *keep_empty_value })
}
