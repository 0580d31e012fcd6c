//! Rules for header names and values, string matches and regular expressions.

use std::collections::BTreeMap;

use crate::networking::virtual_service::StringMatch;
use crate::networking::virtual_service_http::{HeaderOperations, Headers};
use crate::wire::report::Report;

/// The longest regular expression that Istio lets pass.
const MAX_REGEX: usize = 1024;

/// Whether a header "name" in a match stands for a claim of the request's token (`@request.auth.claims.group`).
pub fn is_claim(name: &str) -> bool {
    let rest = name.strip_prefix("@request.auth.claims");
    rest.is_some_and(|rest| rest.len() > 1 && (rest.starts_with('.') || rest.starts_with('[')))
}

/// The name of a header: letters, digits, `-` and `_`.
pub fn name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("header name cannot be empty".to_owned());
    }
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        return Ok(());
    }
    Err(format!("header name {name:?} is not a valid header name"))
}

/// A header's value as Envoy formats it: `%` starts a command that must end with `%`; `%%` is a percent sign.
fn value(text: &str) -> Result<(), String> {
    if text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err(format!("header value {text:?} contains control characters"));
    }
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        let Some(length) = command(rest) else {
            return Err(format!(
                "header value {text:?} has a % without its closing %; write %% for a percent sign"
            ));
        };
        rest = &rest[length + 1..];
    }
    Ok(())
}

/// The length of a format command (`REQ(:path)`): up to the next `%` that is not within parentheses.
fn command(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b'%' if depth == 0 => return (at > 0).then_some(at),
            _ => {}
        }
    }
    None
}

/// Whether a name means the authority, which may be set in requests.
pub fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

fn settable_in_requests(name: &str) -> Result<(), String> {
    match name {
        "" => Err("header name cannot be empty".to_owned()),
        name if name.starts_with(':') && !is_authority(name) => {
            Err(format!("invalid header {name:?}: header cannot have \":\" prefix"))
        }
        _ => Ok(()),
    }
}

fn settable(name: &str) -> Result<(), String> {
    match name {
        "" => Err("header name cannot be empty".to_owned()),
        name if name.eq_ignore_ascii_case("host") => {
            Err(format!("invalid header {name:?}: cannot set Host header"))
        }
        name if name.starts_with(':') => {
            Err(format!("invalid header {name:?}: header cannot have \":\" prefix"))
        }
        _ => Ok(()),
    }
}

/// Changes to headers in field `headers`.
pub fn operations(report: &mut Report, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    report.field("headers", |r| {
        if let Some(request) = &headers.request {
            r.field("request", |r| operation(r, request, settable_in_requests));
        }
        if let Some(response) = &headers.response {
            r.field("response", |r| operation(r, response, settable));
        }
    });
}

fn operation(report: &mut Report, change: &HeaderOperations, name: fn(&str) -> Result<(), String>) {
    for (field, map) in [("set", &change.set), ("add", &change.add)] {
        report.field(field, |r| values(r, map, name));
    }
    report.each("remove", &change.remove, |r, header| r.check(settable(header)));
}

fn values(report: &mut Report, map: &BTreeMap<String, String>, name: fn(&str) -> Result<(), String>) {
    for (header, text) in map {
        report.key(header, |r| {
            r.check(name(header));
            r.check(value(text));
        });
    }
}

/// A regular expression in RE2's syntax, of at most 1024 characters.
pub fn regex(expression: &str) -> Result<(), String> {
    if expression.is_empty() {
        return Err("regex string match should not be empty".to_owned());
    }
    if expression.len() > MAX_REGEX {
        return Err(format!("regex is too large, max length allowed is {MAX_REGEX}"));
    }
    match regex::Regex::new(expression) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("invalid").trim();
            Err(format!(
                "{expression:?} is no valid RE2 expression: {}",
                reason.trim_start_matches("error: ")
            ))
        }
    }
}

/// A string match: neither an empty prefix nor an invalid expression.
pub fn string_match(report: &mut Report, matcher: &StringMatch) {
    match matcher {
        StringMatch::Prefix(prefix) if prefix.is_empty() => {
            report.error_at("prefix", "prefix string match should not be empty");
        }
        StringMatch::Regex(expression) => report.check_at("regex", regex(expression)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_of_values_are_paired() {
        for good in ["foo", "%HOSTNAME%", "100%%", "a %REQ(x-y?z)% b", "%START_TIME(%Y/%m)%"] {
            assert_eq!(value(good), Ok(()), "{good}");
        }
        for bad in ["abc%123", "%START_TIME%%", "%", "a\rb", "a\0b"] {
            assert!(value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_expression_is_shown_with_its_reason() {
        let error = regex("(unclosed").unwrap_err();
        assert!(error.contains("(unclosed") && error.contains("unclosed group"), "{error}");
    }
}
