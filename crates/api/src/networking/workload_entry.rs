//! WorkloadEntry: a workload that is no pod.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::{CATEGORIES, GROUP, VERSIONS};
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::message::message;
use crate::wire::report::Report;

/// A workload that is no pod, such as a virtual machine.
pub type WorkloadEntry = Object<WorkloadEntrySpec>;

message! {
    /// The properties of one workload.
    pub struct WorkloadEntrySpec {
        /// Its address, its host name (with DNS resolution), or `unix:///path`.
        address: String,
        /// Its ports, by the names of the service's ports.
        ports: BTreeMap<String, u32>,
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// The network that it is reached in.
        network: String,
        /// Where it is: `region/zone/subzone`.
        locality: String,
        /// Its share of the traffic, relative to the other endpoints.
        weight: u32,
        /// Its service account, which must be in the same namespace.
        service_account: String,
    }
}

impl Kind for WorkloadEntrySpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "WorkloadEntry";
    const PLURAL: &'static str = "workloadentries";
    const SHORT_NAMES: &'static [&'static str] = &["we"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[
        AGE,
        Column {
            name: "Address",
            kind: "string",
            path: ".spec.address",
            description: "Address associated with the network endpoint.",
        },
    ];
    type Scope = NamespaceResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::workload_entry::validate(self, metadata, report);
    }
}
