//! What the pod's environment says: who the workload is, and how the proxy is to be run.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::addresses;

/// The part of `PROXY_CONFIG` (Istio's `ProxyConfig`) that the agent acts upon.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    /// `host:port` of the control plane.
    pub discovery_address: Option<String>,
    /// Worker threads; 0 for one a core.
    pub concurrency: Option<u32>,
    /// How long connections may finish after SIGTERM, such as `5s`.
    pub termination_drain_duration: Option<String>,
    /// How long connections of replaced configuration may take to end, such as `45s`.
    pub drain_duration: Option<String>,
    /// Name of the workload's service.
    pub service_cluster: Option<String>,
}

/// The pod as the agent sees it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `POD_NAME`.
    pub pod: String,
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// `INSTANCE_IP`.
    pub address: IpAddr,
    /// The same, and an address of the other IP version where the pod has one (`INSTANCE_IPS`).
    pub addresses: Vec<IpAddr>,
    /// `PROXY_CONFIG`.
    pub proxy_config: ProxyConfig,
    /// The node's metadata: `ISTIO_META_*`, `ISTIO_METAJSON_*`, and what the pod itself says.
    pub metadata: Map<String, Value>,
    /// `LATEEN_SOCKET_MARK`: marks upstream sockets where the proxy cannot run as the uncaptured user.
    pub socket_mark: Option<u32>,
    /// `PROXY_BINARY`: an Envoy to run instead of Lateen's own proxy.
    pub binary: Option<String>,
    /// `ISTIO_KUBE_APP_PROBERS`: the application's probes, as JSON.
    pub probers: Option<String>,
    /// `ISTIO_PROMETHEUS_ANNOTATIONS`: where the application serves metrics, as JSON.
    pub prometheus: Option<String>,
    /// All of the process's variables, for those parts that read their own.
    pub variables: BTreeMap<String, String>,
}

/// How long connections may finish after SIGTERM unless `PROXY_CONFIG` says otherwise (Istio's default).
const TERMINATION_DRAIN: Duration = Duration::from_secs(5);

/// How long connections of replaced configuration may take to end unless `PROXY_CONFIG` says otherwise (Istio's
/// default).
const DRAIN: Duration = Duration::from_secs(45);

impl Environment {
    /// Reads the process's environment and the pod's downward API files.
    ///
    /// # Errors
    /// Names the variable that is missing or malformed.
    pub fn read() -> Result<Environment> {
        let variables: BTreeMap<String, String> = std::env::vars().collect();
        let file =
            |name: &str| fs::read_to_string(Path::new("/etc/istio/pod").join(name)).unwrap_or_default();
        let environment = Environment::from_parts(&variables, &file("labels"), &file("annotations"))?;
        let addresses = addresses::with_other_version(environment.address);
        Ok(environment.with_addresses(addresses))
    }

    /// Tells the addresses of the pod, the first of which is `INSTANCE_IP`.
    pub fn with_addresses(mut self, addresses: Vec<IpAddr>) -> Environment {
        let all: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        self.metadata.insert("INSTANCE_IPS".to_owned(), all.join(",").into());
        self.addresses = addresses;
        self
    }

    /// Reads an environment that is given as values.
    ///
    /// # Errors
    /// As [`Environment::read`].
    pub fn from_parts(
        variables: &BTreeMap<String, String>,
        labels: &str,
        annotations: &str,
    ) -> Result<Environment> {
        let get = |name: &str| variables.get(name).filter(|value| !value.is_empty());
        let need = |name: &str| {
            get(name).cloned().with_context(|| format!("environment variable {name} is not set"))
        };
        let text = need("INSTANCE_IP")?;
        let address: IpAddr =
            text.parse().with_context(|| format!("INSTANCE_IP {text:?} is no IP address"))?;
        let config = get("PROXY_CONFIG").map_or("{}", String::as_str);
        let mut environment = Environment {
            pod: need("POD_NAME")?,
            namespace: need("POD_NAMESPACE")?,
            address,
            addresses: vec![address],
            proxy_config: serde_json::from_str(config).context("environment variable PROXY_CONFIG")?,
            metadata: Map::new(),
            socket_mark: match get("LATEEN_SOCKET_MARK") {
                Some(text) => Some(text.parse().with_context(|| format!("LATEEN_SOCKET_MARK {text:?}"))?),
                None => None,
            },
            binary: get("PROXY_BINARY").cloned(),
            probers: get("ISTIO_KUBE_APP_PROBERS").cloned(),
            prometheus: get("ISTIO_PROMETHEUS_ANNOTATIONS").cloned(),
            variables: variables.clone(),
        };
        environment.metadata = metadata(variables, labels, annotations)?;
        for (key, name) in
            [("NAMESPACE", "POD_NAMESPACE"), ("NAME", "POD_NAME"), ("SERVICE_ACCOUNT", "SERVICE_ACCOUNT")]
        {
            if let Some(value) = get(name) {
                environment.metadata.insert(key.to_owned(), value.clone().into());
            }
        }
        environment.metadata.insert("INSTANCE_IPS".to_owned(), text.into());
        let raw: Value = serde_json::from_str(config)?;
        environment.metadata.insert("PROXY_CONFIG".to_owned(), raw);
        Ok(environment)
    }

