//! Compiled matchers of strings, headers and query parameters.

use crate::http::RequestHead;
use std::ops::Range;

/// Matches a string (Envoy's `StringMatcher`).
#[derive(Clone, Debug)]
pub enum StringMatcher {
    /// Equal.
    Exact {
        /// The wanted text; lower case when `ignore_case`.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Begins with.
    Prefix {
        /// The wanted text; lower case when `ignore_case`.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Ends with.
    Suffix {
        /// The wanted text; lower case when `ignore_case`.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Contains.
    Contains {
        /// The wanted text; lower case when `ignore_case`.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// The whole text matches the expression.
    Regex(Regex),
}

/// A regular expression that must match the whole text, as RE2's full match in Envoy.
#[derive(Clone, Debug)]
pub struct Regex(regex::bytes::Regex);

impl Regex {
    /// Compiles `pattern` for whole-text matches.
    ///
    /// # Errors
    /// The pattern is no valid expression, or it is too large when compiled.
    pub fn full(pattern: &str) -> Result<Self, regex::Error> {
        build(&format!("^(?:{pattern})$")).map(Regex)
    }

    /// Compiles `pattern` for search and replacement anywhere in the text.
    ///
    /// # Errors
    /// The pattern is no valid expression, or it is too large when compiled.
    pub fn anywhere(pattern: &str) -> Result<Self, regex::Error> {
        build(pattern).map(Regex)
    }

    /// Whether it matches `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }

    /// Replaces every match by `substitution`, in which `\N` is the Nth group (RE2's syntax was rewritten by
    /// [`Substitution`]).
    pub fn replace_all(&self, text: &[u8], substitution: &Substitution) -> Vec<u8> {
        self.0.replace_all(text, substitution.0.as_ref()).into_owned()
    }
}

fn build(pattern: &str) -> Result<regex::bytes::Regex, regex::Error> {
    regex::bytes::RegexBuilder::new(pattern).size_limit(1 << 20).build()
}

/// A replacement in RE2's syntax (`\1` is the first group, `\\` a backslash).
#[derive(Clone, Debug)]
pub struct Substitution(Box<[u8]>);

impl Substitution {
    /// Rewrites RE2's replacement syntax into the regex library's.
    pub fn new(re2: &str) -> Self {
        let mut out = Vec::with_capacity(re2.len() + 8);
        let mut bytes = re2.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'$' => out.extend_from_slice(b"$$"),
                b'\\' => match bytes.next() {
                    Some(digit @ b'0'..=b'9') => out.extend_from_slice(&[b'$', b'{', digit, b'}']),
                    Some(other) => out.push(other),
                    None => out.push(b'\\'),
                },
                other => out.push(other),
            }
        }
        Substitution(out.into())
    }
}

fn fold<'a>(text: &'a [u8], ignore_case: bool) -> std::borrow::Cow<'a, [u8]> {
    if ignore_case && text.iter().any(u8::is_ascii_uppercase) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

impl StringMatcher {
    /// Matches exactly `value`.
    pub fn exact(value: impl Into<Box<str>>) -> Self {
        StringMatcher::Exact { value: value.into(), ignore_case: false }
    }

    /// Matches what begins with `value`.
    pub fn prefix(value: impl Into<Box<str>>) -> Self {
        StringMatcher::Prefix { value: value.into(), ignore_case: false }
    }

    /// Whether it matches `text`.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            StringMatcher::Exact { value, ignore_case: false } => text == value.as_bytes(),
            StringMatcher::Exact { value, ignore_case: true } => text.eq_ignore_ascii_case(value.as_bytes()),
            StringMatcher::Prefix { value, ignore_case } => {
                fold(text, *ignore_case).starts_with(value.as_bytes())
            }
            StringMatcher::Suffix { value, ignore_case } => {
                fold(text, *ignore_case).ends_with(value.as_bytes())
            }
            StringMatcher::Contains { value, ignore_case } => {
                memchr::memmem::find(&fold(text, *ignore_case), value.as_bytes()).is_some()
            }
            StringMatcher::Regex(regex) => regex.is_match(text),
        }
    }
}

/// Matches a request header or pseudo-header (Envoy's `HeaderMatcher`).
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    /// Lower-case name; `:method`, `:authority`, `:path`, `:scheme` are the pseudo-headers.
    pub name: Box<str>,
    /// What the value must be.
    pub value: HeaderValueMatch,
    /// Turns the result round.
    pub invert: bool,
    /// A missing header is treated as an empty one.
    pub treat_missing_as_empty: bool,
}

