//! The init container that programs the pod's redirection, with istio-iptables' arguments; where a CNI plugin does that,
//! the one that checks it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::json;

use crate::annotations::{
    EXCLUDE_INBOUND_PORTS, EXCLUDE_INTERFACES, EXCLUDE_OUTBOUND_PORTS, EXCLUDE_OUTBOUND_RANGES,
    INCLUDE_INBOUND_PORTS, INCLUDE_OUTBOUND_PORTS, INCLUDE_OUTBOUND_RANGES, INTERCEPTION_MODE,
    KUBEVIRT_INTERFACES, REROUTE_INTERFACES, STATUS_PORT, truth,
};
use crate::settings::{Interception, Settings};
use crate::workload::Workload;
use crate::{
    CaptureDefaults, INIT_CONTAINER, InjectConfig, InjectError, PROXY_CONTAINER, VALIDATION_CONTAINER,
    is_injected, proxy, proxy_config,
};

const PROXY_USER: &str = "1337";
/// The variable of `proxyMetadata` that leads the pod's DNS queries to the agent.
const DNS_CAPTURE: &str = "ISTIO_META_DNS_CAPTURE";

/// Name of the init container.
pub(crate) fn name(config: &InjectConfig) -> &'static str {
    if config.cni { VALIDATION_CONTAINER } else { INIT_CONTAINER }
}

pub(crate) fn container(settings: &Settings<'_>) -> Result<Container, InjectError> {
    let config = settings.config;
    let mut arguments = arguments(settings, PROXY_USER)?;
    let mut metadata = proxy_config::metadata(&settings.proxy_config);
    if metadata.any(|(name, value)| name == DNS_CAPTURE && truth(&value) == Some(true)) {
        arguments.push("--redirect-dns".to_owned());
    }
    if config.cni {
        arguments.extend(["--run-validation".to_owned(), "--skip-rule-apply".to_owned()]);
    }
    let mut container = json!({
        "name": name(config),
        "image": proxy::image(settings),
        "args": arguments,
        "resources": proxy::resources(settings)?,
        "securityContext": match config.cni {
            // The user is the proxy's: the check opens a connection as the proxy would.
            true => proxy::unprivileged(config),
            false => json!({
                "allowPrivilegeEscalation": false,
                "capabilities": { "add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"] },
                "privileged": false,
                "readOnlyRootFilesystem": false,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "runAsUser": 0,
            }),
        },
    });
    if !config.image_pull_policy.is_empty() {
        container["imagePullPolicy"] = json!(config.image_pull_policy);
    }
    Ok(serde_json::from_value(container)?)
}

/// The arguments of `lateen capture` for a pod that has been injected, out of its annotations: what a CNI plugin does.
/// `None` for a pod whose traffic is not to be captured, or which has an init container for that.
///
/// # Errors
/// An annotation has a value that cannot be used.
pub fn capture_arguments(pod: &Pod) -> Result<Option<Vec<String>>, InjectError> {
    let Some(spec) = pod.spec.as_ref().filter(|_| is_injected(pod)) else { return Ok(None) };
    let init = spec.init_containers.iter().flatten();
    if init.clone().any(|container| container.name == INIT_CONTAINER) {
        return Ok(None);
    }
    let config = InjectConfig::default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let settings = Settings::new(pod, namespace, Workload::of_pod(pod), &config)?;
    if settings.interception == Interception::None {
        return Ok(None);
    }
    let proxy = spec.containers.iter().chain(init).find(|container| container.name == PROXY_CONTAINER);
    let user = proxy.and_then(|proxy| proxy.security_context.as_ref()?.run_as_user).filter(|user| *user > 0);
    let user = user.map_or_else(|| PROXY_USER.to_owned(), |user| user.to_string());
    let mut arguments = arguments(&settings, &user)?;
    arguments.remove(0);
    let variables = proxy.iter().flat_map(|proxy| proxy.env.iter().flatten());
    let mut values = variables.filter(|v| v.name == DNS_CAPTURE).filter_map(|v| v.value.as_deref());
    if values.any(|value| truth(value) == Some(true)) {
        // The pod's name servers are not known here: every query on port 53 is captured, as by Istio's plugin.
        arguments.extend(["--redirect-dns".to_owned(), "--capture-all-dns".to_owned()]);
    }
    Ok(Some(arguments))
}