    /// The workload's labels.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.metadata.get("LABELS")?.get(name)?.as_str()
    }

    /// How long connections may finish after SIGTERM.
    pub fn termination_drain(&self) -> Duration {
        let text = self.proxy_config.termination_drain_duration.as_deref();
        text.and_then(seconds).map_or(TERMINATION_DRAIN, Duration::from_secs_f64)
    }

    /// How long connections of replaced configuration may take to end.
    pub fn drain(&self) -> Duration {
        let text = self.proxy_config.drain_duration.as_deref();
        text.and_then(seconds).map_or(DRAIN, Duration::from_secs_f64)
    }
}

/// Go's duration notation as far as one unit goes: `5s`, `1.5s`, `500ms`, `1m`.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    number.parse::<f64>().ok().map(|n| n * factor).filter(|s| s.is_finite() && *s >= 0.0)
}

/// `ISTIO_META_X=text` gives `X: "text"`, `ISTIO_METAJSON_X=json` merges an object into the metadata or sets `X`
/// (Istio's `bootstrap.GetNodeMetaData`).
fn metadata(
    variables: &BTreeMap<String, String>,
    labels: &str,
    annotations: &str,
) -> Result<Map<String, Value>> {
    let mut metadata = Map::new();
    let mut own_labels = downward_map(labels);
    for (name, value) in variables {
        if let Some(key) = name.strip_prefix("ISTIO_META_") {
            metadata.insert(key.to_owned(), value.clone().into());
        } else if let Some(key) = name.strip_prefix("ISTIO_METAJSON_") {
            let value: Value =
                serde_json::from_str(value).with_context(|| format!("environment variable {name}"))?;
            match (key, value) {
                ("LABELS", Value::Object(more)) => own_labels.extend(more),
                (key, value) => drop(metadata.insert(key.to_owned(), value)),
            }
        }
    }
    metadata.insert("LABELS".to_owned(), own_labels.into());
    let annotations = downward_map(annotations);
    if !annotations.is_empty() {
        metadata.insert("ANNOTATIONS".to_owned(), annotations.into());
    }
    Ok(metadata)
}

/// The downward API's file format: `key="quoted value"` a line, quoted as Go's `strconv.Quote` does.
fn downward_map(text: &str) -> Map<String, Value> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| {
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.trim_matches('"').into());
            (key.to_owned(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(more: &[(&str, &str)]) -> BTreeMap<String, String> {
        [("POD_NAME", "web-1"), ("POD_NAMESPACE", "shop"), ("INSTANCE_IP", "10.1.2.3")]
            .iter()
            .chain(more)
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn a_missing_variable_is_named() {
        let mut missing = variables(&[]);
        missing.remove("INSTANCE_IP");
        let error = Environment::from_parts(&missing, "", "").unwrap_err();
        assert!(error.to_string().contains("INSTANCE_IP"));
    }

    #[test]
    fn metadata_comes_from_prefixed_variables_and_the_downward_files() {
        let variables = variables(&[
            ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            ("ISTIO_METAJSON_LABELS", "{\"version\":\"v1\"}"),
            ("PROXY_CONFIG", "{\"terminationDrainDuration\":\"1.5s\"}"),
        ]);
        let environment =
            Environment::from_parts(&variables, "app=\"web\"\n", "note=\"a \\\"b\\\"\"\n").unwrap();
        assert_eq!(environment.metadata["CLUSTER_ID"], "Kubernetes");
        assert_eq!((environment.label("app"), environment.label("version")), (Some("web"), Some("v1")));
        assert_eq!(environment.metadata["ANNOTATIONS"]["note"], "a \"b\"");
        assert_eq!(environment.metadata["NAMESPACE"], "shop");
        assert_eq!(environment.termination_drain(), Duration::from_millis(1500));
    }
}