/// What a header's value must be.
#[derive(Clone, Debug)]
pub enum HeaderValueMatch {
    /// The header is (`true`) or is not (`false`) there.
    Present(bool),
    /// The value matches.
    String(StringMatcher),
    /// The value is a decimal number in the range.
    Range(Range<i64>),
}

impl HeaderMatcher {
    /// Whether the request has what is asked for. A missing header matches no value, inverted or not, unless missing
    /// ones are taken for empty (Envoy, `treat_missing_header_as_empty`).
    pub fn matches(&self, request: &RequestHead) -> bool {
        self.matches_value(request.field(&self.name).as_deref())
    }

    /// As [`Self::matches`], but each of repeated headers by itself: one that matches is enough. Joined, a second
    /// header would hide the first from a rule that denies (Envoy's `rbac_match_headers_individually`).
    pub fn matches_one(&self, request: &RequestHead) -> bool {
        let mut values = request.headers.get_all(&self.name);
        let (first, more) = (values.next(), values.next());
        let (Some(first), Some(second)) = (first, more) else { return self.matches(request) };
        [first, second].into_iter().chain(values).any(|value| self.holds(value)) != self.invert
    }

    /// As [`Self::matches`], for a value that was looked up already.
    pub fn matches_value(&self, value: Option<&[u8]>) -> bool {
        match (value, &self.value) {
            (Some(value), _) => self.holds(value) != self.invert,
            (None, HeaderValueMatch::Present(wanted)) => *wanted == self.invert,
            (None, _) if self.treat_missing_as_empty => self.holds(b"") != self.invert,
            (None, _) => false,
        }
    }

    /// Whether a value is what is asked for, before that is turned round.
    fn holds(&self, value: &[u8]) -> bool {
        match &self.value {
            HeaderValueMatch::Present(wanted) => *wanted,
            HeaderValueMatch::String(matcher) => matcher.matches(value),
            HeaderValueMatch::Range(range) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| range.contains(&number)),
        }
    }
}

/// Matches a query parameter.
#[derive(Clone, Debug)]
pub struct QueryMatcher {
    /// The parameter's name.
    pub name: Box<str>,
    /// What the value must be; none: the parameter is there.
    pub value: Option<StringMatcher>,
    /// The parameter must not be there (`present_match: false`).
    pub absent: bool,
}

impl QueryMatcher {
    /// Whether the first parameter of that name in `query` (without `?`) matches.
    pub fn matches(&self, query: &[u8]) -> bool {
        let found = query.split(|b| *b == b'&').find_map(|pair| {
            let (name, value) = match memchr::memchr(b'=', pair) {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &b""[..]),
            };
            (name == self.name.as_bytes()).then_some(value)
        });
        match (found, &self.value) {
            (None, _) => self.absent,
            (Some(_), _) if self.absent => false,
            (Some(_), None) => true,
            (Some(value), Some(matcher)) => matcher.matches(value),
        }
    }
}

/// A share of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// How many of `denominator`.
    pub numerator: u32,
    /// 100, 10,000 or 1,000,000.
    pub denominator: u32,
}

impl Fraction {
    /// Every request.
    pub const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };

    /// Whether a request with this random number belongs to the share.
    pub fn hits(self, random: u64) -> bool {
        self.numerator >= self.denominator
            || random % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regex_must_match_the_whole_text() {
        let regex = Regex::full("a|ab").unwrap();
        assert!(regex.is_match(b"ab"));
        assert!(!regex.is_match(b"abc"));
    }

    #[test]
    fn a_re2_substitution_names_groups_by_backslash() {
        let regex = Regex::anywhere("^/api/(v[0-9])/").unwrap();
        assert_eq!(regex.replace_all(b"/api/v1/x", &Substitution::new(r"/\1$/")), b"/v1$/x");
    }

    #[test]
    fn a_missing_header_matches_no_value_unless_it_is_taken_for_an_empty_one() {
        let mut matcher = HeaderMatcher {
            name: "x".into(),
            value: HeaderValueMatch::String(StringMatcher::exact("1")),
            invert: false,
            treat_missing_as_empty: false,
        };
        assert!(!matcher.matches_value(None));
        matcher.invert = true;
        assert!(!matcher.matches_value(None));
        matcher.treat_missing_as_empty = true;
        assert!(matcher.matches_value(None));
        matcher.value = HeaderValueMatch::Present(true);
        assert!(matcher.matches_value(None) && !matcher.matches_value(Some(b"")));
    }

    #[test]
    fn query_parameters_match_by_name_and_value() {
        let matcher =
            QueryMatcher { name: "a".into(), value: Some(StringMatcher::exact("1")), absent: false };
        assert!(matcher.matches(b"b=2&a=1"));
        assert!(!matcher.matches(b"aa=1"));
    }
}
