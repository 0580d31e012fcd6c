//! Names of the labels and annotations that steer injection, and how they are read.

use k8s_openapi::api::core::v1::Pod;

use crate::InjectError;

pub(crate) const INJECTION: &str = "istio-injection";
pub(crate) const REVISION: &str = "istio.io/rev";
pub(crate) const INJECT: &str = "sidecar.istio.io/inject";
/// What the user's own `istio-proxy` container said, so that the pod can be injected again.
pub(crate) const OVERRIDES: &str = "proxy.istio.io/overrides";
pub(crate) const STATUS: &str = "sidecar.istio.io/status";
pub(crate) const TEMPLATES: &str = "inject.istio.io/templates";
pub(crate) const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
pub(crate) const PROXY_CPU: &str = "sidecar.istio.io/proxyCPU";
pub(crate) const PROXY_CPU_LIMIT: &str = "sidecar.istio.io/proxyCPULimit";
pub(crate) const PROXY_MEMORY: &str = "sidecar.istio.io/proxyMemory";
pub(crate) const PROXY_MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";
pub(crate) const LOG_LEVEL: &str = "sidecar.istio.io/logLevel";
pub(crate) const COMPONENT_LOG_LEVEL: &str = "sidecar.istio.io/componentLogLevel";
pub(crate) const AGENT_LOG_LEVEL: &str = "sidecar.istio.io/agentLogLevel";
pub(crate) const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
pub(crate) const NATIVE_SIDECAR: &str = "sidecar.istio.io/nativeSidecar";
pub(crate) const REWRITE_PROBES: &str = "sidecar.istio.io/rewriteAppHTTPProbers";
pub(crate) const USER_VOLUME: &str = "sidecar.istio.io/userVolume";
pub(crate) const USER_VOLUME_MOUNT: &str = "sidecar.istio.io/userVolumeMount";
pub(crate) const BOOTSTRAP_OVERRIDE: &str = "sidecar.istio.io/bootstrapOverride";
pub(crate) const STATUS_PORT: &str = "status.sidecar.istio.io/port";
pub(crate) const READINESS_INITIAL_DELAY: &str = "readiness.status.sidecar.istio.io/initialDelaySeconds";
pub(crate) const READINESS_PERIOD: &str = "readiness.status.sidecar.istio.io/periodSeconds";
pub(crate) const READINESS_FAILURES: &str = "readiness.status.sidecar.istio.io/failureThreshold";
pub(crate) const MERGE_METRICS: &str = "prometheus.istio.io/merge-metrics";
pub(crate) const PROXY_CONFIG: &str = "proxy.istio.io/config";
pub(crate) const INCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeInboundPorts";
pub(crate) const EXCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
pub(crate) const INCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
pub(crate) const EXCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
pub(crate) const INCLUDE_OUTBOUND_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
pub(crate) const EXCLUDE_OUTBOUND_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
pub(crate) const EXCLUDE_INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces";
pub(crate) const REROUTE_INTERFACES: &str = "istio.io/reroute-virtual-interfaces";
pub(crate) const KUBEVIRT_INTERFACES: &str = "traffic.sidecar.istio.io/kubevirtInterfaces";

/// The pod's annotation of that name, without surrounding white space.
pub(crate) fn get<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(|value| value.trim())
}

/// The pod's label of that name.
pub(crate) fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// Reads a truth value the way Istio does (`true`, `yes`, `y`, `on`, `1` and their opposites).
pub(crate) fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" | "1" => Some(true),
        "n" | "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A truth-valued annotation, or `default` where the pod has none.
pub(crate) fn flag(pod: &Pod, name: &'static str, default: bool) -> Result<bool, InjectError> {
    match get(pod, name) {
        None | Some("") => Ok(default),
        Some(value) => {
            truth(value).ok_or_else(|| InjectError::annotation(name, value, "must be \"true\" or \"false\""))
        }
    }
}

/// A number-valued annotation, or `default` where the pod has none.
pub(crate) fn number(pod: &Pod, name: &'static str, max: u32, default: u32) -> Result<u32, InjectError> {
    match get(pod, name) {
        None | Some("") => Ok(default),
        Some(value) => value.parse().ok().filter(|number| *number <= max).ok_or_else(|| {
            InjectError::annotation(name, value, format!("must be a whole number from 0 to {max}"))
        }),
    }
}
