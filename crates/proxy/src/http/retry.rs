//! When a request is tried again, and when.

use super::{RequestHead, ResponseHead};
use crate::config::{HeaderMatcher, HeaderValueMatch, RetryOn, RetryPolicy};
use crate::error::Failure;
use std::sync::Arc;
use std::time::Duration;

/// A request's retries: the route's policy and what the request's headers add.
#[derive(Debug, Default)]
pub struct Retries {
    policy: Option<Arc<RetryPolicy>>,
    on: RetryOn,
    /// Tries that are left.
    left: u32,
    /// Tries so far.
    done: u32,
    extra_codes: Vec<u16>,
    extra_headers: Vec<HeaderMatcher>,
}

fn number(head: &RequestHead, name: &str) -> Option<u32> {
    head.headers.get_str(name)?.parse().ok()
}

impl Retries {
    /// The retries of a request; takes its `x-envoy-retry-*` headers off it.
    pub fn new(policy: Option<Arc<RetryPolicy>>, head: &mut RequestHead) -> Self {
        let mut retries = Retries { left: 1, ..Retries::default() };
        if let Some(policy) = &policy {
            let refused = !policy.retriable_request_headers.is_empty()
                && !policy.retriable_request_headers.iter().any(|header| header.matches(head));
            if !refused {
                retries.on = policy.on;
                retries.left = policy.max_retries;
            }
        }
        retries.policy = policy;
        if head.headers.iter().any(|(name, _)| name.starts_with(b"x-envoy-")) {
            retries.take_headers(head);
        }
        retries
    }

    fn take_headers(&mut self, head: &mut RequestHead) {
        for name in ["x-envoy-retry-on", "x-envoy-retry-grpc-on"] {
            if let Some(list) = head.headers.get_str(name) {
                self.on.0 |= RetryOn::parse(list).0.0;
            }
        }
        if let Some(most) = number(head, "x-envoy-max-retries") {
            self.left = most;
        }
        if let Some(list) = head.headers.get_str("x-envoy-retriable-status-codes") {
            self.extra_codes = list.split(',').filter_map(|code| code.trim().parse().ok()).collect();
        }
        if let Some(list) = head.headers.get_str("x-envoy-retriable-header-names") {
            let present = |name: &str| HeaderMatcher {
                name: name.trim().to_ascii_lowercase().into(),
                value: HeaderValueMatch::Present(true),
                invert: false,
                treat_missing_as_empty: false,
            };
            self.extra_headers = list.split(',').map(present).collect();
        }
        for name in [
            "x-envoy-retry-on",
            "x-envoy-retry-grpc-on",
            "x-envoy-max-retries",
            "x-envoy-retriable-status-codes",
            "x-envoy-retriable-header-names",
        ] {
            head.headers.remove(name);
        }
    }

    /// Whether the request may be tried again at all, so that its body must be kept.
    pub fn enabled(&self) -> bool {
        self.on != RetryOn::default() && self.left > 0
    }

    /// The limit of one try.
    pub fn per_try_timeout(&self) -> Option<Duration> {
        self.policy.as_ref()?.per_try_timeout
    }

    /// Whether hosts that were tried are avoided, and how often another is asked for.
    pub fn avoid_previous(&self) -> Option<u32> {
        let policy = self.policy.as_ref().filter(|policy| policy.avoid_previous_hosts)?;
        Some(policy.host_selection_attempts)
    }

    /// Whether a failure is one to try again after.
    pub fn wants_after_failure(&self, failure: &Failure) -> bool {
        let any = RetryOn(RetryOn::FIVE_XX.0 | RetryOn::GATEWAY_ERROR.0 | RetryOn::RESET.0);
        match failure {
            Failure::Connect(_) | Failure::ConnectTimeout | Failure::Tls(_) => {
                self.on.has(RetryOn(any.0 | RetryOn::CONNECT_FAILURE.0 | RetryOn::RESET_BEFORE_REQUEST.0))
            }
            Failure::UpstreamReset { refused: true } => {
                self.on.has(RetryOn(any.0 | RetryOn::REFUSED_STREAM.0 | RetryOn::RESET_BEFORE_REQUEST.0))
            }
            Failure::UpstreamReset { .. }
            | Failure::UpstreamClosed { .. }
            | Failure::UpstreamProtocol(_)
            | Failure::PerTryTimeout => self.on.has(any),
            _ => false,
        }
    }

    /// Whether a response is one to try again after.
    pub fn wants_after_response(&self, response: &ResponseHead) -> bool {
        let headers = &response.headers;
        if headers.contains("x-envoy-overloaded")
            || headers.contains("x-envoy-ratelimited") && !self.on.has(RetryOn::ENVOY_RATE_LIMITED)
        {
            return false;
        }
        self.wants_status(response.status) || self.wants_headers(response) || self.wants_grpc(response)
    }

