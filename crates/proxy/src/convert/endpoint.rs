//! `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use std::sync::Arc;

use super::pb::core::{self, HealthStatus};
use super::pb::eds;
use super::{At, Converted, take, values};
use crate::config::{Endpoint as Host, EndpointCheck, EndpointSet, Health, SubsetLabel};
use crate::stats::istio::endpoint_peer;

/// Highest number of a priority, as Envoy's.
const MOST_PRIORITIES: u32 = 128;

/// Converts an assignment to its service name and endpoints.
///
/// # Errors
/// The path of the field that cannot be used.
pub fn assignment(message: &eds::ClusterLoadAssignment) -> Converted<(&str, EndpointSet)> {
    Ok((&message.cluster_name, endpoints(message)?))
}

/// Converts an assignment to endpoints.
///
/// # Errors
/// The path of the field that cannot be used.
pub fn endpoints(message: &eds::ClusterLoadAssignment) -> Converted<EndpointSet> {
    read(message, &At::root("endpoints"))
}

/// Reads an assignment of addresses.
pub(super) fn read(message: &eds::ClusterLoadAssignment, at: &At<'_>) -> Converted<EndpointSet> {
    let mut endpoints = Vec::new();
    let set = read_each(message, at, |address, endpoint, at| {
        // A unix socket has its address already.
        let address = match &endpoint.pipe {
            Some(_) => endpoint.address,
            None => values::ip_port(address, at)?,
        };
        endpoints.push(Arc::new(Host { address, ..endpoint }));
        Ok(())
    })?;
    Ok(EndpointSet { endpoints, ..set })
}

