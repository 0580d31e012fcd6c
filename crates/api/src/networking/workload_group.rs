//! WorkloadGroup: what workloads that are no pods have in common.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::workload_entry::WorkloadEntrySpec;
use super::{CATEGORIES, GROUP, VERSIONS};
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::message::{message, oneof};
use crate::wire::report::Report;

/// What workloads that are no pods have in common.
pub type WorkloadGroup = Object<WorkloadGroupSpec>;

message! {
    /// From what WorkloadEntries are made when such workloads join the mesh.
    pub struct WorkloadGroupSpec {
        /// Metadata of the entries.
        metadata: Option<GroupMetadata>,
        /// The spec of the entries.
        template: Option<WorkloadEntrySpec>,
        /// How the workload's readiness is told.
        probe: Option<ReadinessProbe>,
    }
}

impl Kind for WorkloadGroupSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "WorkloadGroup";
    const PLURAL: &'static str = "workloadgroups";
    const SHORT_NAMES: &'static [&'static str] = &["wg"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, _metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::workload_group::validate(self, report);
    }
}

message! {
    /// Metadata of WorkloadEntries.
    pub struct GroupMetadata {
        /// Labels.
        labels: BTreeMap<String, String>,
        /// Annotations.
        annotations: BTreeMap<String, String>,
    }
}

message! {
    /// How a workload's readiness is told, as for pods.
    pub struct ReadinessProbe {
        /// Seconds before the first probe.
        initial_delay_seconds: i32,
        /// Seconds after which a probe has failed; 1 by default.
        timeout_seconds: i32,
        /// Seconds between probes; 10 by default.
        period_seconds: i32,
        /// How many probes must succeed; 1 by default.
        success_threshold: i32,
        /// How many probes must fail; 3 by default.
        failure_threshold: i32,
    }
    oneof {
        /// What is done.
        health_check_method: HealthCheckMethod,
    }
}

oneof! {
    /// What a probe does.
    pub enum HealthCheckMethod {
        /// An HTTP request.
        http_get: HttpGet(HttpHealthCheck),
        /// A TCP connection.
        tcp_socket: TcpSocket(TcpHealthCheck),
        /// A command.
        exec: Exec(ExecHealthCheck),
        /// A gRPC health check.
        grpc: Grpc(GrpcHealthCheck),
    }
}

message! {
    /// A probe by HTTP.
    pub struct HttpHealthCheck {
        /// The path.
        path: String,
        /// The port.
        port: u32,
        /// The host; localhost by default.
        host: String,
        /// HTTP or HTTPS.
        scheme: String,
        /// Headers to send.
        http_headers: Vec<HttpHeader>,
    }
}

message! {
    /// A header.
    pub struct HttpHeader {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    }
}

message! {
    /// A probe by TCP.
    pub struct TcpHealthCheck {
        /// The host; localhost by default.
        host: String,
        /// The port.
        port: u32,
    }
}

message! {
    /// A probe by a command.
    pub struct ExecHealthCheck {
        /// The command and its arguments; no shell is involved.
        command: Vec<String>,
    }
}

message! {
    /// A probe by gRPC's health checking protocol.
    pub struct GrpcHealthCheck {
        /// The port.
        port: u32,
        /// The service.
        service: String,
    }
}
