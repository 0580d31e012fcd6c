use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics::Text;

/// What was refused to somebody who may not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A TLS handshake on the secure port failed: no TLS, another authority's certificate, or too slow.
    Handshake = 0,
    /// A stream whose caller proved no identity.
    StreamUnknown = 1,
    /// A stream whose node describes another workload than its caller.
    StreamIdentity = 2,
    /// A Secret that the proxy may not have, or that is not there.
    Secret = 3,
    /// A debug page to a caller from elsewhere that proved no identity.
    DebugUnknown = 4,
    /// A debug page that is not about the caller's namespace.
    DebugNamespace = 5,
}

/// Refusals by kind.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; 6]);

impl Refusals {
    /// Counts one.
    pub fn on(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Relaxed);
    }

    fn get(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize].load(Relaxed)
    }

    pub(crate) fn render(&self, out: &mut Text) {
        let name = "pilot_sds_certificate_errors_total";
        out.head(name, "counter", "Total number of failures to fetch SDS key and certificate.");
        out.line(name, "", self.get(Refusal::Secret));
        let name = "lateen_refusals_total";
        out.head(name, "counter", "What was refused to callers that may not have it.");
        for (what, reason, refusal) in [
            ("handshake", "tls", Refusal::Handshake),
            ("xds", "unauthenticated", Refusal::StreamUnknown),
            ("xds", "identity", Refusal::StreamIdentity),
            ("secret", "forbidden", Refusal::Secret),
            ("debug", "unauthenticated", Refusal::DebugUnknown),
            ("debug", "namespace", Refusal::DebugNamespace),
        ] {
            out.line(name, &format!("what=\"{what}\",reason=\"{reason}\""), self.get(refusal));
        }
    }
}