    fn wants_status(&self, status: u16) -> bool {
        let policy_codes = self.policy.iter().flat_map(|policy| &policy.retriable_status_codes);
        self.on.has(RetryOn::FIVE_XX) && status >= 500
            || self.on.has(RetryOn::GATEWAY_ERROR) && matches!(status, 502..=504)
            || self.on.has(RetryOn::RETRIABLE_4XX) && status == 409
            || self.on.has(RetryOn::RETRIABLE_STATUS_CODES)
                && policy_codes.chain(&self.extra_codes).any(|code| *code == status)
            || self.on.has(RetryOn::ENVOY_RATE_LIMITED) && status == 429
    }

    fn wants_headers(&self, response: &ResponseHead) -> bool {
        let of_policy = self.policy.iter().flat_map(|policy| &policy.retriable_headers);
        self.on.has(RetryOn::RETRIABLE_HEADERS)
            && of_policy
                .chain(&self.extra_headers)
                .any(|header| header.matches_value(response.field(&header.name).as_deref()))
    }

    fn wants_grpc(&self, response: &ResponseHead) -> bool {
        let status = || response.headers.get_str("grpc-status");
        let wanted = match status() {
            Some("1") => RetryOn::GRPC_CANCELLED,
            Some("4") => RetryOn::GRPC_DEADLINE_EXCEEDED,
            Some("8") => RetryOn::GRPC_RESOURCE_EXHAUSTED,
            Some("13") => RetryOn::GRPC_INTERNAL,
            Some("14") => RetryOn::GRPC_UNAVAILABLE,
            _ => return false,
        };
        self.on.has(wanted)
    }

    /// Takes one try; the time to wait before it, or none when there is none left.
    pub fn take(&mut self, random: u64) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let (base, most) = match &self.policy {
            Some(policy) => (policy.base_interval, policy.max_interval),
            None => (Duration::from_millis(25), Duration::from_millis(250)),
        };
        let most = base.saturating_mul(1u32.checked_shl(self.done).unwrap_or(u32::MAX)).min(most);
        self.done += 1;
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Some(Duration::from_micros(random % micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Headers, Scheme};

    fn head(headers: &[(&'static str, &'static str)]) -> RequestHead {
        let mut list = Headers::new();
        for (name, value) in headers {
            list.append_static(name, value);
        }
        RequestHead {
            method: http::Method::GET,
            authority: "a".into(),
            path: "/".into(),
            scheme: Scheme::Http,
            headers: list,
        }
    }

    fn on(conditions: &str) -> Retries {
        let policy = RetryPolicy { on: RetryOn::parse(conditions).0, ..RetryPolicy::default() };
        Retries::new(Some(Arc::new(policy)), &mut head(&[]))
    }

    fn response(status: u16, headers: &[(&'static str, &'static str)]) -> ResponseHead {
        ResponseHead { status, headers: head(headers).headers }
    }

    #[test]
    fn each_condition_has_its_causes() {
        assert!(on("5xx").wants_after_response(&response(500, &[])));
        assert!(on("5xx").wants_after_failure(&Failure::UpstreamClosed { stale: false }));
        assert!(!on("gateway-error").wants_after_response(&response(500, &[])));
        assert!(on("gateway-error").wants_after_response(&response(502, &[])));
        assert!(!on("connect-failure").wants_after_failure(&Failure::UpstreamClosed { stale: false }));
        assert!(on("connect-failure").wants_after_failure(&Failure::ConnectTimeout));
        assert!(on("refused-stream").wants_after_failure(&Failure::UpstreamReset { refused: true }));
        assert!(on("retriable-4xx").wants_after_response(&response(409, &[])));
        assert!(on("unavailable").wants_after_response(&response(200, &[("grpc-status", "14")])));
        assert!(!on("5xx,reset").wants_after_failure(&Failure::Overflow));
        assert!(!on("5xx").wants_after_response(&response(503, &[("x-envoy-overloaded", "true")])));
    }

    #[test]
    fn headers_ask_for_retries_and_are_taken_off() {
        let mut head = head(&[
            ("x-envoy-retry-on", "retriable-status-codes"),
            ("x-envoy-retriable-status-codes", "418"),
            ("x-envoy-max-retries", "3"),
        ]);
        let mut retries = Retries::new(None, &mut head);
        assert!(head.headers.is_empty());
        assert!(retries.wants_after_response(&response(418, &[])));
        assert_eq!((0..5).filter(|_| retries.take(1).is_some()).count(), 3);
    }

    #[test]
    fn back_off_grows_up_to_its_limit() {
        let policy = RetryPolicy { max_retries: 10, ..RetryPolicy::default() };
        let mut retries = Retries::new(Some(Arc::new(policy)), &mut head(&[]));
        let waits: Vec<_> = (0..10).map(|_| retries.take(u64::MAX / 3).unwrap()).collect();
        assert!(waits[0] < Duration::from_millis(25));
        assert!(waits.iter().all(|wait| *wait < Duration::from_millis(250)));
    }
}
