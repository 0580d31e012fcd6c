use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::networking::service_entry::{
    ServiceEntryLocation, ServiceEntryResolution, ServiceEntrySpec, ServicePort,
};
use lateen_api::networking::workload_entry::WorkloadEntrySpec;

use crate::endpoint::Endpoint;
use crate::service::{Address, ListedEndpoint, Origin, Port, Resolution, Service, TargetPort};
use crate::workload::Workload;
use crate::{Locality, Meta, Protocol, ServiceId, Visibility, hostname};

/// The label by which an entry without addresses refuses one.
const CHOSEN_ADDRESS: &str = "networking.istio.io/enable-autoallocate-ip";

/// The services that a ServiceEntry declares, one for each host.
pub(crate) fn services(
    meta: &Meta,
    labels: Option<&BTreeMap<String, String>>,
    spec: &ServiceEntrySpec,
) -> Vec<Service> {
    let resolution = match spec.resolution.unwrap_or_default() {
        ServiceEntryResolution::None => Resolution::Passthrough,
        ServiceEntryResolution::Static => Resolution::Endpoints,
        ServiceEntryResolution::Dns | ServiceEntryResolution::DynamicDns => Resolution::Dns,
        ServiceEntryResolution::DnsRoundRobin => Resolution::DnsRoundRobin,
    };
    let ports: Vec<Port> = spec.ports.iter().filter_map(port).collect();
    let listed: Vec<ListedEndpoint> = spec.endpoints.iter().map(|e| listed_endpoint(meta, e)).collect();
    let chosen = labels.and_then(|labels| labels.get(CHOSEN_ADDRESS)).is_none_or(|value| value != "false");
    let one = |host: &String| Service {
        id: ServiceId { host: host.as_str().into(), namespace: meta.namespace.clone() },
        meta: meta.clone(),
        origin: Origin::ServiceEntry,
        addresses: spec.addresses.iter().filter_map(|a| Address::parse(a)).collect(),
        // Where the client wanted to go says nothing when the address was made up.
        wants_address: chosen
            && spec.addresses.is_empty()
            && resolution != Resolution::Passthrough
            && !hostname::is_wildcard(host),
        ports: ports.clone(),
        // A wildcard cannot be resolved: such hosts are reached where the client wanted to go.
        resolution: match resolution {
            Resolution::Dns | Resolution::DnsRoundRobin
                if hostname::is_wildcard(host) && listed.is_empty() =>
            {
                Resolution::Passthrough
            }
            other => other,
        },
        external: spec.location.unwrap_or_default() == ServiceEntryLocation::MeshExternal,
        export_to: Visibility::parse(&spec.export_to, &meta.namespace),
        selector: spec.workload_selector.as_ref().map(|s| s.labels.clone()).unwrap_or_default(),
        headless: false,
        external_name: None,
        listed: match resolution {
            Resolution::Dns | Resolution::DnsRoundRobin if listed.is_empty() => vec![itself(host)],
            _ => listed.clone(),
        },
        subject_alt_names: spec.subject_alt_names.clone(),
    };
    spec.hosts.iter().map(one).collect()
}

fn port(port: &ServicePort) -> Option<Port> {
    let number = u16::try_from(port.number).ok().filter(|n| *n > 0)?;
    let protocol = match port.protocol.as_str() {
        "" => Protocol::of_port(number, &port.name, None, None),
        declared => Protocol::of_name(declared),
    };
    let target = u16::try_from(port.target_port).ok().filter(|n| *n > 0).unwrap_or(number);
    let target = TargetPort::Number(target);
    (protocol != Protocol::Udp).then(|| Port { name: port.name.as_str().into(), number, protocol, target })
}

/// An endpoint that the entry lists itself.
fn listed_endpoint(meta: &Meta, entry: &WorkloadEntrySpec) -> ListedEndpoint {
    let workload = Workload::of_entry(meta.clone(), entry);
    ListedEndpoint {
        endpoint: Endpoint {
            address: entry.address.as_str().into(),
            hostname: None,
            port: 0,
            labels: workload.labels.clone(),
            locality: Arc::new(Locality::parse(&entry.locality)),
            weight: workload.weight,
            mtls: workload.takes_mtls(),
            workload: None,
        },
        ports: workload.ports,
    }
}

/// What a DNS entry without endpoints means: its host is its only endpoint.
fn itself(host: &str) -> ListedEndpoint {
    let endpoint = Endpoint {
        address: host.into(),
        hostname: None,
        port: 0,
        labels: Arc::default(),
        locality: Arc::default(),
        weight: 1,
        workload: None,
        mtls: false,
    };
    ListedEndpoint { endpoint, ports: Vec::new() }
}