/// Gives each endpoint's address, which may be a name, with what else is said of it; the set without endpoints.
pub(super) fn read_each(
    message: &eds::ClusterLoadAssignment,
    at: &At<'_>,
    mut each: impl FnMut(&Option<core::Address>, Host, &At<'_>) -> Converted<()>,
) -> Converted<EndpointSet> {
    use eds::ClusterLoadAssignment;
    use eds::cluster_load_assignment::Policy;
    take!(message, at, ClusterLoadAssignment { cluster_name, endpoints, policy } ignore { named_endpoints });
    let _ = cluster_name;
    let mut set = EndpointSet::default();
    if let Some(policy) = policy {
        take!(policy, at, Policy { overprovisioning_factor, weighted_priority_health } ignore { endpoint_stale_after }
            refuse { drop_overloads });
        set.overprovisioning = values::u32_or(overprovisioning_factor, set.overprovisioning);
        set.weighted_health = *weighted_priority_health;
    }
    let field = at.field("endpoints");
    for (index, group) in endpoints.iter().enumerate() {
        locality(group, &field.index(index), &mut each)?;
    }
    Ok(set)
}

fn locality(
    group: &eds::LocalityLbEndpoints,
    at: &At<'_>,
    each: &mut impl FnMut(&Option<core::Address>, Host, &At<'_>) -> Converted<()>,
) -> Converted<()> {
    use eds::LocalityLbEndpoints;
    take!(group, at, LocalityLbEndpoints { locality, lb_endpoints, load_balancing_weight, priority } ignore {
        metadata, proximity,
    } refuse { lb_config });
    if *priority > MOST_PRIORITIES {
        return Err(at.field("priority").error(format!("must be at most {MOST_PRIORITIES}")));
    }
    let name: Option<Arc<str>> = locality
        .as_ref()
        .map(|place| format!("{}/{}/{}", place.region, place.zone, place.sub_zone))
        .filter(|name| name != "//")
        .map(Into::into);
    let weight = values::u32_or(load_balancing_weight, 0);
    let field = at.field("lb_endpoints");
    for (index, endpoint) in lb_endpoints.iter().enumerate() {
        let at = field.index(index);
        let (address, mut host) = host(endpoint, &at)?;
        host.priority = *priority;
        host.locality = name.clone();
        host.locality_weight = weight;
        each(address, host, &at.field("endpoint").field("address"))?;
    }
    Ok(())
}

fn host<'a>(endpoint: &'a eds::LbEndpoint, at: &At<'_>) -> Converted<(&'a Option<core::Address>, Host)> {
    use eds::lb_endpoint::HostIdentifier;
    use eds::{Endpoint, LbEndpoint};
    take!(endpoint, at, LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier });
    let inner = match host_identifier {
        Some(HostIdentifier::Endpoint(inner)) => inner,
        Some(HostIdentifier::EndpointName(_)) => {
            return Err(at.field("endpoint_name").error("is not supported"));
        }
        None => return Err(at.field("endpoint").missing()),
    };
    let at = &at.field("endpoint");
    take!(inner, at, Endpoint { address, hostname, health_check_config, additional_addresses } ignore {
        observability_name,
    });
    let pipe = match address.as_ref().and_then(|address| address.address.as_ref()) {
        Some(core::address::Address::Pipe(pipe)) => Some(pipe),
        _ => None,
    };
    let mut host = match pipe {
        Some(pipe) => pipe_host(&pipe.path, &at.field("address").field("pipe"))?,
        None => Host::new(([0, 0, 0, 0], 0).into()),
    };
    host.alternatives = alternatives(additional_addresses, &at.field("additional_addresses"))?;
    host.hostname = Some(hostname.as_str()).filter(|name| !name.is_empty()).map(Into::into);
    if let Some(check) = health_check_config {
        use eds::endpoint::HealthCheckConfig;
        let at = at.field("health_check_config");
        take!(check, at, HealthCheckConfig { port_value, hostname, disable_active_health_check } refuse { address });
        host.check = Some(Box::new(EndpointCheck {
            port: match port_value {
                0 => None,
                port => Some(values::port(*port, &at.field("port_value"))?),
            },
            hostname: Some(hostname.clone()).filter(|name| !name.is_empty()),
            disabled: *disable_active_health_check,
        }));
    }
    host.weight = values::u32_or(load_balancing_weight, 1);
    if host.weight == 0 {
        return Err(at.field("load_balancing_weight").error("must be at least 1"));
    }
    host.health = match HealthStatus::try_from(*health_status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout) => Health::Unhealthy,
        Err(_) => return Err(at.field("health_status").unsupported(health_status)),
    };
    if let Some(labels) = values::metadata(metadata, "envoy.transport_socket_match") {
        host.transport_match = values::labels(labels);
    }
    if let Some(labels) = values::metadata(metadata, "envoy.lb") {
        host.labels = SubsetLabel::all(&super::metadata::object(labels));
    }
    if let Some(istio) = values::metadata(metadata, "istio") {
        host.peer = values::text(istio, "workload").map(|text| Arc::new(endpoint_peer(text)));
    }
    Ok((address, host))
}

/// Further addresses of an endpoint.
fn alternatives(
    more: &[eds::endpoint::AdditionalAddress],
    at: &At<'_>,
) -> Converted<Box<[std::net::SocketAddr]>> {
    use eds::endpoint::AdditionalAddress;
    let one = |(index, more): (usize, &AdditionalAddress)| {
        let at = &at.index(index);
        take!(more, at, AdditionalAddress { address });
        values::ip_port(address, &at.field("address"))
    };
    more.iter().enumerate().map(one).collect()
}

/// A unix socket. Its address is one that leads nowhere (RFC 6666), made of the path.
fn pipe_host(path: &str, at: &At<'_>) -> Converted<Host> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    if path.is_empty() || path.starts_with('@') {
        return Err(at.field("path").error("must be the path of a unix socket"));
    }
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    let address = u128::from(hasher.finish()) | 0x0100_u128 << 112;
    let mut host = Host::new(std::net::SocketAddr::from((std::net::Ipv6Addr::from(address), 0)));
    host.pipe = Some(std::path::Path::new(path).into());
    Ok(host)
}
