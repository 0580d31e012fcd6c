//! CNI's protocol, sections 2 and 4 of <https://www.cni.dev/docs/spec/>: environment, network configuration, errors.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

/// Versions of the protocol whose results have the one form that we hand on.
pub const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Error codes of the specification.
mod code {
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    pub const INVALID_ENVIRONMENT: u32 = 4;
    pub const IO: u32 = 5;
    pub const DECODE: u32 = 6;
    pub const INVALID_CONFIG: u32 = 7;
    pub const TRY_AGAIN: u32 = 11;
    /// Of our own, from 100: the pod's annotations cannot be used.
    pub const POD: u32 = 100;
    /// The kernel refuses the rules.
    pub const CAPTURE: u32 = 101;
}

/// Why a call failed; the container runtime shows it in the pod's events.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    code: u32,
    message: String,
}

impl Failure {
    fn new(code: u32, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// A file or a stream.
    pub fn io(what: &str, error: impl Display) -> Failure {
        Failure::new(code::IO, format!("{what}: {error}"))
    }

    /// The environment of the call.
    pub fn environment(message: impl Into<String>) -> Failure {
        Failure::new(code::INVALID_ENVIRONMENT, message)
    }

    /// The API does not answer; the runtime tries again.
    pub fn again(message: impl Into<String>) -> Failure {
        Failure::new(code::TRY_AGAIN, message)
    }

    /// The pod.
    pub fn pod(message: impl Into<String>) -> Failure {
        Failure::new(code::POD, message)
    }

    /// The rules.
    pub fn capture(message: impl Into<String>) -> Failure {
        Failure::new(code::CAPTURE, format!("cannot capture the pod's traffic: {}", message.into()))
    }

    fn config(message: impl Into<String>) -> Failure {
        Failure::new(code::INVALID_CONFIG, message)
    }

    /// The answer, in the version that the configuration asks for.
    pub fn answer(&self, input: &str) -> Value {
        json!({ "cniVersion": newest(input), "code": self.code, "msg": self.message, "details": "istio-cni" })
    }
}

/// The version of a configuration, or the newest that we know.
pub fn newest(input: &str) -> String {
    let config: Value = serde_json::from_str(input).unwrap_or_default();
    let asked = config.get("cniVersion").and_then(Value::as_str).filter(|asked| VERSIONS.contains(asked));
    asked.unwrap_or(VERSIONS[VERSIONS.len() - 1]).to_owned()
}

/// The variables of a call.
#[derive(Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

/// A pod by its name.
#[derive(Debug, PartialEq, Eq)]
pub struct PodName<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    /// Empty where the runtime does not tell.
    pub uid: &'a str,
}

impl Environment {
    /// CNI's among the variables of a process.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        Environment(variables.into_iter().filter(|(name, _)| name.starts_with("CNI_")).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn command(&self) -> Result<&str, Failure> {
        self.get("CNI_COMMAND").ok_or_else(|| {
            Failure::environment(
                "CNI_COMMAND is not set: this is a CNI plugin, which a container runtime starts",
            )
        })
    }

    /// The file of the pod's network namespace.
    pub fn namespace_file(&self) -> Result<&Path, Failure> {
        self.get("CNI_NETNS").map(Path::new).ok_or_else(|| Failure::environment("CNI_NETNS is not set"))
    }

    /// The pod, if the container is one of Kubernetes.
    pub fn pod(&self) -> Result<Option<PodName<'_>>, Failure> {
        let arguments = self.get("CNI_ARGS").unwrap_or_default();
        let mut pairs = BTreeMap::new();
        for pair in arguments.split(';').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::environment(format!("CNI_ARGS: {pair:?} is no NAME=VALUE")))?;
            pairs.insert(name, value);
        }
        let get = |name: &str| pairs.get(name).copied().unwrap_or_default();
        let pod = PodName {
            namespace: get("K8S_POD_NAMESPACE"),
            name: get("K8S_POD_NAME"),
            uid: get("K8S_POD_UID"),
        };
        Ok((!pod.name.is_empty() && !pod.namespace.is_empty()).then_some(pod))
    }
}

/// The network configuration of a call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfig {
    #[serde(default)]
    cni_version: String,
    #[serde(default)]
    pub kubernetes: Kubernetes,
    prev_result: Option<Value>,
}

/// How the plugin finds the pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Kubernetes {
    /// Path of the kubeconfig on the node.
    pub kubeconfig: String,
    /// Namespaces whose pods are never looked at.
    pub exclude_namespaces: Vec<String>,
}

impl NetworkConfig {
    pub fn read(input: &str) -> Result<NetworkConfig, Failure> {
        let config: NetworkConfig = serde_json::from_str(input).map_err(|error| {
            Failure::new(code::DECODE, format!("the network configuration cannot be read: {error}"))
        })?;
        if !VERSIONS.contains(&config.cni_version.as_str()) {
            let message =
                format!("cniVersion {:?} is not one of {}", config.cni_version, VERSIONS.join(", "));
            return Err(Failure::new(code::INCOMPATIBLE_VERSION, message));
        }
        if config.kubernetes.kubeconfig.is_empty() {
            return Err(Failure::config("kubernetes.kubeconfig is not set in the network configuration"));
        }
        Ok(config)
    }

    pub fn excludes(&self, namespace: &str) -> bool {
        self.kubernetes.exclude_namespaces.iter().any(|excluded| excluded == namespace)
    }

    /// The result of the plugins before: a chained plugin hands it on as it is.
    pub fn previous_result(&self) -> Result<Value, Failure> {
        let mut result = self.prev_result.clone().ok_or_else(|| {
            Failure::config(
                "there is no prevResult: istio-cni has to be chained behind a plugin that makes the network",
            )
        })?;
        result["cniVersion"] = json!(self.cni_version);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_pod_is_read_from_the_arguments() {
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u";
        let environment = environment(&[("CNI_ARGS", arguments)]);
        let pod = PodName { namespace: "shop", name: "web-1", uid: "u" };
        assert_eq!(environment.pod().unwrap(), Some(pod));
        assert_eq!(self::environment(&[]).pod().unwrap(), None, "a container that is no pod");
        assert!(self::environment(&[("CNI_ARGS", "nonsense")]).pod().is_err());
    }

    #[test]
    fn configurations_that_cannot_be_used_have_the_code_of_the_specification() {
        let code = |input: &str| NetworkConfig::read(input).unwrap_err().code;
        assert_eq!(code("{"), code::DECODE);
        assert_eq!(code(r#"{"cniVersion":"0.2.0"}"#), code::INCOMPATIBLE_VERSION);
        assert_eq!(code(r#"{"cniVersion":"1.0.0"}"#), code::INVALID_CONFIG);
        let config = r#"{"cniVersion":"1.0.0","kubernetes":{"kubeconfig":"/k","exclude_namespaces":["a"]}}"#;
        let config = NetworkConfig::read(config).unwrap();
        assert!(config.excludes("a") && !config.excludes("b"));
        assert_eq!(config.previous_result().unwrap_err().code, code::INVALID_CONFIG);
        let failure = Failure::again("later").answer(r#"{"cniVersion":"0.4.0"}"#);
        assert_eq!((&failure["cniVersion"], &failure["code"]), (&json!("0.4.0"), &json!(11)));
    }
}
