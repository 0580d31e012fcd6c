//! `google.protobuf.Duration` in its JSON form.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use super::field::{Field, describe, plain};
use super::report::Report;

/// A span of time, exact to the nanosecond; may be negative, which validation refuses where it makes no sense.
///
/// Reads what Istio reads: Go's duration syntax (`1h`, `1m30s`, `1.5s`, `100ms`), of which protobuf's JSON form is a
/// part. Writes protobuf's JSON form: seconds with 0, 3, 6 or 9 decimals (`7s`, `0.010s`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    nanos: i64,
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self { nanos: 0 };

    /// A span of whole nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// A span of whole milliseconds; saturates at about 292 years.
    pub const fn from_millis(millis: i64) -> Self {
        Self { nanos: millis.saturating_mul(1_000_000) }
    }

    /// A span of whole seconds; saturates at about 292 years.
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_millis(secs.saturating_mul(1_000))
    }

    /// The span in nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.nanos
    }

    /// The span as the standard library has it; negative spans become zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.nanos).unwrap_or(0))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.to_std()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        let nanos = self.nanos.unsigned_abs();
        let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        match fraction {
            0 => write!(f, "{seconds}s"),
            n if n % 1_000_000 == 0 => write!(f, "{seconds}.{:03}s", n / 1_000_000),
            n if n % 1_000 == 0 => write!(f, "{seconds}.{:06}s", n / 1_000),
            n => write!(f, "{seconds}.{n:09}s"),
        }
    }
}

/// Text that is no duration.
#[derive(Debug, thiserror::Error)]
#[error("must be a duration such as \"1.5s\", \"100ms\" or \"1m\", not {0:?}")]
pub struct NotADuration(String);

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        parse(text).map(|nanos| Self { nanos }).ok_or_else(|| NotADuration(text.chars().take(60).collect()))
    }
}

/// Go's `time.ParseDuration`: an optional sign, then numbers with units; a bare zero needs no unit.
fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, after) = rest.split_at(number);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        total = total.checked_add(amount(digits, unit)?)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// `digits` (with at most one point) of `unit` in nanoseconds; what is below a nanosecond is cut off.
fn amount(digits: &str, unit: &str) -> Option<i128> {
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(unit)? };
    let mut place = unit;
    for digit in fraction.bytes() {
        // Nanoseconds of hours have 13 digits; beyond that a digit is worth nothing.
        let exact = i128::from(digit - b'0') * place;
        total += exact / 10;
        place /= 10;
    }
    Some(total)
}

impl Field for Duration {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        let Value::String(text) = value else {
            report.error_with(
                format!("must be a duration, not {}", describe(&value)),
                "write a number and a unit in quotes, such as \"5s\"",
            );
            return None;
        };
        text.parse().map_err(|e: NotADuration| report.error(e.to_string())).ok()
    }
    fn encode(&self) -> Value {
        Value::String(self.to_string())
    }
    fn is_default(&self) -> bool {
        *self == Self::ZERO
    }
    fn schema() -> JSONSchemaProps {
        plain("string")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_gos_syntax_and_writes_protobufs() {
        for (text, written) in [
            ("7s", "7s"),
            ("1.5s", "1.500s"),
            ("10ms", "0.010s"),
            ("1h30m", "5400s"),
            ("0", "0s"),
            ("-1.000001s", "-1.000001s"),
            ("1ns", "0.000000001s"),
            (".5s", "0.500s"),
            ("3.3s", "3.300s"),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "5", "s", "5 s", "1d", "1..5s", "-", "1e3s", "99999999999999999999h", "5sx", "."] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
