//! What the mesh's operator decides about injection.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use lateen_api::ProxyConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What happens to pods that say nothing themselves (Istio's `policy` of the injector's ConfigMap).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Pods in selected namespaces are injected unless they refuse.
    #[default]
    Enabled,
    /// Pods are injected only if they ask for it.
    Disabled,
}

/// Ports of the sidecar that injection writes into the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ports {
    /// Where outbound connections are redirected to.
    pub outbound: u16,
    /// Where inbound connections are redirected to.
    pub inbound: u16,
    /// The agent's health and merged metrics.
    pub status: u16,
    /// Readiness of the proxy.
    pub readiness: u16,
    /// The proxy's own metrics.
    pub prometheus: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { outbound: 15001, inbound: 15006, status: 15020, readiness: 15021, prometheus: 15090 }
    }
}

/// Which traffic is redirected where a pod's annotations do not say (`global.proxy.*` in Istio's values).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CaptureDefaults {
    /// Destination ranges whose outbound traffic is captured: `*` or CIDRs.
    #[serde(rename = "includeIPRanges")]
    pub include_ip_ranges: String,
    /// Destination ranges left alone.
    #[serde(rename = "excludeIPRanges")]
    pub exclude_ip_ranges: String,
    /// Inbound ports that are captured: `*`, a list or nothing.
    pub include_inbound_ports: String,
    /// Inbound ports left alone, besides the sidecar's own.
    pub exclude_inbound_ports: String,
    /// Outbound ports that are captured whatever their destination.
    pub include_outbound_ports: String,
    /// Outbound ports left alone.
    pub exclude_outbound_ports: String,
}

impl Default for CaptureDefaults {
    fn default() -> Self {
        Self {
            include_ip_ranges: "*".into(),
            exclude_ip_ranges: String::new(),
            include_inbound_ports: "*".into(),
            exclude_inbound_ports: String::new(),
            include_outbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
        }
    }
}

/// Resources of the sidecar's container, as Kubernetes quantities; an empty text leaves the field out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Requested CPU.
    pub cpu_request: String,
    /// Requested memory.
    pub memory_request: String,
    /// Limit of CPU.
    pub cpu_limit: String,
    /// Limit of memory.
    pub memory_limit: String,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu_request: "10m".into(),
            memory_request: "40Mi".into(),
            cpu_limit: "2".into(),
            memory_limit: "1Gi".into(),
        }
    }
}

/// The sidecar's readiness probe where a pod's annotations do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Readiness {
    /// Seconds before the first probe.
    pub initial_delay_seconds: u32,
    /// Seconds between probes.
    pub period_seconds: u32,
    /// Failures in a row after which the pod counts as not ready.
    pub failure_threshold: u32,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { initial_delay_seconds: 0, period_seconds: 15, failure_threshold: 4 }
    }
}

/// Everything that injection knows besides the pod and its namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InjectConfig {
    /// What happens to pods that say nothing.
    pub policy: Policy,
    /// Whether namespaces without a label count as `istio-injection=enabled`.
    pub enable_namespaces_by_default: bool,
    /// Pods that match one of these are left alone unless they ask themselves.
    pub never_inject_selector: Vec<LabelSelector>,
    /// Pods that match one of these are injected unless they refuse themselves.
    pub always_inject_selector: Vec<LabelSelector>,
    /// Image of the sidecar and of the init container; its entry point is `lateen`.
    pub image: String,
    /// Pull policy of that image; empty leaves it to the API server.
    pub image_pull_policy: String,
    /// Names of Secrets with which the image is pulled.
    pub image_pull_secrets: Vec<String>,
    /// Ports of the sidecar.
    pub ports: Ports,
    /// The readiness probe.
    pub readiness: Readiness,
    /// Which traffic is captured by default.
    pub capture: CaptureDefaults,
    /// Resources of the sidecar.
    pub resources: Resources,
    /// `defaultConfig` of the mesh configuration (a ProxyConfig as JSON); pods overlay it by annotation.
    pub default_config: Map<String, Value>,
    /// The cluster's ProxyConfig resources, oldest first.
    #[serde(skip)]
    pub proxy_configs: Arc<[ProxyConfig]>,
    /// Where the sidecar finds its configuration (`discoveryAddress`), unless `default_config` names another.
    pub discovery_address: String,
    /// Where the sidecar gets its certificate.
    pub ca_address: String,
    /// Revision of the control plane; `default` is the one that `istio-injection=enabled` selects.
    pub revision: String,
    /// Trust domain of the mesh.
    pub trust_domain: String,
    /// Name of the mesh; empty means the trust domain.
    pub mesh_id: String,
    /// Name of the cluster.
    pub cluster_id: String,
    /// Network of the cluster; empty if there is but one.
    pub network: String,
    /// DNS suffix of the cluster.
    pub cluster_domain: String,
    /// Namespace of the control plane, in which only pods that ask are injected.
    pub root_namespace: String,
    /// `enablePrometheusMerge`: the agent serves the application's metrics beside the proxy's.
    pub prometheus_merge: bool,
    /// Whether kubelet's probes are led through the agent.
    pub rewrite_probes: bool,
    /// Whether the sidecar becomes an init container that restarts (Kubernetes' native sidecar).
    pub native_sidecars: bool,
    /// `warning`, `info`...: the proxy's log level.
    pub log_level: String,
    /// `misc:error`...: the log levels of single parts of an Envoy.
    pub component_log_level: String,
    /// Packets with this mark are the proxy's own: for pods that cannot run as user 1337.
    pub socket_mark: Option<u32>,
    /// Whether a CNI plugin captures traffic: a check, which needs no privilege, stands in place of the init container.
    pub cni: bool,
    /// Templates that pods name in `inject.istio.io/templates`, besides `sidecar` and `gateway`.
    pub templates: BTreeMap<String, String>,
    /// The templates of pods that name none.
    pub default_templates: Vec<String>,
    /// Istio's values, which templates may read.
    #[serde(skip)]
    pub values: Arc<Value>,
    /// Revision tags that lead to this control plane.
    #[serde(skip)]
    pub tags: Vec<String>,
    /// A proxy program (an Envoy) that the agent runs in place of Lateen's own.
    pub proxy_binary: Option<String>,
}

impl Default for InjectConfig {
    fn default() -> Self {
        Self {
            policy: Policy::Enabled,
            enable_namespaces_by_default: false,
            never_inject_selector: Vec::new(),
            always_inject_selector: Vec::new(),
            image: concat!("docker.io/lateen/lateen:", env!("CARGO_PKG_VERSION")).into(),
            image_pull_policy: String::new(),
            image_pull_secrets: Vec::new(),
            ports: Ports::default(),
            readiness: Readiness::default(),
            capture: CaptureDefaults::default(),
            resources: Resources::default(),
            default_config: Map::new(),
            proxy_configs: Arc::default(),
            discovery_address: "istiod.istio-system.svc:15012".into(),
            ca_address: "istiod.istio-system.svc:15012".into(),
            revision: "default".into(),
            trust_domain: "cluster.local".into(),
            mesh_id: String::new(),
            cluster_id: "Kubernetes".into(),
            network: String::new(),
            cluster_domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
            prometheus_merge: true,
            rewrite_probes: true,
            native_sidecars: false,
            log_level: "warning".into(),
            component_log_level: "misc:error".into(),
            socket_mark: None,
            cni: false,
            templates: BTreeMap::new(),
            default_templates: vec!["sidecar".into()],
            values: Arc::default(),
            tags: Vec::new(),
            proxy_binary: None,
        }
    }
}
