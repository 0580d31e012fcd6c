//! Merge rules of the built-in types' lists: the `patchMergeKey`, `patchStrategy`, `listType` and `listMapKey`
//! markers of Kubernetes' API types, which `k8s-openapi` leaves out.

use super::{ListType, PatchStrategy};

/// Type, field, strategic-merge key (`=` for a set of scalars, empty for none), server-side-apply keys (likewise).
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

const SET: &[&str] = &["="];

const ROWS: &[Row] = &[
    ("ObjectMeta", "finalizers", "=", SET),
    ("ObjectMeta", "ownerReferences", "uid", &["uid"]),
    ("PodSpec", "containers", "name", &["name"]),
    ("PodSpec", "initContainers", "name", &["name"]),
    ("PodSpec", "ephemeralContainers", "name", &["name"]),
    ("PodSpec", "volumes", "name", &["name"]),
    ("PodSpec", "imagePullSecrets", "name", &["name"]),
    ("PodSpec", "hostAliases", "ip", &["ip"]),
    ("PodSpec", "topologySpreadConstraints", "topologyKey", &["topologyKey", "whenUnsatisfiable"]),
    ("PodSpec", "schedulingGates", "name", &["name"]),
    ("PodSpec", "resourceClaims", "name", &["name"]),
    ("PodStatus", "conditions", "type", &["type"]),
    ("PodStatus", "podIPs", "ip", &["ip"]),
    ("PodStatus", "hostIPs", "ip", &[]),
    ("PodStatus", "resourceClaimStatuses", "name", &["name"]),
    ("Container", "ports", "containerPort", &["containerPort", "protocol"]),
    ("Container", "env", "name", &["name"]),
    ("Container", "volumeMounts", "mountPath", &["mountPath"]),
    ("Container", "volumeDevices", "devicePath", &["devicePath"]),
    ("EphemeralContainer", "ports", "containerPort", &["containerPort", "protocol"]),
    ("EphemeralContainer", "env", "name", &["name"]),
    ("EphemeralContainer", "volumeMounts", "mountPath", &["mountPath"]),
    ("EphemeralContainer", "volumeDevices", "devicePath", &["devicePath"]),
    ("ResourceRequirements", "claims", "", &["name"]),
    ("ServiceSpec", "ports", "port", &["port", "protocol"]),
    ("ServiceStatus", "conditions", "type", &["type"]),
    ("ServiceAccount", "secrets", "name", &["name"]),
    ("NodeSpec", "podCIDRs", "=", SET),
    ("NodeStatus", "addresses", "type", &["type"]),
    ("NodeStatus", "conditions", "type", &["type"]),
    ("NamespaceStatus", "conditions", "type", &["type"]),
    ("PersistentVolumeClaimStatus", "conditions", "type", &["type"]),
    ("PersistentVolumeClaimSpec", "accessModes", "", &[]),
    ("ReplicationControllerStatus", "conditions", "type", &["type"]),
    ("ReplicaSetStatus", "conditions", "type", &["type"]),
    ("DeploymentStatus", "conditions", "type", &["type"]),
    ("StatefulSetStatus", "conditions", "type", &["type"]),
    ("DaemonSetStatus", "conditions", "type", &["type"]),
    ("JobStatus", "conditions", "type", &[]),
    ("HorizontalPodAutoscalerStatus", "conditions", "type", &["type"]),
    ("PodDisruptionBudgetStatus", "conditions", "type", &["type"]),
    ("NetworkPolicyStatus", "conditions", "type", &["type"]),
    ("EndpointSlice", "ports", "", &[]),
    ("CSINodeSpec", "drivers", "name", &["name"]),
    ("MutatingWebhookConfiguration", "webhooks", "name", &["name"]),
    ("ValidatingWebhookConfiguration", "webhooks", "name", &["name"]),
    ("MutatingWebhook", "matchConditions", "name", &["name"]),
    ("ValidatingWebhook", "matchConditions", "name", &["name"]),
    ("CertificateSigningRequestStatus", "conditions", "", &["type"]),
    ("CustomResourceDefinitionStatus", "conditions", "", &["type"]),
    ("APIServiceStatus", "conditions", "type", &["type"]),
];

/// Objects and maps that server-side apply owns as a whole (`structType` and `mapType` atomic).
const ATOMIC: &[(&str, &str)] = &[
    ("ServiceSpec", "selector"),
    ("ReplicationControllerSpec", "selector"),
    ("PodSpec", "nodeSelector"),
    ("EnvVarSource", "fieldRef"),
    ("EnvVarSource", "secretKeyRef"),
    ("EnvVarSource", "configMapKeyRef"),
    ("EnvVarSource", "resourceFieldRef"),
    ("NodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"),
    ("DownwardAPIVolumeFile", "fieldRef"),
    ("ObjectMeta", "managedFields"),
];

/// How a field's list merges, by Go type and field.
pub fn rules(owner: &str, field: &str) -> (PatchStrategy, ListType) {
    let Some((.., patch, keys)) = ROWS.iter().find(|(o, f, ..)| *o == owner && *f == field) else {
        // Every LabelSelector-like list and all others are atomic.
        return (PatchStrategy::Default, ListType::Atomic);
    };
    let patch = match *patch {
        "" => PatchStrategy::Default,
        "=" => PatchStrategy::MergeSet,
        key => PatchStrategy::MergeKey(key),
    };
    let list = match *keys {
        [] => ListType::Atomic,
        ["="] => ListType::Set,
        keys => ListType::Map(keys.iter().map(|k| (*k).into()).collect()),
    };
    (patch, list)
}

/// Whether server-side apply owns a field as a whole.
pub fn atomic(owner: &str, field: &str, type_name: &str) -> bool {
    ATOMIC.contains(&(owner, field))
        || matches!(type_name, "LabelSelector" | "NodeSelector" | "NodeSelectorTerm")
        || type_name.ends_with("ObjectReference") && type_name != "CrossVersionObjectReference"
}
