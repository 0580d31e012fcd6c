//! Which workload a pod belongs to: its telemetry and canonical service carry that name.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::annotations;

/// The controller that a user deployed, as Istio names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) api_version: String,
    /// Plural of the kind, as in API paths.
    pub(crate) plural: String,
}

impl Workload {
    pub(crate) fn new(name: &str, api_version: &str, kind: &str) -> Self {
        // Old groups of the same kinds: a Deployment of extensions/v1beta1 is served as apps/v1, and so its pods say.
        let api_version = match (api_version, kind) {
            ("extensions/v1beta1" | "apps/v1beta1" | "apps/v1beta2", _) => "apps/v1",
            ("batch/v1beta1" | "batch/v2alpha1", _) => "batch/v1",
            (other, _) => other,
        };
        Self { name: name.to_owned(), api_version: api_version.to_owned(), plural: plural(kind) }
    }

    /// Finds the workload of a pod that a controller made, or the pod itself.
    pub(crate) fn of_pod(pod: &Pod) -> Self {
        let owner =
            pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller.unwrap_or(false));
        let Some(owner) = owner else {
            return Self::new(pod_name(&pod.metadata), "v1", "Pod");
        };
        if owner.kind == "ReplicaSet"
            && let Some(hash) = annotations::label(pod, "pod-template-hash")
            && let Some(name) = owner.name.strip_suffix(hash).and_then(|name| name.strip_suffix('-'))
        {
            return Self::new(name, "apps/v1", "Deployment");
        }
        if owner.kind == "Job"
            && let Some((name, minutes)) = owner.name.rsplit_once('-')
            && minutes.len() >= 8
            && minutes.bytes().all(|b| b.is_ascii_digit())
        {
            // The CronJob controller names its jobs by the scheduled time in minutes.
            return Self::new(name, "batch/v1", "CronJob");
        }
        Self::new(&owner.name, &owner.api_version, &owner.kind)
    }

    /// The value of `ISTIO_META_OWNER`.
    pub(crate) fn owner(&self, namespace: &str) -> String {
        format!("kubernetes://apis/{}/namespaces/{namespace}/{}/{}", self.api_version, self.plural, self.name)
    }
}

fn pod_name(metadata: &ObjectMeta) -> &str {
    match metadata.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => metadata.generate_name.as_deref().unwrap_or_default().trim_end_matches('-'),
    }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_ascii_lowercase())
}
