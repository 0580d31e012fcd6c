//! ProxyConfig: settings of the proxies of a namespace.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::destination_rule::LabelSelector;
use super::{CATEGORIES, GROUP};
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::message::message;
use crate::wire::report::Report;

/// Settings of the proxies of a namespace, or of those that are selected.
pub type ProxyConfig = Object<ProxyConfigSpec>;

message! {
    /// Settings of proxies; a pod must be restarted to take them up.
    pub struct ProxyConfigSpec {
        /// The workloads to which it applies; all of the namespace by default.
        selector: Option<LabelSelector>,
        /// The number of worker threads; 0 means as many as there are cores.
        concurrency: Option<i32>,
        /// Environment variables of the proxy.
        environment_variables: BTreeMap<String, String>,
        /// The proxy's image.
        image: Option<ProxyImage>,
    }
}

impl Kind for ProxyConfigSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "ProxyConfig";
    const PLURAL: &'static str = "proxyconfigs";
    const SHORT_NAMES: &'static [&'static str] = &[];
    const VERSIONS: &'static [&'static str] = &["v1beta1"];
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, _metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::workload_group::proxy_config(self, report);
    }
}

message! {
    /// A proxy's image.
    pub struct ProxyImage {
        /// `default`, `debug` or `distroless`.
        image_type: String,
    }
}
