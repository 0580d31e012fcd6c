//! The table of built-in resources: one row each.

use std::sync::{Arc, OnceLock};

use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use parking_lot::Mutex;
use serde::Deserialize;

use super::convert::ALIASES;
use super::{Behaviour, Resource, Scale, Source, Subresource, Version};
use crate::kinds;
use crate::schema::Node;
use crate::schema::trace::Tracer;

/// A row of the table.
#[derive(Clone, Copy)]
pub struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    all: bool,
    namespaced: bool,
    status: bool,
    scale: bool,
    generation: bool,
    subresources: &'static [Subresource],
    /// What is special about the kind.
    pub behaviour: &'static Behaviour,
    trace: fn(&mut Tracer) -> Arc<Node>,
}

const fn row<T: k8s_openapi::Resource + for<'de> Deserialize<'de>>(behaviour: &'static Behaviour) -> Row {
    Row {
        group: T::GROUP,
        version: T::VERSION,
        kind: T::KIND,
        plural: T::URL_PATH_SEGMENT,
        short: &[],
        all: false,
        namespaced: true,
        status: false,
        scale: false,
        generation: false,
        subresources: &[],
        behaviour,
        trace: Tracer::trace::<T>,
    }
}

impl Row {
    const fn short(self, short: &'static [&'static str]) -> Self {
        Self { short, ..self }
    }
    const fn all(self) -> Self {
        Self { all: true, ..self }
    }
    const fn cluster(self) -> Self {
        Self { namespaced: false, ..self }
    }
    const fn status(self) -> Self {
        Self { status: true, ..self }
    }
    const fn scale(self) -> Self {
        Self { scale: true, ..self }
    }
    const fn generation(self) -> Self {
        Self { generation: true, ..self }
    }
    const fn with(self, subresources: &'static [Subresource]) -> Self {
        Self { subresources, ..self }
    }

    /// Whether this is the resource of that name in the store.
    pub fn is(&self, shard: &str) -> bool {
        shard.split_once('/') == Some((self.group, self.plural))
    }
}

const fn sub(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, group_version: None, kind, verbs }
}

const POD_SUBRESOURCES: &[Subresource] = &[
    sub("attach", "PodAttachOptions", &["create", "get"]),
    Subresource { name: "binding", group_version: Some(("", "v1")), kind: "Binding", verbs: &["create"] },
    sub("ephemeralcontainers", "Pod", &["get", "patch", "update"]),
    Subresource {
        name: "eviction",
        group_version: Some(("policy", "v1")),
        kind: "Eviction",
        verbs: &["create"],
    },
    sub("exec", "PodExecOptions", &["create", "get"]),
    sub("log", "Pod", &["get"]),
    sub("portforward", "PodPortForwardOptions", &["create", "get"]),
];

const TOKEN: &[Subresource] = &[Subresource {
    name: "token",
    group_version: Some(("authentication.k8s.io", "v1")),
    kind: "TokenRequest",
    verbs: &["create"],
}];

