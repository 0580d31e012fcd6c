//! A cluster that the mesh is installed on.

mod apply;
mod precheck;
mod remove;
mod tags;
mod wait;

use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use kube::{Api, Client};

pub use apply::Applied;
pub use precheck::{Finding, Level};
pub use remove::Removed;
pub use tags::Tag;

/// The manager of the fields that we write.
const FIELD_MANAGER: &str = "lateen";

/// Told what is done, one line a step.
pub type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

/// A cluster by its API.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// A kind of the manifests: group, version, kind, whether its objects stand in a namespace.
type Kind = (&'static str, &'static str, &'static str, bool);

/// Every kind that a manifest may hold, in the order in which they are removed.
const KINDS: [Kind; 13] = [
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", false),
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", false),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", true),
    ("policy", "v1", "PodDisruptionBudget", true),
    ("apps", "v1", "Deployment", true),
    ("apps", "v1", "DaemonSet", true),
    ("", "v1", "Service", true),
    ("", "v1", "ConfigMap", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", true),
    ("rbac.authorization.k8s.io", "v1", "Role", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", false),
    ("", "v1", "ServiceAccount", true),
];

fn resource((group, version, kind, _): &Kind) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The API's own words about a refusal, without the rest of its answer.
fn refusal(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        other => other.into(),
    }
}

impl Cluster {
    /// The cluster that a client reaches.
    pub fn new(client: Client) -> Cluster {
        Cluster { client }
    }

    /// The objects of a kind in every namespace.
    fn all(&self, kind: &Kind) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind))
    }

    /// The objects of a kind where one of them stands.
    fn beside(&self, kind: &Kind, namespace: Option<&str>) -> Api<DynamicObject> {
        match (kind.3, namespace) {
            (true, Some(namespace)) => Api::namespaced_with(self.client.clone(), namespace, &resource(kind)),
            (true, None) => Api::default_namespaced_with(self.client.clone(), &resource(kind)),
            (false, _) => self.all(kind),
        }
    }
}
