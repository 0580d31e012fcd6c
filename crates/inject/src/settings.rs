//! What the pod's annotations and the mesh's configuration make of one pod, worked out once.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

use crate::annotations::{self, INTERCEPTION_MODE, NATIVE_SIDECAR, STATUS_PORT, TEMPLATES};
use crate::workload::Workload;
use crate::{InjectConfig, InjectError, proxy_config};

/// How traffic reaches the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interception {
    Redirect,
    Tproxy,
    None,
}

impl Interception {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redirect => "REDIRECT",
            Self::Tproxy => "TPROXY",
            Self::None => "NONE",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "REDIRECT" => Some(Self::Redirect),
            "TPROXY" => Some(Self::Tproxy),
            "NONE" => Some(Self::None),
            _ => None,
        }
    }
}

/// Which of Istio's own injection templates the pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Sidecar,
    /// The pod's `istio-proxy` container becomes a gateway: no capture, arguments `agent router`.
    Gateway,
    /// None of them: no proxy.
    None,
}

pub(crate) struct Settings<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) namespace: &'a str,
    pub(crate) config: &'a InjectConfig,
    pub(crate) workload: Workload,
    pub(crate) proxy_config: Map<String, Value>,
    pub(crate) interception: Interception,
    pub(crate) template: Template,
    /// The operator's own templates, in the order in which they are laid over the pod.
    pub(crate) overlays: Vec<&'a str>,
    pub(crate) status_port: u16,
    pub(crate) holds_application: bool,
    pub(crate) native: bool,
}

impl<'a> Settings<'a> {
    pub(crate) fn new(
        pod: &'a Pod,
        namespace: &'a str,
        workload: Workload,
        config: &'a InjectConfig,
    ) -> Result<Self, InjectError> {
        let proxy_config = proxy_config::effective(pod, namespace, config)?;
        let (template, overlays) = templates(pod, config)?;
        let interception = match template {
            Template::Gateway | Template::None => Interception::None,
            Template::Sidecar => interception(pod, &proxy_config)?,
        };
        let mesh_port =
            proxy_config.get("statusPort").and_then(Value::as_u64).and_then(|port| u32::try_from(port).ok());
        let default = mesh_port.unwrap_or_else(|| u32::from(config.ports.status));
        let port = annotations::number(pod, STATUS_PORT, u32::from(u16::MAX), default)?;
        Ok(Self {
            pod,
            namespace,
            config,
            workload,
            holds_application: proxy_config::holds_application(&proxy_config),
            proxy_config,
            interception,
            template,
            overlays,
            status_port: u16::try_from(port).unwrap_or(config.ports.status),
            native: template == Template::Sidecar
                && annotations::flag(pod, NATIVE_SIDECAR, config.native_sidecars)?,
        })
    }

    /// The annotation's text, or `default` where the pod has none.
    pub(crate) fn text(&self, name: &str, default: &'a str) -> &'a str {
        annotations::get(self.pod, name).unwrap_or(default)
    }
}

fn interception(pod: &Pod, proxy_config: &Map<String, Value>) -> Result<Interception, InjectError> {
    if let Some(text) = annotations::get(pod, INTERCEPTION_MODE) {
        return Interception::parse(text).ok_or_else(|| {
            InjectError::annotation(INTERCEPTION_MODE, text, "must be REDIRECT, TPROXY or NONE")
        });
    }
    let text = proxy_config.get("interceptionMode").and_then(Value::as_str).unwrap_or_default();
    Interception::parse(text).ok_or_else(|| {
        InjectError::annotation(
            annotations::PROXY_CONFIG,
            text,
            "interceptionMode must be REDIRECT, TPROXY or NONE",
        )
    })
}

/// The templates that the pod names, else those of the mesh: one of Istio's own at most, and the operator's.
fn templates<'a>(pod: &'a Pod, config: &'a InjectConfig) -> Result<(Template, Vec<&'a str>), InjectError> {
    let annotated = annotations::get(pod, TEMPLATES).filter(|text| !text.is_empty());
    let names: Vec<&str> = match annotated {
        Some(text) => text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(),
        None => config.default_templates.iter().map(String::as_str).collect(),
    };
    let refused = |reason: String| InjectError::annotation(TEMPLATES, &names.join(","), reason);
    let (mut template, mut overlays) = (Template::None, Vec::new());
    for name in &names {
        let own = match *name {
            // Somebody may have replaced Istio's own.
            name if config.templates.contains_key(name) => {
                overlays.push(name);
                continue;
            }
            "sidecar" => Template::Sidecar,
            "gateway" => Template::Gateway,
            other => {
                let mut known = vec!["sidecar", "gateway"];
                known.extend(config.templates.keys().map(String::as_str));
                return Err(refused(format!(
                    "there is no template {other:?}; there is: {}",
                    known.join(", ")
                )));
            }
        };
        if template != Template::None && template != own {
            return Err(refused("a pod is either a sidecar's or a gateway".to_owned()));
        }
        template = own;
    }
    Ok((template, overlays))
}
