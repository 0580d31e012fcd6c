//! DestinationRule: what applies to traffic once its destination is known.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::traffic_policy::TrafficPolicy;
use super::{CATEGORIES, GROUP, VERSIONS};
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::message::message;
use crate::wire::report::Report;

/// What applies to traffic once its destination is known.
pub type DestinationRule = Object<DestinationRuleSpec>;

message! {
    /// Configuration affecting load balancing, connection pools, outlier detection and TLS.
    pub struct DestinationRuleSpec {
        /// The service's name in the registry; short names are of the rule's namespace.
        host: String,
        /// What applies to all subsets and ports.
        traffic_policy: Option<TrafficPolicy>,
        /// Named versions of the service.
        subsets: Vec<Subset>,
        /// The namespaces that see this rule: `*` (the default) all, `.` only its own.
        export_to: Vec<String>,
        /// The client workloads to which the rule applies; all by default.
        workload_selector: Option<LabelSelector>,
    }
}

impl Kind for DestinationRuleSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "DestinationRule";
    const PLURAL: &'static str = "destinationrules";
    const SHORT_NAMES: &'static [&'static str] = &["dr"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[
        Column {
            name: "Host",
            kind: "string",
            path: ".spec.host",
            description: "The name of a service from the service registry.",
        },
        AGE,
    ];
    type Scope = NamespaceResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::destination_rule::validate(self, metadata, report);
    }
}

message! {
    /// A named version of a service.
    pub struct Subset {
        /// Its name, by which routes choose it.
        name: String,
        /// The labels of its endpoints.
        labels: BTreeMap<String, String>,
        /// What applies to it, field by field instead of the rule's policy.
        traffic_policy: Option<TrafficPolicy>,
    }
}

message! {
    /// Selects workloads by labels (`istio.type.v1beta1.WorkloadSelector`).
    pub struct LabelSelector {
        /// The labels, all of which must be there.
        match_labels: BTreeMap<String, String>,
    }
}