/// What a CNI plugin has to know of the mesh's settings: it sees the pod alone, and so they are written there.
pub(crate) fn annotate(settings: &Settings<'_>, notes: &mut BTreeMap<String, String>) {
    if !settings.config.cni || settings.interception == Interception::None {
        return;
    }
    let (mesh, usual) = (&settings.config.capture, CaptureDefaults::default());
    let ports = (settings.status_port.to_string(), InjectConfig::default().ports.status.to_string());
    let all = [
        (INTERCEPTION_MODE, settings.interception.name(), Interception::Redirect.name()),
        (INCLUDE_OUTBOUND_RANGES, &mesh.include_ip_ranges, &usual.include_ip_ranges),
        (EXCLUDE_OUTBOUND_RANGES, &mesh.exclude_ip_ranges, &usual.exclude_ip_ranges),
        (INCLUDE_INBOUND_PORTS, &mesh.include_inbound_ports, &usual.include_inbound_ports),
        (EXCLUDE_INBOUND_PORTS, &mesh.exclude_inbound_ports, &usual.exclude_inbound_ports),
        (INCLUDE_OUTBOUND_PORTS, &mesh.include_outbound_ports, &usual.include_outbound_ports),
        (EXCLUDE_OUTBOUND_PORTS, &mesh.exclude_outbound_ports, &usual.exclude_outbound_ports),
        (STATUS_PORT, &ports.0, &ports.1),
    ];
    for (name, value, usual) in all {
        if value != usual {
            notes.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
}

fn arguments(settings: &Settings<'_>, user: &str) -> Result<Vec<String>, InjectError> {
    let defaults = &settings.config.capture;
    let ports = settings.config.ports;
    let include_ranges = ranges(settings, INCLUDE_OUTBOUND_RANGES, &defaults.include_ip_ranges, true)?;
    let exclude_ranges = ranges(settings, EXCLUDE_OUTBOUND_RANGES, &defaults.exclude_ip_ranges, false)?;
    let include_inbound = port_list(settings, INCLUDE_INBOUND_PORTS, &defaults.include_inbound_ports, true)?;
    let exclude_inbound = port_list(settings, EXCLUDE_INBOUND_PORTS, &defaults.exclude_inbound_ports, false)?;
    let include_outbound =
        port_list(settings, INCLUDE_OUTBOUND_PORTS, &defaults.include_outbound_ports, true)?;
    let exclude_outbound =
        port_list(settings, EXCLUDE_OUTBOUND_PORTS, &defaults.exclude_outbound_ports, false)?;

    let mut own = format!("{},{}", ports.prometheus, ports.readiness);
    let status = settings.status_port.to_string();
    if settings.status_port != 0 && !exclude_inbound.split(',').any(|port| port.trim() == status) {
        own = format!("{own},{status}");
    }
    if !exclude_inbound.is_empty() {
        own = format!("{own},{exclude_inbound}");
    }
    let mut arguments = vec!["capture".to_owned()];
    let mut add = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
    add("-p", &ports.outbound.to_string());
    add("-z", &ports.inbound.to_string());
    add("-u", user);
    add("-m", settings.interception.name());
    add("-i", include_ranges);
    add("-x", exclude_ranges);
    add("-b", include_inbound);
    add("-d", &own);
    if !include_outbound.is_empty() {
        add("-q", include_outbound);
    }
    if !exclude_outbound.is_empty() {
        add("-o", exclude_outbound);
    }
    let kubevirt = settings.text(REROUTE_INTERFACES, settings.text(KUBEVIRT_INTERFACES, ""));
    if !kubevirt.is_empty() {
        add("-k", kubevirt);
    }
    let interfaces = settings.text(EXCLUDE_INTERFACES, "");
    if !interfaces.is_empty() {
        add("-c", interfaces);
    }
    if let Some(mark) = settings.config.socket_mark {
        add("--socket-mark", &mark.to_string());
    }
    Ok(arguments)
}

fn port_list<'a>(
    settings: &Settings<'a>,
    name: &'static str,
    default: &'a str,
    wildcard: bool,
) -> Result<&'a str, InjectError> {
    let text = settings.text(name, default);
    let valid = text.is_empty()
        || (wildcard && text == "*")
        || text.split(',').all(|port| port.trim().parse::<u16>().is_ok());
    if valid {
        return Ok(text);
    }
    let shape = if wildcard { "\"*\" or a list of ports" } else { "a list of ports" };
    Err(InjectError::annotation(name, text, format!("must be {shape} separated by commas")))
}

fn ranges<'a>(
    settings: &Settings<'a>,
    name: &'static str,
    default: &'a str,
    wildcard: bool,
) -> Result<&'a str, InjectError> {
    let text = settings.text(name, default);
    let valid =
        text.is_empty() || (wildcard && text == "*") || text.split(',').all(|range| is_cidr(range.trim()));
    if valid {
        return Ok(text);
    }
    let shape = if wildcard { "\"*\" or a list of CIDR ranges" } else { "a list of CIDR ranges" };
    Err(InjectError::annotation(name, text, format!("must be {shape} separated by commas, like 10.0.0.0/8")))
}

fn is_cidr(text: &str) -> bool {
    let (address, bits) = text.split_once('/').unwrap_or((text, "0"));
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}
