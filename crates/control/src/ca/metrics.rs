use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use lateen_identity::{Authority, TrustBundle};

use crate::metrics::Text;

/// What the authority counts, under Citadel's names.
#[derive(Debug, Default)]
pub struct CaMetrics {
    requests: AtomicU64,
    authentication_failures: AtomicU64,
    parse_errors: AtomicU64,
    identity_errors: AtomicU64,
    sign_errors: Mutex<BTreeMap<&'static str, u64>>,
    successes: AtomicU64,
    root_expiry: AtomicI64,
    chain_expiry: AtomicI64,
}

impl CaMetrics {
    /// A request came.
    pub fn on_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// A caller could not prove who it is.
    pub fn on_authentication_failure(&self) {
        self.authentication_failures.fetch_add(1, Relaxed);
    }

    /// A request holds no usable CSR.
    pub fn on_parse_error(&self) {
        self.parse_errors.fetch_add(1, Relaxed);
    }

    /// A CSR asks for an identity that is not its sender's.
    pub fn on_identity_error(&self) {
        self.identity_errors.fetch_add(1, Relaxed);
    }

    /// A CSR could not be signed; `kind` in Citadel's words (`TTL_ERROR`, `CA_NOT_READY` ...).
    pub fn on_sign_error(&self, kind: &'static str) {
        *self.sign_errors.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// A certificate was given out.
    pub fn on_success(&self) {
        self.successes.fetch_add(1, Relaxed);
    }

    /// Another authority or other roots.
    pub fn on_authority(&self, authority: &Authority, trust: &TrustBundle) {
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH).map_or(-1, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
        };
        self.root_expiry.store(trust.expiry().map_or(-1, seconds), Relaxed);
        self.chain_expiry.store(seconds(authority.not_after()), Relaxed);
    }

    pub(crate) fn render(&self, out: &mut Text) {
        let counters = [
            ("csr_count", "The number of CSRs received by the CA.", &self.requests),
            (
                "authentication_failure_count",
                "The number of authentication failures.",
                &self.authentication_failures,
            ),
            (
                "csr_parsing_err_count",
                "The number of errors that occurred when parsing the CSR.",
                &self.parse_errors,
            ),
            (
                "id_extraction_err_count",
                "The number of errors that occurred when extracting the ID from the CSR.",
                &self.identity_errors,
            ),
            (
                "success_cert_issuance_count",
                "The number of certificates issuances that have succeeded.",
                &self.successes,
            ),
        ];
        for (name, help, value) in counters {
            let name = format!("citadel_server_{name}");
            out.head(&name, "counter", help);
            out.line(&name, "", value.load(Relaxed));
        }
        let name = "citadel_server_csr_sign_err_count";
        out.head(name, "counter", "The number of errors that occurred when signing the CSR.");
        for (kind, count) in &*self.sign_errors.lock().unwrap_or_else(PoisonError::into_inner) {
            out.line(name, &format!("error=\"{kind}\""), *count);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()).cast_signed();
        for (what, at) in [("root_cert", &self.root_expiry), ("cert_chain", &self.chain_expiry)] {
            let at = at.load(Relaxed);
            let name = format!("citadel_server_{what}_expiry_timestamp");
            out.signed_gauge(&name, "When it will expire, in seconds since 1970.", at);
            let name = format!("citadel_server_{what}_expiry_seconds");
            out.signed_gauge(&name, "The time until it expires, in seconds.", at - now);
        }
    }
}
