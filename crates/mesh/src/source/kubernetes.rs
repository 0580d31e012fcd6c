use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::service::{Address, Origin, Port, Resolution, Service, TargetPort};
use crate::{Meta, Protocol, ServiceId, Visibility, hostname};

/// The annotation that limits where a Kubernetes service is visible.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// What the mesh reads of a Kubernetes service.
pub(crate) fn service(service: &core::Service, domain: &str) -> Service {
    let meta = Meta::of(&service.metadata);
    let spec = service.spec.as_ref();
    let cluster_ips = spec.iter().flat_map(|s| {
        let many = s.cluster_ips.iter().flatten();
        s.cluster_ip.iter().chain(many).map(String::as_str)
    });
    let mut addresses: Vec<Address> = Vec::new();
    let mut headless = false;
    for text in cluster_ips {
        headless |= text == "None";
        addresses.extend(Address::parse(text).filter(|a| !addresses.contains(a)));
    }
    let external_name = spec
        .filter(|s| s.type_.as_deref() == Some("ExternalName"))
        .and_then(|s| s.external_name.as_deref())
        .map(|name| name.trim_end_matches('.').into());
    let annotations = service.metadata.annotations.as_ref();
    let export_to: Vec<&str> =
        annotations.and_then(|a| a.get(EXPORT_TO)).map(|list| list.split(',').collect()).unwrap_or_default();
    Service {
        id: ServiceId {
            host: hostname::of_service(&meta.name, &meta.namespace, domain).into(),
            namespace: meta.namespace.clone(),
        },
        origin: Origin::Kubernetes,
        addresses,
        wants_address: false,
        ports: spec.iter().flat_map(|s| s.ports.iter().flatten()).filter_map(port).collect(),
        resolution: if headless { Resolution::Passthrough } else { Resolution::Endpoints },
        external: false,
        export_to: Visibility::parse(&export_to, &meta.namespace),
        selector: spec.and_then(|s| s.selector.clone()).unwrap_or_default(),
        headless,
        external_name,
        listed: Vec::new(),
        subject_alt_names: Vec::new(),
        meta,
    }
}

/// A service port; `None` for ports that are not proxied (UDP, SCTP).
fn port(port: &core::ServicePort) -> Option<Port> {
    let number = u16::try_from(port.port).ok().filter(|n| *n > 0)?;
    let name = port.name.as_deref().unwrap_or_default();
    let protocol = Protocol::of_port(number, name, port.app_protocol.as_deref(), port.protocol.as_deref());
    let target = match &port.target_port {
        Some(IntOrString::String(name)) => TargetPort::Name(name.as_str().into()),
        Some(IntOrString::Int(target)) if *target > 0 => TargetPort::Number(u16::try_from(*target).ok()?),
        _ => TargetPort::Number(number),
    };
    (protocol != Protocol::Udp).then(|| Port { name: name.into(), number, protocol, target })
}
