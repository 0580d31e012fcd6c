use crate::config::HeaderMatcher;
use crate::request_info::{LogContext, ResponseFlags};

/// Which requests are logged.
#[derive(Debug)]
pub enum Filter {
    /// By status code.
    Status(Comparison, u64),
    /// By duration in milliseconds.
    Duration(Comparison, u64),
    /// With one of these flags; with any flag when there is none here.
    Flags(ResponseFlags),
    /// With matching request headers.
    Header(Vec<HeaderMatcher>),
    /// All filters pass.
    All(Vec<Filter>),
    /// One filter passes.
    Any(Vec<Filter>),
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `!=`
    Not,
}

impl Comparison {
    fn holds(self, value: u64, than: u64) -> bool {
        match self {
            Comparison::Equal => value == than,
            Comparison::AtLeast => value >= than,
            Comparison::AtMost => value <= than,
            Comparison::Not => value != than,
        }
    }
}

impl Filter {
    /// Whether the request is logged.
    pub fn passes(&self, context: &LogContext<'_>) -> bool {
        match self {
            Filter::Status(op, value) => op.holds(context.info.code.into(), *value),
            Filter::Duration(op, value) => {
                let time = context.info.timings.end.unwrap_or_else(|| context.info.elapsed());
                op.holds(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), *value)
            }
            Filter::Flags(flags) if flags.is_empty() => !context.info.flags.is_empty(),
            Filter::Flags(flags) => flags.bits() & context.info.flags.bits() != 0,
            Filter::Header(matchers) => {
                context.request.is_some_and(|request| matchers.iter().all(|matcher| matcher.matches(request)))
            }
            Filter::All(filters) => filters.iter().all(|filter| filter.passes(context)),
            Filter::Any(filters) => filters.iter().any(|filter| filter.passes(context)),
        }
    }
}
