//! How long a request may take: route, headers, gRPC.

use super::RequestHead;
use super::retry::Retries;
use crate::config::RouteAction;
use std::time::Duration;

/// The limits of the whole request and of one try; takes the headers that set them off the request.
pub fn of_request(
    action: &RouteAction,
    head: &mut RequestHead,
    grpc: bool,
    retries: &Retries,
) -> (Option<Duration>, Option<Duration>) {
    let mut timeout = action.timeout;
    if let (true, Some(most)) = (grpc, action.grpc_timeout_max) {
        timeout = of_grpc(action, head, most);
    }
    let mut per_try = retries.per_try_timeout();
    if head.headers.iter().any(|(name, _)| name.starts_with(b"x-envoy-upstream-rq-")) {
        let mut take = |name| {
            let value = head.headers.get_str(name).and_then(|text| text.parse().ok());
            head.headers.remove(name);
            value.map(Duration::from_millis)
        };
        if let Some(asked) = take("x-envoy-upstream-rq-timeout-ms") {
            timeout = Some(asked);
        }
        if let Some(asked) = take("x-envoy-upstream-rq-per-try-timeout-ms") {
            per_try = Some(asked);
        }
    }
    let timeout = timeout.filter(|timeout| !timeout.is_zero());
    // Envoy: a limit of one try that is not below that of the whole is none.
    let per_try = per_try.filter(|one| !one.is_zero() && timeout.is_none_or(|all| *one < all));
    (timeout, per_try)
}

/// `grpc-timeout`, less the offset, at most `most` (zero: no bound).
fn of_grpc(action: &RouteAction, head: &RequestHead, most: Duration) -> Option<Duration> {
    let asked = head.headers.get_str("grpc-timeout").and_then(parse_grpc);
    let asked = asked.map(|time| time.checked_sub(action.grpc_timeout_offset).unwrap_or(time));
    match asked {
        Some(asked) if most.is_zero() || asked < most && !asked.is_zero() => Some(asked),
        _ => Some(most),
    }
}

/// Parses `grpc-timeout` (gRPC over HTTP/2: at most eight digits and a unit).
pub fn parse_grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_have_a_unit() {
        assert_eq!(parse_grpc("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_grpc("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parse_grpc("100"), None);
        assert_eq!(parse_grpc("m"), None);
        assert_eq!(parse_grpc("123456789S"), None);
        assert_eq!(parse_grpc("ä"), None);
    }
}
