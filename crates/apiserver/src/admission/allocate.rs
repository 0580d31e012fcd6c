//! Addresses and ports of services.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use rand::Rng as _;
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use crate::context::Context;
use crate::object;
use crate::status::{ApiError, FieldError, Result};
use crate::verbs::Call;

/// Services' addresses: 10.96.0.0/16, of which the first 255 are given out only when asked for by name.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
const PREFIX: u32 = 16;
const DYNAMIC: u32 = 256;
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// Held while a service gets its address, so that no two get the same; nothing for other kinds.
pub async fn allocation_guard(call: &Call) -> Option<OwnedMutexGuard<()>> {
    if &*call.resource().shard != "/services" {
        return None;
    }
    Some(call.context.allocation.clone().lock_owned().await)
}

/// Gives a service its addresses and ports.
///
/// # Errors
/// 422 for a given address or port that is out of range or taken.
pub fn allocate(call: &Call, old: Option<&Value>, mut object: Value) -> Result<Value> {
    if &*call.resource().shard != "/services" || call.subresource == "status" {
        return Ok(object);
    }
    let used = Used::of(&call.context, object::meta(&object, "uid"));
    let result = cluster_ip(&mut object, old, &used).and_then(|()| node_ports(&mut object, old, &used));
    result.map_err(|error| ApiError::invalid("", "Service", object::name(&object), &[*error]))?;
    Ok(object)
}

struct Used {
    addresses: HashSet<String>,
    ports: HashSet<i64>,
}

impl Used {
    fn of(context: &Context, except: &str) -> Self {
        let mut used = Self { addresses: HashSet::new(), ports: HashSet::new() };
        for service in context.all("/services").iter().filter(|s| object::meta(s, "uid") != except) {
            used.addresses.insert(object::text(service, &["spec", "clusterIP"]).to_owned());
            let ports = object::list(service, &["spec", "ports"]);
            used.ports.extend(ports.iter().filter_map(|p| object::int(p, &["nodePort"])));
            used.ports.extend(object::int(service, &["spec", "healthCheckNodePort"]));
        }
        used
    }
}

fn cluster_ip(object: &mut Value, old: Option<&Value>, used: &Used) -> Result<(), Box<FieldError>> {
    let kind = object::text(object, &["spec", "type"]).to_owned();
    let spec = object::map_mut(object, &["spec"]);
    if kind == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.shift_remove(field);
        }
        return Ok(());
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut address = text(spec.get("clusterIP"));
    if address.is_empty() {
        address = text(spec.get("clusterIPs").and_then(|ips| ips.get(0)));
    }
    if address.is_empty() {
        address = old.map(|old| object::text(old, &["spec", "clusterIP"]).to_owned()).unwrap_or_default();
    }
    if address.is_empty() {
        address = free_address(used)?;
    } else if address != "None" {
        let parsed: Option<Ipv4Addr> = address.parse().ok();
        if parsed.is_none() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            return Err(FieldError::invalid("spec.clusterIPs[0]", address, detail).into());
        }
        let inside =
            parsed.is_some_and(|ip| ip.to_bits() >> (32 - PREFIX) == NETWORK.to_bits() >> (32 - PREFIX));
        if !inside {
            let detail = format!(
                "failed to allocate IP {address}: the provided IP is not in the valid range. The range of valid IPs \
                 is {NETWORK}/{PREFIX}"
            );
            return Err(Box::new(FieldError::invalid("spec.clusterIPs", json!([address]), detail)));
        }
        if used.addresses.contains(&address) {
            let detail = format!("failed to allocate IP {address}: provided IP is already allocated");
            return Err(Box::new(FieldError::invalid("spec.clusterIPs", json!([address]), detail)));
        }
    }
    spec.insert("clusterIPs".into(), json!([address]));
    spec.insert("clusterIP".into(), address.into());
    Ok(())
}

fn free_address(used: &Used) -> Result<String, Box<FieldError>> {
    let size = (1_u32 << (32 - PREFIX)) - 1;
    let start = rand::rng().random_range(DYNAMIC..size);
    let candidates = (start..size).chain(DYNAMIC..start);
    let address = candidates.map(|n| Ipv4Addr::from_bits(NETWORK.to_bits() + n).to_string());
    let mut free = address.filter(|a| !used.addresses.contains(a));
    free.next().ok_or_else(|| {
        FieldError::invalid("spec.clusterIPs", json!([]), "failed to allocate a serviceIP: range is full")
            .into()
    })
}

fn node_ports(object: &mut Value, old: Option<&Value>, used: &Used) -> Result<(), Box<FieldError>> {
    let kind = object::text(object, &["spec", "type"]).to_owned();
    let wanted = kind == "NodePort"
        || kind == "LoadBalancer" && object["spec"]["allocateLoadBalancerNodePorts"].as_bool() != Some(false);
    let mut taken = used.ports.clone();
    let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let number = object::int(port, &["port"]);
        let Some(map) = port.as_object_mut() else { continue };
        if !wanted {
            map.shift_remove("nodePort");
            continue;
        }
        let path = format!("spec.ports[{index}].nodePort");
        let given = map.get("nodePort").and_then(Value::as_i64).filter(|n| *n != 0);
        let kept = || {
            let before = object::list(old?, &["spec", "ports"])
                .iter()
                .find(|p| object::int(p, &["port"]) == number)?;
            object::int(before, &["nodePort"])
        };
        let node_port = match given.or_else(kept) {
            Some(given) if !NODE_PORTS.contains(&given) => {
                let detail =
                    "provided port is not in the valid range. The range of valid ports is 30000-32767";
                return Err(Box::new(FieldError::invalid(path, given, detail)));
            }
            // TCP and UDP of one service may share a number.
            Some(given) if used.ports.contains(&given) => {
                return Err(Box::new(FieldError::invalid(path, given, "provided port is already allocated")));
            }
            Some(given) => given,
            None => {
                let start = rand::rng().random_range(NODE_PORTS);
                let mut candidates = (start..=*NODE_PORTS.end()).chain(*NODE_PORTS.start()..start);
                let free = candidates.find(|p| !taken.contains(p));
                free.ok_or_else(|| {
                    Box::new(FieldError::invalid(path, 0, "failed to allocate a nodePort: range is full"))
                })?
            }
        };
        taken.insert(node_port);
        map.insert("nodePort".into(), node_port.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> Used {
        Used { addresses: HashSet::from(["10.96.0.10".to_owned()]), ports: HashSet::from([30_080]) }
    }

    #[test]
    fn addresses_and_ports_are_given_out_once() {
        let mut service =
            json!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "nodePort": 31000}]}});
        cluster_ip(&mut service, None, &used()).unwrap();
        node_ports(&mut service, None, &used()).unwrap();
        assert!(object::text(&service, &["spec", "clusterIP"]).starts_with("10.96."));
        assert!(NODE_PORTS.contains(&service["spec"]["ports"][0]["nodePort"].as_i64().unwrap()));
        assert_eq!(service["spec"]["ports"][1]["nodePort"], 31000);
        let mut taken = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.10"}});
        let error = cluster_ip(&mut taken, None, &used()).unwrap_err();
        assert!(error.to_string().ends_with("provided IP is already allocated"));
        let mut outside = json!({"spec": {"clusterIP": "1.2.3.4"}});
        assert!(cluster_ip(&mut outside, None, &used()).is_err());
        let mut port = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_080}]}});
        assert!(node_ports(&mut port, None, &used()).is_err());
    }
}