static ROWS: &[Row] = &[
    row::<api::core::v1::Namespace>(&kinds::namespace::NAMESPACE)
        .short(&["ns"])
        .cluster()
        .status()
        .with(&[sub("finalize", "Namespace", &["update"])]),
    row::<api::core::v1::Pod>(&kinds::pod::POD)
        .short(&["po"])
        .all()
        .status()
        .generation()
        .with(POD_SUBRESOURCES),
    row::<api::core::v1::Service>(&kinds::service::SERVICE).short(&["svc"]).all().status(),
    row::<api::core::v1::Endpoints>(&kinds::service::ENDPOINTS).short(&["ep"]),
    row::<api::core::v1::ConfigMap>(&kinds::config::CONFIG_MAP).short(&["cm"]),
    row::<api::core::v1::Secret>(&kinds::config::SECRET),
    row::<api::core::v1::ServiceAccount>(&kinds::config::SERVICE_ACCOUNT).short(&["sa"]).with(TOKEN),
    row::<api::core::v1::Event>(&kinds::event::EVENT).short(&["ev"]),
    row::<api::core::v1::Node>(&kinds::node::NODE).short(&["no"]).cluster().status(),
    row::<api::core::v1::PersistentVolume>(&kinds::storage::VOLUME).short(&["pv"]).cluster().status(),
    row::<api::core::v1::PersistentVolumeClaim>(&kinds::storage::CLAIM).short(&["pvc"]).status(),
    row::<api::core::v1::ReplicationController>(&kinds::workload::REPLICATION_CONTROLLER)
        .short(&["rc"])
        .all()
        .status()
        .scale()
        .generation(),
    row::<api::core::v1::PodTemplate>(&kinds::workload::POD_TEMPLATE),
    row::<api::core::v1::LimitRange>(&kinds::policy::LIMIT_RANGE).short(&["limits"]),
    row::<api::core::v1::ResourceQuota>(&kinds::policy::RESOURCE_QUOTA).short(&["quota"]).status(),
    row::<api::apps::v1::Deployment>(&kinds::workload::DEPLOYMENT)
        .short(&["deploy"])
        .all()
        .status()
        .scale()
        .generation(),
    row::<api::apps::v1::ReplicaSet>(&kinds::workload::REPLICA_SET)
        .short(&["rs"])
        .all()
        .status()
        .scale()
        .generation(),
    row::<api::apps::v1::StatefulSet>(&kinds::workload::STATEFUL_SET)
        .short(&["sts"])
        .all()
        .status()
        .scale()
        .generation(),
    row::<api::apps::v1::DaemonSet>(&kinds::workload::DAEMON_SET).short(&["ds"]).all().status().generation(),
    row::<api::apps::v1::ControllerRevision>(&kinds::workload::CONTROLLER_REVISION),
    row::<api::batch::v1::Job>(&kinds::batch::JOB).all().status().generation(),
    row::<api::batch::v1::CronJob>(&kinds::batch::CRON_JOB).short(&["cj"]).all().status().generation(),
    row::<api::coordination::v1::Lease>(&kinds::policy::LEASE),
    row::<api::discovery::v1::EndpointSlice>(&kinds::service::ENDPOINT_SLICE).generation(),
    row::<api::networking::v1::Ingress>(&kinds::network::INGRESS).short(&["ing"]).status().generation(),
    row::<api::networking::v1::IngressClass>(&kinds::network::INGRESS_CLASS).cluster().generation(),
    row::<api::networking::v1::NetworkPolicy>(&kinds::network::NETWORK_POLICY)
        .short(&["netpol"])
        .generation(),
    row::<api::autoscaling::v2::HorizontalPodAutoscaler>(&kinds::policy::AUTOSCALER)
        .short(&["hpa"])
        .all()
        .status(),
    row::<api::policy::v1::PodDisruptionBudget>(&kinds::policy::DISRUPTION_BUDGET)
        .short(&["pdb"])
        .status()
        .generation(),
    row::<api::scheduling::v1::PriorityClass>(&kinds::policy::PRIORITY_CLASS).short(&["pc"]).cluster(),
    row::<api::node::v1::RuntimeClass>(&kinds::policy::RUNTIME_CLASS).cluster(),
    row::<api::storage::v1::StorageClass>(&kinds::storage::CLASS).short(&["sc"]).cluster(),
    row::<api::rbac::v1::Role>(&kinds::rbac::ROLE),
    row::<api::rbac::v1::RoleBinding>(&kinds::rbac::ROLE_BINDING),
    row::<api::rbac::v1::ClusterRole>(&kinds::rbac::ROLE).cluster(),
    row::<api::rbac::v1::ClusterRoleBinding>(&kinds::rbac::ROLE_BINDING).cluster(),
    row::<api::admissionregistration::v1::MutatingWebhookConfiguration>(&kinds::webhook::CONFIGURATION)
        .cluster()
        .generation(),
    row::<api::admissionregistration::v1::ValidatingWebhookConfiguration>(&kinds::webhook::CONFIGURATION)
        .cluster()
        .generation(),
    row::<api::certificates::v1::CertificateSigningRequest>(&kinds::policy::SIGNING_REQUEST)
        .short(&["csr"])
        .cluster()
        .status()
        .with(&[sub("approval", "CertificateSigningRequest", &["get", "patch", "update"])]),
    row::<CustomResourceDefinition>(&kinds::definition::DEFINITION)
        .short(&["crd", "crds"])
        .cluster()
        .status()
        .generation(),
    row::<APIService>(&kinds::policy::API_SERVICE).cluster().status(),
];

/// Every row.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter()
}

static TRACER: OnceLock<Mutex<Tracer>> = OnceLock::new();

/// The schema of a built-in type; parts that types share are held once.
pub fn traced(trace: fn(&mut Tracer) -> Arc<Node>) -> Arc<Node> {
    trace(&mut TRACER.get_or_init(Default::default).lock())
}

/// The schema of `metadata`, which custom objects share with built-in ones.
pub fn object_meta() -> Option<Arc<Node>> {
    static META: OnceLock<Option<Arc<Node>>> = OnceLock::new();
    META.get_or_init(|| traced(Tracer::trace::<api::core::v1::ConfigMap>).fields.get("metadata").cloned())
        .clone()
}

/// `group/version`, or the version alone in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn scale() -> Scale {
    let path = |path: &[&str]| path.iter().map(|s| (*s).to_owned()).collect();
    Scale {
        spec: path(&["spec", "replicas"]),
        status: path(&["status", "replicas"]),
        selector: Some(path(&["spec", "selector"])),
    }
}

/// The built-in resources.
pub fn resources() -> Vec<Arc<Resource>> {
    ROWS.iter().map(|row| Arc::new(resource(row))).collect()
}

fn resource(row: &Row) -> Resource {
    let version = |group: &str, name: &str| Version {
        group: group.into(),
        name: name.into(),
        api_version: api_version(group, name).into(),
        served: true,
        status: row.status,
        scale: row.scale.then(scale),
        subresources: row.subresources,
        columns: None,
        conversion: None,
        deprecation: (row.kind == "Endpoints").then(|| {
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned()
        }),
        source: Source::Traced(row.trace),
        schema: OnceLock::new(),
    };
    let mut versions = vec![version(row.group, row.version)];
    for alias in ALIASES.iter().filter(|a| a.plural == row.plural && a.of == row.group) {
        let preferred = &versions[0].api_version;
        let old = api_version(alias.group, alias.version);
        let deprecation =
            alias.old.then(|| format!("{old} {} is deprecated; use {preferred} {}", row.kind, row.kind));
        versions.push(Version {
            conversion: Some(alias.conversion),
            deprecation,
            ..version(alias.group, alias.version)
        });
    }
    Resource {
        group: row.group.into(),
        plural: row.plural.into(),
        singular: row.kind.to_lowercase().into(),
        kind: row.kind.into(),
        list_kind: format!("{}List", row.kind).into(),
        short_names: row.short.iter().map(|s| (*s).into()).collect(),
        categories: row.all.then(|| "all".into()).into_iter().collect(),
        namespaced: row.namespaced,
        versions,
        storage: 0,
        shard: format!("{}/{}", row.group, row.plural).into(),
        behaviour: row.behaviour,
        custom: false,
        generation: row.generation,
    }
}
