//! Texts, addresses and metadata as RBAC rules ask for them.

use lateen_mesh::Address;
use lateen_xds::pb::envoy::config::core::v3::CidrRange;
use lateen_xds::pb::envoy::config::route::v3::HeaderMatcher;
use lateen_xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use lateen_xds::pb::envoy::r#type::matcher::v3::metadata_matcher::{PathSegment, path_segment::Segment};
use lateen_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use lateen_xds::pb::envoy::r#type::matcher::v3::value_matcher::MatchPattern as ValuePattern;
use lateen_xds::pb::envoy::r#type::matcher::v3::{
    ListMatcher, MetadataMatcher, OrMatcher, StringMatcher, ValueMatcher, list_matcher,
};

use crate::proto::cidr;
use crate::route::matching::regex;

/// `*` is any text but none, `a*` a beginning, `*a` an end, anything else the whole.
pub(in crate::security) fn text(value: &str) -> StringMatcher {
    of(match (value, value.strip_suffix('*'), value.strip_prefix('*')) {
        ("*", _, _) => MatchPattern::SafeRegex(regex(".+")),
        (_, Some(start), _) => MatchPattern::Prefix(start.to_owned()),
        (_, _, Some(end)) => MatchPattern::Suffix(end.to_owned()),
        _ => MatchPattern::Exact(value.to_owned()),
    })
}

/// The same for texts that have something before them.
pub(super) fn text_after(start: &str, value: &str) -> StringMatcher {
    if value.starts_with('*') { text(value) } else { text(&format!("{start}{value}")) }
}

/// A regular expression, which the whole text has to match.
pub(super) fn expression(text: &str) -> StringMatcher {
    of(MatchPattern::SafeRegex(regex(text)))
}

pub(in crate::security) fn of(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }
}

/// A text as a regular expression, in which `*` alone has a meaning.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' => out.push_str(".*"),
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | ':') => out.push(c),
            c if c.is_ascii() => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A text as a regular expression that matches it alone.
pub(in crate::security) fn literal(text: &str) -> String {
    escaped(text).replace(".*", "\\*")
}

/// A header whose value matches; `*` asks for its presence only.
pub(super) fn header(name: &str, value: &str, ignore_case: bool) -> HeaderMatcher {
    let asked = match value {
        "*" => HeaderMatchSpecifier::PresentMatch(true),
        value => HeaderMatchSpecifier::StringMatch(StringMatcher { ignore_case, ..text(value) }),
    };
    HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(asked), ..HeaderMatcher::default() }
}

/// A network. One that is malformed, which validation refuses, is matched by nothing.
pub(super) fn network(block: &str) -> Option<CidrRange> {
    Address::parse(block).map(|a| cidr(&a.ip.to_string(), a.prefix))
}

/// A value at a path of a filter's metadata.
pub(in crate::security) fn metadata(filter: &str, path: &[&str], value: ValueMatcher) -> MetadataMatcher {
    let segment = |key: &&str| PathSegment { segment: Some(Segment::Key((*key).to_owned())) };
    MetadataMatcher {
        filter: filter.to_owned(),
        path: path.iter().map(segment).collect(),
        value: Some(value),
        ..MetadataMatcher::default()
    }
}

/// A text.
pub(in crate::security) fn single(matcher: StringMatcher) -> ValueMatcher {
    ValueMatcher { match_pattern: Some(ValuePattern::StringMatch(matcher)) }
}

/// One text of a list.
pub(in crate::security) fn listed(matcher: StringMatcher) -> ValueMatcher {
    let one = list_matcher::MatchPattern::OneOf(Box::new(single(matcher)));
    let list = ListMatcher { match_pattern: Some(one) };
    ValueMatcher { match_pattern: Some(ValuePattern::ListMatch(Box::new(list))) }
}

/// A text, or one of a list: tokens have both.
pub(in crate::security) fn single_or_listed(matcher: StringMatcher) -> ValueMatcher {
    let value_matchers = vec![single(matcher.clone()), listed(matcher)];
    ValueMatcher { match_pattern: Some(ValuePattern::OrMatch(OrMatcher { value_matchers })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_at_either_end() {
        let pattern = |value| text(value).match_pattern.unwrap();
        assert_eq!(pattern("a*"), MatchPattern::Prefix("a".into()));
        assert_eq!(pattern("*a"), MatchPattern::Suffix("a".into()));
        assert_eq!(pattern("a"), MatchPattern::Exact("a".into()));
        assert!(matches!(pattern("*"), MatchPattern::SafeRegex(_)));
        assert_eq!(text_after("spiffe://", "td/ns/*"), text("spiffe://td/ns/*"));
        assert_eq!(text_after("spiffe://", "*/sa/x"), text("*/sa/x"));
    }

    #[test]
    fn only_stars_mean_something_in_names() {
        assert_eq!(escaped("a.b*"), "a\\.b.*");
    }
}
