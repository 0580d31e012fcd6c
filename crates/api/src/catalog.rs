//! All kinds at once: what is dispatched by apiVersion and kind.

use serde_json::Value;

use crate::object::{Kind, Object};
use crate::wire::report::{FieldError, Report};

/// Calls a macro with every kind's spec.
macro_rules! with_kinds {
    ($call:ident) => {
        $call! {
            crate::authentication::MeshPolicySpec,
            crate::authentication::PolicySpec,
            crate::extensions::WasmPluginSpec,
            crate::networking::destination_rule::DestinationRuleSpec,
            crate::networking::envoy_filter::EnvoyFilterSpec,
            crate::networking::gateway::GatewaySpec,
            crate::networking::proxy_config::ProxyConfigSpec,
            crate::networking::service_entry::ServiceEntrySpec,
            crate::networking::sidecar::SidecarSpec,
            crate::networking::virtual_service::VirtualServiceSpec,
            crate::networking::workload_entry::WorkloadEntrySpec,
            crate::networking::workload_group::WorkloadGroupSpec,
            crate::security::authorization_policy::AuthorizationPolicySpec,
            crate::security::peer_authentication::PeerAuthenticationSpec,
            crate::security::request_authentication::RequestAuthenticationSpec,
            crate::telemetry::TelemetrySpec,
        }
    };
}

/// What validation says about a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Why it must be refused; nothing when it is valid.
    pub errors: Vec<FieldError>,
    /// What is accepted but probably not meant.
    pub warnings: Vec<FieldError>,
}

/// Judges a resource of any of Istio's kinds as the admission webhook does: unknown fields, values of wrong types and
/// errors of meaning, all together. `None`: the resource is of a group that is not Istio's.
pub fn validate_value(value: &Value) -> Option<Verdict> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let mut group_is_known = false;
    macro_rules! judge {
        ($($spec:ty,)*) => {$(
            if <$spec as Kind>::GROUP == group {
                group_is_known = true;
                if <$spec as Kind>::KIND == kind {
                    return Some(judge::<$spec>(value));
                }
            }
        )*};
    }
    with_kinds!(judge);
    if !group_is_known {
        return None;
    }
    let mut report = Report::default();
    report.error_at("kind", format!("{group} has no kind {kind:?}"));
    Some(Verdict { errors: report.errors, warnings: Vec::new() })
}

fn judge<S: Kind>(value: &Value) -> Verdict {
    let decoded = Object::<S>::decode(value.clone());
    let Report { mut errors, mut warnings, unknown, .. } = decoded.report;
    errors.extend(unknown);
    if let Some(object) = decoded.object {
        let meaning = object.validate();
        // What could not be read has its default now, of which no more need be said.
        let fresh: Vec<_> =
            meaning.errors.into_iter().filter(|e| !errors.iter().any(|o| related(o, e))).collect();
        errors.extend(fresh);
        warnings.extend(meaning.warnings);
    }
    Verdict { errors, warnings }
}

/// Whether one finding's field holds the other's.
fn related(a: &FieldError, b: &FieldError) -> bool {
    let (short, long) = if a.path.len() <= b.path.len() { (&a.path, &b.path) } else { (&b.path, &a.path) };
    let rest = long.strip_prefix(short.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
}

/// Whether a resource is one of Istio's kinds.
pub fn is_known(api_version: &str, kind: &str) -> bool {
    macro_rules! any {
        ($($spec:ty,)*) => {
            false $(|| (<$spec as Kind>::KIND == kind && Object::<$spec>::serves(api_version)))*
        };
    }
    with_kinds!(any)
}

pub(crate) use with_kinds;
