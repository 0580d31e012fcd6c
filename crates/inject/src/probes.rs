//! Leading kubelet's probes through the agent.
//!
//! The kubelet's requests would be captured like any other; so the agent answers them on its own port, which is not
//! captured, and asks the application inside the pod
//! (<https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/>).

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use crate::annotations::{self, REWRITE_PROBES};
use crate::settings::{Settings, Template};
use crate::{InjectError, PROXY_CONTAINER};

/// Rewrites the probes of all application containers; returns the value of `ISTIO_KUBE_APP_PROBERS`, if any.
pub(crate) fn rewrite(settings: &Settings<'_>, spec: &mut PodSpec) -> Result<Option<String>, InjectError> {
    let wanted = annotations::flag(settings.pod, REWRITE_PROBES, settings.config.rewrite_probes)?;
    if !wanted || settings.status_port == 0 || settings.template == Template::Gateway {
        return Ok(None);
    }
    let mut probers = Map::new();
    // A native sidecar of the user's own among the init containers is probed too.
    let init =
        spec.init_containers.iter_mut().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    for container in spec.containers.iter_mut().chain(init) {
        if container.name != PROXY_CONTAINER {
            rewrite_container(settings.status_port, container, &mut probers)?;
        }
    }
    if probers.is_empty() {
        return Ok(None);
    }
    // Sorted, so that the same pod always gets the same text.
    probers.sort_keys();
    Ok(Some(Value::Object(probers).to_string()))
}

fn rewrite_container(
    port: u16,
    container: &mut Container,
    probers: &mut Map<String, Value>,
) -> Result<(), InjectError> {
    let ports: Vec<(String, i32)> = container
        .ports
        .iter()
        .flatten()
        .filter_map(|port| Some((port.name.clone()?, port.container_port)))
        .collect();
    let name = container.name.clone();
    let slots = [
        ("readinessProbe", "readyz", &mut container.readiness_probe),
        ("livenessProbe", "livez", &mut container.liveness_probe),
        ("startupProbe", "startupz", &mut container.startup_probe),
    ];
    for (field, suffix, slot) in slots {
        let Some(probe) = slot.as_mut() else { continue };
        let path = format!("/app-health/{name}/{suffix}");
        let resolve = |wanted: &IntOrString| match wanted {
            IntOrString::Int(number) => Ok(*number),
            IntOrString::String(text) => named(&ports, text).ok_or_else(|| InjectError::Pod {
                field: format!("spec.containers[{name}].{field}"),
                reason: format!("port {text:?} is not one of the container's named ports"),
            }),
        };
        if let Some(described) = describe(probe, resolve)? {
            probers.insert(path.clone(), described);
            redirect(probe, path, port);
        }
    }
    Ok(())
}

fn named(ports: &[(String, i32)], text: &str) -> Option<i32> {
    ports.iter().find(|(name, _)| name == text).map(|(_, number)| *number).or_else(|| text.parse().ok())
}

/// The application's probe as the agent needs it; defaults are written out so that a manifest and a pod that the
/// API server has defaulted say the same. Commands run in the container itself and stay as they are.
fn describe(
    probe: &Probe,
    resolve: impl Fn(&IntOrString) -> Result<i32, InjectError>,
) -> Result<Option<Value>, InjectError> {
    let mut described = if let Some(http) = &probe.http_get {
        let mut action = json!({
            "path": http.path.as_deref().unwrap_or("/"),
            "port": resolve(&http.port)?,
            "scheme": http.scheme.as_deref().unwrap_or("HTTP"),
        });
        if let Some(host) = &http.host {
            action["host"] = json!(host);
        }
        if let Some(headers) = &http.http_headers {
            action["httpHeaders"] = serde_json::to_value(headers)?;
        }
        json!({ "httpGet": action })
    } else if let Some(tcp) = &probe.tcp_socket {
        let mut action = json!({ "port": resolve(&tcp.port)? });
        if let Some(host) = &tcp.host {
            action["host"] = json!(host);
        }
        json!({ "tcpSocket": action })
    } else if let Some(grpc) = &probe.grpc {
        json!({ "grpc": { "port": grpc.port, "service": grpc.service.as_deref().unwrap_or_default() } })
    } else {
        return Ok(None);
    };
    described["timeoutSeconds"] = json!(probe.timeout_seconds.unwrap_or(1));
    Ok(Some(described))
}

fn redirect(probe: &mut Probe, path: String, port: u16) {
    let headers = probe.http_get.take().and_then(|http| http.http_headers);
    probe.tcp_socket = None;
    probe.grpc = None;
    probe.http_get = Some(HTTPGetAction {
        path: Some(path),
        port: IntOrString::Int(i32::from(port)),
        scheme: Some("HTTP".to_owned()),
        http_headers: headers,
        host: None,
    });
}
