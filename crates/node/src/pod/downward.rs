//! The downward API: a pod's own fields for its environment and files.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::quantity;
use crate::network::NODE_IP;

/// A field by its path, as `fieldRef` names it.
///
/// # Errors
/// A path that the downward API does not offer.
pub(crate) fn field(pod: &Pod, ip: Option<Ipv4Addr>, path: &str) -> Result<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let keyed = |map: &Option<BTreeMap<String, String>>, rest: &str| {
        let key = rest.trim_start_matches('[').trim_end_matches(']').trim_matches(['\'', '"']);
        map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default()
    };
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|s| s.service_account_name.clone()).unwrap_or_else(|| "default".into())
        }
        "status.podIP" | "status.podIPs" => ip.map(|ip| ip.to_string()).unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => NODE_IP.to_string(),
        other => {
            if let Some(rest) = other.strip_prefix("metadata.labels") {
                keyed(&meta.labels, rest)
            } else if let Some(rest) = other.strip_prefix("metadata.annotations") {
                keyed(&meta.annotations, rest)
            } else {
                bail!("fieldRef.fieldPath {other:?} is not offered by the downward API")
            }
        }
    })
}

/// `key="value"`, one a line, as the downward API's files have maps.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}\n")).collect()
}

/// A container's resource, as `resourceFieldRef` names it; without a limit, what the node has.
///
/// # Errors
/// A resource that the downward API does not offer, or no such container.
pub(crate) fn resource(
    own: Option<&Container>,
    pod: &Pod,
    selector: &ResourceFieldSelector,
) -> Result<String> {
    let spec = pod.spec.as_ref();
    let named = |name: &String| {
        let all =
            spec.into_iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
        all.into_iter().find(|c| c.name == *name)
    };
    let Some(container) = selector.container_name.as_ref().and_then(named).or(own) else {
        bail!("resourceFieldRef needs the containerName of a container of this pod");
    };
    let resources = container.resources.as_ref();
    let (list, resource) = match selector.resource.split_once('.') {
        Some(("limits", name)) => (resources.and_then(|r| r.limits.as_ref()), name),
        Some(("requests", name)) => (resources.and_then(|r| r.requests.as_ref()), name),
        _ => bail!("resourceFieldRef.resource {:?} must begin with limits. or requests.", selector.resource),
    };
    let value = list.and_then(|l| l.get(resource)).and_then(|q| quantity::parse(&q.0));
    let value = value.unwrap_or_else(|| match (selector.resource.as_str(), resource) {
        (_, "cpu") if selector.resource.starts_with("limits") => node_cpus(),
        (_, "memory") if selector.resource.starts_with("limits") => node_memory(),
        _ => 0.0,
    });
    let divisor =
        selector.divisor.as_ref().and_then(|q| quantity::parse(&q.0)).filter(|d| *d > 0.0).unwrap_or(1.0);
    Ok(format!("{:.0}", (value / divisor).ceil()))
}

/// Processors of this machine.
pub(crate) fn node_cpus() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}

/// Bytes of memory of this machine.
pub(crate) fn node_memory() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "x", "version": "v1"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}}]}
        }))
        .unwrap()
    }

    #[test]
    fn fields_are_found_by_path() {
        let pod = pod();
        let of = |path: &str| field(&pod, Some(Ipv4Addr::new(10, 244, 0, 5)), path).unwrap();
        assert_eq!(of("metadata.labels['version']"), "v1");
        assert_eq!(of("metadata.labels"), "app=\"x\"\nversion=\"v1\"\n");
        assert_eq!(of("status.podIP"), "10.244.0.5");
        assert_eq!(of("spec.serviceAccountName"), "default");
        assert!(field(&pod, None, "spec.containers").is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let of = |resource: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                resource: resource.into(),
                divisor: Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(divisor.into())),
                ..Default::default()
            };
            resource_of(container, &pod, &selector)
        };
        assert_eq!(of("limits.cpu", "1"), "2");
        assert_eq!(of("limits.cpu", "1m"), "1500");
        assert_eq!(of("limits.memory", "1Mi"), "64");
        assert_eq!(of("requests.cpu", "0"), "0");
    }

    fn resource_of(container: &Container, pod: &Pod, selector: &ResourceFieldSelector) -> String {
        resource(Some(container), pod, selector).unwrap()
    }
}
