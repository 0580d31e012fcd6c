//! A VirtualService's match -> Envoy's.

use std::collections::BTreeMap;

use lateen_api::networking::virtual_service::StringMatch;
use lateen_api::networking::virtual_service_http::HttpMatchRequest;
use lateen_xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use lateen_xds::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use lateen_xds::pb::envoy::config::route::v3::route_match::PathSpecifier;
use lateen_xds::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use lateen_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use lateen_xds::pb::envoy::r#type::matcher::v3::{MetadataMatcher, RegexMatcher, StringMatcher};

use crate::proto::boolean;

/// What a route matches; without a match everything.
pub(crate) fn route(wanted: Option<&HttpMatchRequest>) -> RouteMatch {
    let Some(wanted) = wanted else {
        return RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        };
    };
    let (with, without) = (&wanted.headers, &wanted.without_headers);
    let mut headers: Vec<HeaderMatcher> =
        with.iter().filter(|(n, _)| !is_claim(n)).map(|(n, m)| header(n, m, false)).collect();
    headers.extend(without.iter().filter(|(n, _)| !is_claim(n)).map(|(n, m)| header(n, m, true)));
    let claims = with.iter().map(|(n, m)| (n, m, false)).chain(without.iter().map(|(n, m)| (n, m, true)));
    let claims = claims.filter(|(n, ..)| is_claim(n)).map(|(n, m, inverted)| claim(n, m, inverted));
    for (name, value) in
        [(":method", &wanted.method), (":authority", &wanted.authority), (":scheme", &wanted.scheme)]
    {
        headers.extend(value.as_ref().filter(|m| !is_unset(m)).map(|m| header(name, m, false)));
    }
    RouteMatch {
        path_specifier: Some(path(wanted.uri.as_ref())),
        case_sensitive: wanted.ignore_uri_case.then(|| boolean(false)).flatten().or(boolean(true)),
        headers,
        query_parameters: query(&wanted.query_params),
        dynamic_metadata: claims.collect(),
        ..RouteMatch::default()
    }
}

fn path(uri: Option<&StringMatch>) -> PathSpecifier {
    match uri {
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(StringMatch::Regex(regex)) => PathSpecifier::SafeRegex(self::regex(regex)),
        Some(StringMatch::Unset) | None => PathSpecifier::Prefix("/".to_owned()),
    }
}

/// An empty match asks only that the header is there (Istio: "an empty value ... only the presence is checked").
fn header(name: &str, wanted: &StringMatch, invert: bool) -> HeaderMatcher {
    let specifier = match pattern(wanted) {
        Some(pattern) => HeaderMatchSpecifier::StringMatch(string(pattern)),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    // Without this, a missing header would match neither "is x" nor "is not x".
    let absent_is_empty = invert && !matches!(specifier, HeaderMatchSpecifier::PresentMatch(_));
    HeaderMatcher {
        name: name.to_owned(),
        invert_match: invert,
        treat_missing_header_as_empty: absent_is_empty,
        header_match_specifier: Some(specifier),
    }
}

fn query(wanted: &BTreeMap<String, StringMatch>) -> Vec<QueryParameterMatcher> {
    let one = |(name, value): (&String, &StringMatch)| QueryParameterMatcher {
        name: name.clone(),
        query_parameter_match_specifier: Some(match pattern(value) {
            Some(pattern) => QueryParameterMatchSpecifier::StringMatch(string(pattern)),
            None => QueryParameterMatchSpecifier::PresentMatch(true),
        }),
    };
    wanted.iter().map(one).collect()
}

fn is_unset(wanted: &StringMatch) -> bool {
    matches!(wanted, StringMatch::Unset)
}

/// The pattern of a match; `None` when everything that is there matches.
fn pattern(wanted: &StringMatch) -> Option<MatchPattern> {
    match wanted {
        StringMatch::Unset => None,
        StringMatch::Regex(regex) if regex == "*" => None,
        StringMatch::Exact(text) | StringMatch::Prefix(text) if text.is_empty() => None,
        StringMatch::Exact(text) => Some(MatchPattern::Exact(text.clone())),
        StringMatch::Prefix(text) => Some(MatchPattern::Prefix(text.clone())),
        StringMatch::Regex(text) => Some(MatchPattern::SafeRegex(regex(text))),
    }
}

/// A matcher for texts, such as the allowed origins of a CORS policy.
pub(crate) fn text(wanted: &StringMatch) -> Option<StringMatcher> {
    pattern(wanted).map(string)
}

fn string(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

/// What stands before the names of claims where headers are named. Source: Istio, "JWT claim based routing".
const CLAIM: &str = "@request.auth.claims";

/// Whether a header's name stands for a claim of a token.
pub(crate) fn is_claim(name: &str) -> bool {
    name.starts_with(CLAIM)
}

/// A claim: `@request.auth.claims.group`, or `@request.auth.claims[outer][inner]`.
fn claim(name: &str, wanted: &StringMatch, inverted: bool) -> MetadataMatcher {
    let rest = name.strip_prefix(CLAIM).unwrap_or(name);
    let path: Vec<&str> = match rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.split("][").collect(),
        None => rest.trim_start_matches('.').split('.').collect(),
    };
    let present = || string(MatchPattern::SafeRegex(regex(".+")));
    let matcher = crate::security::claims(&path, text(wanted).unwrap_or_else(present));
    MetadataMatcher { invert: inverted, ..matcher }
}

/// An RE2 pattern.
pub(crate) fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.to_owned(), ..RegexMatcher::default() }
}

/// Whether every request matches.
pub(crate) fn is_catch_all(wanted: &RouteMatch) -> bool {
    let everything = match &wanted.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(matcher)) => matcher.regex == "*" || matcher.regex == ".*",
        _ => false,
    };
    everything
        && wanted.headers.is_empty()
        && wanted.query_parameters.is_empty()
        && wanted.dynamic_metadata.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_header_match_asks_for_presence() {
        let matcher = header("end-user", &StringMatch::Unset, false);
        assert_eq!(matcher.header_match_specifier, Some(HeaderMatchSpecifier::PresentMatch(true)));
    }

    #[test]
    fn a_missing_header_satisfies_without_headers() {
        let matcher = header("x", &StringMatch::Exact("1".into()), true);
        assert!(matcher.invert_match && matcher.treat_missing_header_as_empty);
        let presence = header("x", &StringMatch::Unset, true);
        assert!(presence.invert_match && !presence.treat_missing_header_as_empty);
    }

    #[test]
    fn only_a_match_that_asks_for_nothing_is_a_catch_all() {
        assert!(is_catch_all(&route(None)));
        assert!(is_catch_all(&route(Some(&HttpMatchRequest::default()))));
        let uri = Some(StringMatch::Prefix("/login".into()));
        assert!(!is_catch_all(&route(Some(&HttpMatchRequest { uri, ..HttpMatchRequest::default() }))));
    }
}
