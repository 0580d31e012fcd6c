//! Which accesses are logged: the CEL expression of a Telemetry as a filter that the proxy has.

use lateen_mesh::telemetry::Condition;
use lateen_mesh::telemetry::condition::Test;
use lateen_xds::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use lateen_xds::pb::envoy::config::accesslog::v3::comparison_filter::Op;
use lateen_xds::pb::envoy::config::accesslog::v3::{
    AccessLogFilter, AndFilter, ComparisonFilter, ExtensionFilter, HeaderFilter, OrFilter,
    ResponseFlagFilter, StatusCodeFilter, extension_filter,
};
use lateen_xds::pb::envoy::config::core::v3::RuntimeUInt32;
use lateen_xds::pb::envoy::config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier};
use lateen_xds::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use lateen_xds::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};

use crate::proto::any;
use crate::proxy::Flavour;

/// The filter of an expression. Envoy evaluates CEL by itself; Lateen's proxy has filters for what log filters are
/// commonly written with, and logs everything where an expression asks for more.
pub(super) fn of(expression: &str, flavour: Flavour) -> Option<AccessLogFilter> {
    let specifier = match flavour {
        Flavour::Envoy => FilterSpecifier::ExtensionFilter(ExtensionFilter {
            name: "envoy.access_loggers.extension_filters.cel".to_owned(),
            config_type: any(&ExpressionFilter { expression: expression.to_owned(), ..Default::default() })
                .map(extension_filter::ConfigType::TypedConfig),
        }),
        Flavour::Lateen => specifier(&Condition::parse(expression)?),
    };
    Some(AccessLogFilter { filter_specifier: Some(specifier) })
}

/// What has a response flag.
pub(super) fn flagged(flag: &str) -> AccessLogFilter {
    let filter = ResponseFlagFilter { flags: vec![flag.to_owned()] };
    AccessLogFilter { filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(filter)) }
}

/// What two filters take.
pub(super) fn both(one: AccessLogFilter, other: AccessLogFilter) -> AccessLogFilter {
    let filter = AndFilter { filters: vec![one, other] };
    AccessLogFilter { filter_specifier: Some(FilterSpecifier::AndFilter(filter)) }
}

fn filter(condition: &Condition) -> AccessLogFilter {
    AccessLogFilter { filter_specifier: Some(specifier(condition)) }
}

fn specifier(condition: &Condition) -> FilterSpecifier {
    match condition {
        Condition::All(parts) => {
            FilterSpecifier::AndFilter(AndFilter { filters: parts.iter().map(filter).collect() })
        }
        Condition::Any(parts) => {
            FilterSpecifier::OrFilter(OrFilter { filters: parts.iter().map(filter).collect() })
        }
        Condition::Flagged => FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter::default()),
        Condition::Code { from, to, outside: false } if from == to => code(Op::Eq, *from),
        Condition::Code { from, to, outside: true } if from == to => code(Op::Ne, *from),
        // A range has one open end: it came of one comparison.
        Condition::Code { from: 0, to, outside: false } => code(Op::Le, *to),
        Condition::Code { from, outside: false, .. } => code(Op::Ge, *from),
        Condition::Code { from: 0, to, outside: true } => code(Op::Ge, to.saturating_add(1)),
        Condition::Code { from, outside: true, .. } => code(Op::Le, from.saturating_sub(1)),
        Condition::Header { name, test, negate } => FilterSpecifier::HeaderFilter(HeaderFilter {
            header: Some(HeaderMatcher {
                name: name.clone(),
                header_match_specifier: Some(matches(test)),
                invert_match: *negate,
                ..HeaderMatcher::default()
            }),
        }),
    }
}

fn code(op: Op, value: u32) -> FilterSpecifier {
    let value = RuntimeUInt32 { default_value: value, runtime_key: "access_log.code".to_owned() };
    FilterSpecifier::StatusCodeFilter(StatusCodeFilter {
        comparison: Some(ComparisonFilter { op: op as i32, value: Some(value) }),
    })
}

fn matches(test: &Test) -> HeaderMatchSpecifier {
    let pattern = match test.clone() {
        Test::Present => return HeaderMatchSpecifier::PresentMatch(true),
        Test::Exact(text) => MatchPattern::Exact(text),
        Test::Prefix(text) => MatchPattern::Prefix(text),
        Test::Suffix(text) => MatchPattern::Suffix(text),
        Test::Contains(text) => MatchPattern::Contains(text),
        Test::Regex(regex) => MatchPattern::SafeRegex(RegexMatcher { regex, ..RegexMatcher::default() }),
    };
    HeaderMatchSpecifier::StringMatch(StringMatcher { match_pattern: Some(pattern), ignore_case: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(expression: &str) -> (i32, u32) {
        let filter = of(expression, Flavour::Lateen).expect("understood").filter_specifier;
        let Some(FilterSpecifier::StatusCodeFilter(filter)) = filter else { panic!("{filter:?}") };
        let comparison = filter.comparison.expect("comparison");
        (comparison.op, comparison.value.expect("value").default_value)
    }

    #[test]
    fn comparisons_and_their_negations_become_envoys_operators() {
        for (expression, op, value) in [
            ("response.code >= 400", Op::Ge, 400),
            ("response.code > 400", Op::Ge, 401),
            ("response.code < 400", Op::Le, 399),
            ("response.code == 404", Op::Eq, 404),
            ("!(response.code == 404)", Op::Ne, 404),
            ("!(response.code >= 400)", Op::Le, 399),
            ("!(response.code <= 400)", Op::Ge, 401),
        ] {
            assert_eq!(comparison(expression), (op as i32, value), "{expression}");
        }
    }

    #[test]
    fn envoy_gets_the_expression_as_it_is() {
        let filter = of("connection.mtls", Flavour::Envoy).expect("passed on").filter_specifier;
        assert!(matches!(filter, Some(FilterSpecifier::ExtensionFilter(_))));
        assert_eq!(of("connection.mtls", Flavour::Lateen), None);
    }
}
