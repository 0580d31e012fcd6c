//! PeerAuthentication: how workloads are spoken to, with mutual TLS or without.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::{CATEGORIES, GROUP, VERSIONS};
use crate::networking::destination_rule::LabelSelector;
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::message::{enumeration, message};
use crate::wire::report::Report;

/// How workloads are spoken to, with mutual TLS or without.
pub type PeerAuthentication = Object<PeerAuthenticationSpec>;

message! {
    /// Whether traffic to workloads must use mutual TLS.
    pub struct PeerAuthenticationSpec {
        /// The workloads to which it applies; all of the namespace by default.
        selector: Option<LabelSelector>,
        /// For all ports.
        mtls: Option<MutualTls>,
        /// For single ports, by the workload's port number.
        port_level_mtls: BTreeMap<String, MutualTls>,
    }
}

impl Kind for PeerAuthenticationSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "PeerAuthentication";
    const PLURAL: &'static str = "peerauthentications";
    const SHORT_NAMES: &'static [&'static str] = &["pa"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[
        Column {
            name: "Mode",
            kind: "string",
            path: ".spec.mtls.mode",
            description: "Defines the mTLS mode used for peer authentication.",
        },
        AGE,
    ];
    type Scope = NamespaceResourceScope;

    fn validate(&self, _metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::authentication::peer(self, report);
    }
}

message! {
    /// Settings of mutual TLS.
    pub struct MutualTls {
        /// Whether it is used.
        mode: MutualTlsMode,
    }
}

enumeration! {
    /// Whether mutual TLS is used.
    pub enum MutualTlsMode {
        /// As the parent (namespace, mesh) has it; PERMISSIVE where that says nothing.
        Unset = 0 "UNSET",
        /// Plain connections.
        Disable = 1 "DISABLE",
        /// Either.
        Permissive = 2 "PERMISSIVE",
        /// Mutual TLS only.
        Strict = 3 "STRICT",
    }
}
