//! The init container that programs the pod's redirection, with istio-iptables' arguments.

use k8s_openapi::api::core::v1::Container;
use serde_json::json;

use crate::annotations::{
    EXCLUDE_INBOUND_PORTS, EXCLUDE_INTERFACES, EXCLUDE_OUTBOUND_PORTS, EXCLUDE_OUTBOUND_RANGES,
    INCLUDE_INBOUND_PORTS, INCLUDE_OUTBOUND_PORTS, INCLUDE_OUTBOUND_RANGES, KUBEVIRT_INTERFACES,
};
use crate::settings::Settings;
use crate::{INIT_CONTAINER, InjectError, proxy};

const PROXY_USER: &str = "1337";

pub(crate) fn container(settings: &Settings<'_>) -> Result<Container, InjectError> {
    let config = settings.config;
    let mut container = json!({
        "name": INIT_CONTAINER,
        "image": proxy::image(settings),
        "args": arguments(settings)?,
        "resources": proxy::resources(settings)?,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": false,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
        },
    });
    if !config.image_pull_policy.is_empty() {
        container["imagePullPolicy"] = json!(config.image_pull_policy);
    }
    Ok(serde_json::from_value(container)?)
}

fn arguments(settings: &Settings<'_>) -> Result<Vec<String>, InjectError> {
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
    add("-u", PROXY_USER);
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
    let kubevirt = settings.text(KUBEVIRT_INTERFACES, "");
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
