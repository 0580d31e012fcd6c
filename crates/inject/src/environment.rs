//! The sidecar's environment: how the agent learns who and where it is.

use k8s_openapi::api::core::v1::{ContainerPort, PodSpec};
use serde_json::{Value, json};

use crate::annotations::{self, BOOTSTRAP_OVERRIDE};
use crate::settings::Settings;
use crate::{PROXY_CONTAINER, proxy_config};

/// Label that overrides the cluster's network for one pod.
const NETWORK_LABEL: &str = "topology.istio.io/network";

/// What the pod's other parts contribute to the environment.
#[derive(Default)]
pub(crate) struct Contributions {
    /// `ISTIO_KUBE_APP_PROBERS`: the application's own probes, which the agent now serves.
    pub(crate) probers: Option<String>,
    /// `ISTIO_PROMETHEUS_ANNOTATIONS`: where the application serves its own metrics.
    pub(crate) prometheus: Option<String>,
}

pub(crate) fn variables(settings: &Settings<'_>, spec: &PodSpec, contributed: &Contributions) -> Vec<Value> {
    let config = settings.config;
    let mut list = vec![
        json!({ "name": "JWT_POLICY", "value": "third-party-jwt" }),
        json!({ "name": "PILOT_CERT_PROVIDER", "value": "istiod" }),
        json!({ "name": "CA_ADDR", "value": config.ca_address }),
    ];
    let fields = [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("INSTANCE_IP", "status.podIP"),
        ("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        ("HOST_IP", "status.hostIP"),
        ("ISTIO_META_NODE_NAME", "spec.nodeName"),
    ];
    list.extend(
        fields
            .map(|(name, path)| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } })),
    );

    let mesh_id = if config.mesh_id.is_empty() { &config.trust_domain } else { &config.mesh_id };
    let mut add = |name: &str, value: String| list.push(json!({ "name": name, "value": value }));
    add("PROXY_CONFIG", Value::Object(settings.proxy_config.clone()).to_string());
    add("ISTIO_META_POD_PORTS", pod_ports(spec));
    add("ISTIO_META_APP_CONTAINERS", app_containers(spec));
    add("ISTIO_META_CLUSTER_ID", config.cluster_id.clone());
    add("ISTIO_META_INTERCEPTION_MODE", settings.interception.name().to_owned());
    let network = annotations::label(settings.pod, NETWORK_LABEL).unwrap_or(&config.network);
    if !network.is_empty() {
        add("ISTIO_META_NETWORK", network.to_owned());
    }
    add("ISTIO_META_WORKLOAD_NAME", settings.workload.name.clone());
    add("ISTIO_META_OWNER", settings.workload.owner(settings.namespace));
    if annotations::get(settings.pod, BOOTSTRAP_OVERRIDE).is_some() {
        add("ISTIO_BOOTSTRAP_OVERRIDE", "/etc/istio/custom-bootstrap/custom_bootstrap.json".to_owned());
    }
    add("ISTIO_META_MESH_ID", mesh_id.clone());
    add("TRUST_DOMAIN", config.trust_domain.clone());
    if let Some(mark) = config.socket_mark {
        add("LATEEN_SOCKET_MARK", mark.to_string());
    }
    if let Some(program) = &config.proxy_binary {
        add("PROXY_BINARY", program.clone());
    }
    for (name, value) in proxy_config::metadata(&settings.proxy_config) {
        add(name, value);
    }
    if let Some(value) = &contributed.prometheus {
        add("ISTIO_PROMETHEUS_ANNOTATIONS", value.clone());
    }
    if let Some(value) = &contributed.probers {
        add("ISTIO_KUBE_APP_PROBERS", value.clone());
    }
    list
}

fn applications(spec: &PodSpec) -> impl Iterator<Item = &k8s_openapi::api::core::v1::Container> {
    spec.containers.iter().filter(|container| container.name != PROXY_CONTAINER)
}

fn app_containers(spec: &PodSpec) -> String {
    applications(spec).map(|container| container.name.as_str()).collect::<Vec<_>>().join(",")
}

/// The declared ports; the protocol is written out so that a defaulted pod and a manifest say the same.
fn pod_ports(spec: &PodSpec) -> String {
    let describe = |port: &ContainerPort| {
        let mut value = json!({});
        if let Some(name) = &port.name {
            value["name"] = json!(name);
        }
        value["containerPort"] = json!(port.container_port);
        value["protocol"] = json!(port.protocol.as_deref().unwrap_or("TCP"));
        value
    };
    Value::Array(applications(spec).flat_map(|c| c.ports.iter().flatten()).map(describe).collect())
        .to_string()
}
