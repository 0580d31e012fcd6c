//! What a request must be.

use super::super::pb::{matcher, rds};
use super::super::{At, Converted, metadata, rbac, take, values};
use crate::config::{
    HeaderMatcher as Header, HeaderValueMatch, PathMatch, QueryMatcher, Regex, RouteMatch as Wanted,
    StringMatcher,
};

/// Reads a route's match.
pub(in crate::convert) fn read(message: &rds::RouteMatch, at: &At<'_>) -> Converted<Wanted> {
    use rds::RouteMatch;
    use rds::route_match::PathSpecifier;
    take!(message, at, RouteMatch { case_sensitive, runtime_fraction, headers, query_parameters, grpc, path_specifier,
        dynamic_metadata } refuse { cookies, tls_context, filter_state });
    let ignore_case = !values::bool_or(case_sensitive, true);
    let text =
        |text: &str| -> Box<str> { if ignore_case { text.to_ascii_lowercase().into() } else { text.into() } };
    let path = match path_specifier.as_ref().ok_or_else(|| at.field("prefix").missing())? {
        PathSpecifier::Prefix(prefix) => PathMatch::Prefix(text(prefix)),
        PathSpecifier::Path(path) => PathMatch::Exact(text(path)),
        PathSpecifier::SafeRegex(pattern) => PathMatch::Regex(regex(pattern, &at.field("safe_regex"))?),
        PathSpecifier::PathSeparatedPrefix(prefix) => {
            if prefix.ends_with('/') || !prefix.starts_with('/') || prefix.contains(['?', '#']) {
                let at = at.field("path_separated_prefix");
                return Err(
                    at.error(format!("`{prefix}` must start with `/`, not end with it and hold no query"))
                );
            }
            PathMatch::SeparatedPrefix(text(prefix))
        }
        PathSpecifier::ConnectMatcher(_) => PathMatch::Connect,
        PathSpecifier::PathMatchPolicy(extension) => {
            PathMatch::Regex(rbac::template(extension, &at.field("path_match_policy"))?)
        }
    };
    let field = at.field("query_parameters");
    let query =
        query_parameters.iter().enumerate().map(|(index, query)| query_matcher(query, &field.index(index)));
    let field = at.field("dynamic_metadata");
    let metadata = dynamic_metadata.iter().enumerate();
    let metadata = metadata.map(|(index, matcher)| metadata::read(matcher, &field.index(index)));
    Ok(Wanted {
        path,
        ignore_case,
        headers: header_matchers(headers, &at.field("headers"))?,
        query: query.collect::<Result<_, _>>()?,
        metadata: metadata.collect::<Result<_, _>>()?,
        grpc: grpc.is_some(),
        fraction: match runtime_fraction {
            Some(share) => Some(values::runtime_fraction(share, &at.field("runtime_fraction"))?),
            None => None,
        },
    })
}

/// Compiles an expression for whole-text matches.
pub(super) fn regex(pattern: &matcher::RegexMatcher, at: &At<'_>) -> Converted<Regex> {
    Regex::full(&pattern.regex).map_err(|error| at.field("regex").error(error.to_string()))
}

/// Reads a string matcher.
pub(in crate::convert) fn string_matcher(
    message: &matcher::StringMatcher,
    at: &At<'_>,
) -> Converted<StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let ignore_case = message.ignore_case;
    let value =
        |text: &str| -> Box<str> { if ignore_case { text.to_ascii_lowercase().into() } else { text.into() } };
    Ok(match message.match_pattern.as_ref().ok_or_else(|| at.field("exact").missing())? {
        MatchPattern::Exact(text) => StringMatcher::Exact { value: value(text), ignore_case },
        MatchPattern::Prefix(text) => StringMatcher::Prefix { value: value(text), ignore_case },
        MatchPattern::Suffix(text) => StringMatcher::Suffix { value: value(text), ignore_case },
        MatchPattern::Contains(text) => StringMatcher::Contains { value: value(text), ignore_case },
        MatchPattern::SafeRegex(pattern) => StringMatcher::Regex(regex(pattern, &at.field("safe_regex"))?),
        MatchPattern::Custom(_) => return Err(at.field("custom").error("is not supported")),
    })
}

/// Reads header matchers.
pub(in crate::convert) fn header_matchers(
    list: &[rds::HeaderMatcher],
    at: &At<'_>,
) -> Converted<Vec<Header>> {
    list.iter().enumerate().map(|(index, matcher)| header_matcher(matcher, &at.index(index))).collect()
}

/// Reads a header matcher.
pub(in crate::convert) fn header_matcher(message: &rds::HeaderMatcher, at: &At<'_>) -> Converted<Header> {
    use rds::HeaderMatcher;
    use rds::header_matcher::HeaderMatchSpecifier as Specifier;
    take!(
        message,
        at,
        HeaderMatcher { name, invert_match, treat_missing_header_as_empty, header_match_specifier }
    );
    if name.is_empty() {
        return Err(at.field("name").missing());
    }
    let plain = |text: &String| text.as_str().into();
    let value = match header_match_specifier {
        None => HeaderValueMatch::Present(true),
        Some(Specifier::PresentMatch(present)) => HeaderValueMatch::Present(*present),
        Some(Specifier::RangeMatch(range)) => HeaderValueMatch::Range(range.start..range.end),
        Some(Specifier::ExactMatch(text)) => {
            HeaderValueMatch::String(StringMatcher::Exact { value: plain(text), ignore_case: false })
        }
        Some(Specifier::PrefixMatch(text)) => {
            HeaderValueMatch::String(StringMatcher::Prefix { value: plain(text), ignore_case: false })
        }
        Some(Specifier::SuffixMatch(text)) => {
            HeaderValueMatch::String(StringMatcher::Suffix { value: plain(text), ignore_case: false })
        }
        Some(Specifier::ContainsMatch(text)) => {
            HeaderValueMatch::String(StringMatcher::Contains { value: plain(text), ignore_case: false })
        }
        Some(Specifier::SafeRegexMatch(pattern)) => {
            HeaderValueMatch::String(StringMatcher::Regex(regex(pattern, &at.field("safe_regex_match"))?))
        }
        Some(Specifier::StringMatch(matcher)) => {
            HeaderValueMatch::String(string_matcher(matcher, &at.field("string_match"))?)
        }
    };
    let lower = name.to_ascii_lowercase();
    let name = if lower == "host" { ":authority".to_owned() } else { lower };
    Ok(Header {
        name: name.into(),
        value,
        invert: *invert_match,
        treat_missing_as_empty: *treat_missing_header_as_empty,
    })
}

fn query_matcher(message: &rds::QueryParameterMatcher, at: &At<'_>) -> Converted<QueryMatcher> {
    use rds::QueryParameterMatcher;
    use rds::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
    take!(message, at, QueryParameterMatcher { name, query_parameter_match_specifier });
    let (value, absent) = match query_parameter_match_specifier {
        None | Some(Specifier::PresentMatch(true)) => (None, false),
        Some(Specifier::PresentMatch(false)) => (None, true),
        Some(Specifier::StringMatch(matcher)) => {
            (Some(string_matcher(matcher, &at.field("string_match"))?), false)
        }
    };
    Ok(QueryMatcher { name: name.as_str().into(), value, absent })
}
