//! What all controllers share: the client, the stores, the queues and the way to write.

use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::Resource;
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::events::Recorder;
use crate::queue::Queue;
use crate::store::Store;

/// The owner of the fields that controllers write.
const MANAGER: &str = "kube-controller-manager";

fn writes() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// Everything that the controllers know.
#[derive(Default)]
pub(crate) struct Stores {
    pub(crate) pods: Arc<Store<Pod>>,
    pub(crate) nodes: Arc<Store<Node>>,
    pub(crate) services: Arc<Store<Service>>,
    pub(crate) endpoints: Arc<Store<Endpoints>>,
    pub(crate) slices: Arc<Store<EndpointSlice>>,
    pub(crate) deployments: Arc<Store<Deployment>>,
    pub(crate) replica_sets: Arc<Store<ReplicaSet>>,
    pub(crate) stateful_sets: Arc<Store<StatefulSet>>,
    pub(crate) daemon_sets: Arc<Store<DaemonSet>>,
    pub(crate) revisions: Arc<Store<ControllerRevision>>,
    pub(crate) jobs: Arc<Store<Job>>,
    pub(crate) cron_jobs: Arc<Store<CronJob>>,
    pub(crate) autoscalers: Arc<Store<HorizontalPodAutoscaler>>,
    pub(crate) budgets: Arc<Store<PodDisruptionBudget>>,
}

/// What is to be looked at, by controller.
#[derive(Default)]
pub(crate) struct Queues {
    pub(crate) endpoints: Queue,
    pub(crate) mirrors: Queue,
    pub(crate) deployments: Queue,
    pub(crate) replica_sets: Queue,
    pub(crate) stateful_sets: Queue,
    pub(crate) daemon_sets: Queue,
    pub(crate) jobs: Queue,
    pub(crate) cron_jobs: Queue,
    pub(crate) autoscalers: Queue,
    pub(crate) budgets: Queue,
}

pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) stores: Stores,
    pub(crate) queues: Queues,
}

/// A namespaced kind that controllers write.
pub(crate) trait Written:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Written for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

impl Context {
    fn api<K: Written>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates an object; the store has it before this returns, as after every other write.
    pub(crate) async fn create<K: Written>(&self, store: &Store<K>, object: &K) -> kube::Result<K> {
        let namespace = object.namespace().unwrap_or_default();
        let created = self.api::<K>(&namespace).create(&writes(), object).await?;
        store.apply(created.clone());
        Ok(created)
    }

    /// Replaces an object; a conflict is an error, after which the newer version is looked at.
    pub(crate) async fn replace<K: Written>(&self, store: &Store<K>, object: &K) -> kube::Result<K> {
        let namespace = object.namespace().unwrap_or_default();
        let replaced = self.api::<K>(&namespace).replace(&object.name_any(), &writes(), object).await?;
        store.apply(replaced.clone());
        Ok(replaced)
    }

    /// Replaces an object's status.
    pub(crate) async fn replace_status<K: Written>(&self, store: &Store<K>, object: &K) -> kube::Result<()> {
        let api = self.api::<K>(&object.namespace().unwrap_or_default());
        store.apply(api.replace_status(&object.name_any(), &writes(), object).await?);
        Ok(())
    }

    /// Applies a JSON merge patch.
    pub(crate) async fn merge<K: Written>(
        &self,
        store: &Store<K>,
        object: &K,
        patch: Value,
    ) -> kube::Result<()> {
        let api = self.api::<K>(&object.namespace().unwrap_or_default());
        store.apply(
            api.patch(
                &object.name_any(),
                &PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() },
                &Patch::Merge(patch),
            )
            .await?,
        );
        Ok(())
    }

    /// Whether the owner is still there and is to stay, as the API has it now: the store may not yet know of its
    /// deletion, and what is adopted by an owner that goes would go with it.
    pub(crate) async fn may_adopt<K: Written>(&self, owner: &K) -> kube::Result<bool> {
        let api = self.api::<K>(&owner.namespace().unwrap_or_default());
        let fresh = api.get_opt(&owner.name_any()).await?;
        Ok(fresh.is_some_and(|fresh| fresh.uid() == owner.uid() && fresh.meta().deletion_timestamp.is_none()))
    }

    /// Deletes exactly this object, not a successor of its name; that it is gone already is no error.
    pub(crate) async fn delete<K: Written>(&self, store: &Store<K>, object: &K) -> kube::Result<()> {
        let api = self.api::<K>(&object.namespace().unwrap_or_default());
        let exactly = Preconditions { uid: object.uid(), resource_version: None };
        let params = DeleteParams {
            preconditions: Some(exactly),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        match api.delete(&object.name_any(), &params).await {
            Ok(answer) => {
                // Of an object that is gone there may be but a status. The watch alone takes it out of the store: it
                // tells those who wait for that.
                let mut ending = answer.left().unwrap_or_else(|| object.clone());
                ending.meta_mut().deletion_timestamp.get_or_insert_with(|| Time(Timestamp::now()));
                store.ending(ending);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }
}
