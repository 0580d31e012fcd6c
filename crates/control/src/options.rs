use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use lateen_inject::InjectConfig;

use crate::ca::CaOptions;

/// The control plane's ports; 0 takes any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// ADS in plaintext.
    pub xds: u16,
    /// ADS and the certificate authority over TLS.
    pub secure: u16,
    /// Admission webhooks over HTTPS.
    pub webhooks: u16,
    /// Readiness and debug pages.
    pub http: u16,
    /// Metrics and debug pages.
    pub monitoring: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Ports { xds: 15010, secure: 15012, webhooks: 15017, http: 8080, monitoring: 15014 }
    }
}

/// Where the Kubernetes API is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KubeAccess {
    /// `KUBECONFIG`, the user's kubeconfig, or the pod's service account, in this order.
    #[default]
    Infer,
    /// A kubeconfig file.
    File(PathBuf),
}

/// What the control plane is told when it starts.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// The address that every port is bound on; `::` is every one, of IPv4 as well.
    pub address: IpAddr,
    /// The ports.
    pub ports: Ports,
    /// Where the Kubernetes API is found.
    pub kube: KubeAccess,
    /// The pod's name, which tells several control planes apart.
    pub pod: String,
    /// The control plane's own namespace.
    pub namespace: String,
    /// The control plane's Service: `istiod`, or `istiod-<revision>`.
    pub service: String,
    /// The ConfigMap with MeshConfig in that namespace.
    pub mesh_config_map: String,
    /// The ConfigMap with the values that injection reads.
    pub injection_config_map: String,
    /// The DNS domain of services.
    pub domain: String,
    /// How pods are injected.
    pub inject: InjectConfig,
    /// How the certificate authority works.
    pub ca: CaOptions,
    /// Whether an xDS client of the secure port must be the workload that its node describes
    /// (`ENABLE_XDS_IDENTITY_CHECK`).
    pub check_identity: bool,
    /// Whether the status of resources is written (`PILOT_ENABLE_STATUS`).
    pub write_status: bool,
    /// Whether callers from elsewhere must prove who they are to see debug pages (`ENABLE_DEBUG_ENDPOINT_AUTH`).
    pub protect_debug: bool,
}

impl Default for ControlOptions {
    fn default() -> Self {
        ControlOptions {
            address: Ipv6Addr::UNSPECIFIED.into(),
            ports: Ports::default(),
            kube: KubeAccess::Infer,
            pod: "istiod".into(),
            namespace: "istio-system".into(),
            service: "istiod".into(),
            mesh_config_map: "istio".into(),
            injection_config_map: "istio-sidecar-injector".into(),
            domain: "cluster.local".into(),
            inject: InjectConfig::default(),
            ca: CaOptions::default(),
            check_identity: true,
            write_status: true,
            protect_debug: true,
        }
    }
}

/// An environment variable that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name}={value:?}: {reason}")]
pub struct EnvironmentError {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) reason: &'static str,
}

impl ControlOptions {
    /// The defaults, overlaid by the pod's environment: `POD_NAME`, `POD_NAMESPACE`, `REVISION` (from which the names of
    /// the Service and the ConfigMaps follow), `MESH_CONFIG_MAP`, `INJECTION_CONFIG_MAP`, `CLUSTER_ID`, `DOMAIN_SUFFIX`,
    /// those of the certificate authority (see `CaOptions`), and what the one-machine mode sets: `LATEEN_SOCKET_MARK`
    /// (see `InjectConfig::socket_mark`), `LATEEN_PROXY_BINARY`, `LATEEN_IMAGE`. Empty variables count as absent.
    ///
    /// # Errors
    /// When a variable has a value that cannot be used.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut options = ControlOptions::default();
        options.take_names(&variable);
        if let Some(domain) = variable("DOMAIN_SUFFIX") {
            options.inject.cluster_domain.clone_from(&domain);
            options.domain = domain;
        }
        options.ca = CaOptions::from_environment(&options.namespace, variable)?;
        options.check_identity = variable("ENABLE_XDS_IDENTITY_CHECK").is_none_or(|value| value != "false");
        options.write_status = variable("PILOT_ENABLE_STATUS").is_none_or(|value| value != "false");
        options.protect_debug = variable("ENABLE_DEBUG_ENDPOINT_AUTH").is_none_or(|value| value != "false");
        let inject = &mut options.inject;
        inject.cluster_id = variable("CLUSTER_ID").unwrap_or_else(|| inject.cluster_id.clone());
        inject.image = variable("LATEEN_IMAGE").unwrap_or_else(|| inject.image.clone());
        inject.proxy_binary = variable("LATEEN_PROXY_BINARY");
        if let Some(value) = variable("LATEEN_SOCKET_MARK") {
            let mark = value.parse().map_err(|_| EnvironmentError {
                name: "LATEEN_SOCKET_MARK",
                value,
                reason: "must be a number from 0 to 4294967295",
            })?;
            inject.socket_mark = Some(mark);
        }
        Ok(options)
    }

    /// What follows from the pod's name, its namespace and its revision.
    fn take_names(&mut self, variable: &impl Fn(&str) -> Option<String>) {
        if let Some(revision) = variable("REVISION") {
            if revision != "default" {
                self.service = format!("istiod-{revision}");
                self.mesh_config_map = format!("istio-{revision}");
                self.injection_config_map = format!("istio-sidecar-injector-{revision}");
            }
            self.inject.revision = revision;
        }
        for (name, place) in [
            ("MESH_CONFIG_MAP", &mut self.mesh_config_map),
            ("INJECTION_CONFIG_MAP", &mut self.injection_config_map),
            ("POD_NAME", &mut self.pod),
        ] {
            *place = variable(name).unwrap_or_else(|| std::mem::take(place));
        }
        if let Some(namespace) = variable("POD_NAMESPACE") {
            self.inject.root_namespace.clone_from(&namespace);
            self.namespace = namespace;
        }
        let address = format!("{}.{}.svc:15012", self.service, self.namespace);
        self.inject.discovery_address.clone_from(&address);
        self.inject.ca_address = address;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<ControlOptions, EnvironmentError> {
        ControlOptions::from_environment(|name| {
            pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_overlays_the_defaults() {
        let options =
            from(&[("POD_NAMESPACE", "mesh"), ("LATEEN_SOCKET_MARK", "1337"), ("REVISION", "")]).unwrap();
        assert_eq!((options.namespace.as_str(), options.inject.socket_mark), ("mesh", Some(1337)));
        assert_eq!(options.inject.discovery_address, "istiod.mesh.svc:15012");
        assert_eq!(options.inject.revision, "default");
    }

    #[test]
    fn a_revision_has_a_service_and_config_maps_of_its_own() {
        let options = from(&[("POD_NAMESPACE", "mesh"), ("REVISION", "canary")]).unwrap();
        assert_eq!((&*options.service, &*options.mesh_config_map), ("istiod-canary", "istio-canary"));
        assert_eq!(options.injection_config_map, "istio-sidecar-injector-canary");
        assert_eq!(options.inject.discovery_address, "istiod-canary.mesh.svc:15012");
        let options = from(&[("REVISION", "default"), ("MESH_CONFIG_MAP", "mine")]).unwrap();
        assert_eq!((&*options.service, &*options.mesh_config_map), ("istiod", "mine"));
    }

    #[test]
    fn a_mark_that_is_no_number_is_refused_by_name() {
        let error = from(&[("LATEEN_SOCKET_MARK", "x")]).unwrap_err();
        assert!(error.to_string().starts_with("environment variable LATEEN_SOCKET_MARK=\"x\""));
    }
}
