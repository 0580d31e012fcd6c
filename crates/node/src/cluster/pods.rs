//! The pods of this node: which should run, which do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use super::schedule::Openness;
use super::{Events, NODE_NAME, Sink, publish, schedule};
use crate::pod::{self, PodContext, PodHandle, Runtime};

/// Pods by UID, as the API asks for them.
pub(crate) struct Pods {
    runtime: Arc<Runtime>,
    client: Client,
    events: Events,
    running: Mutex<HashMap<String, Running>>,
    /// Pods that the scheduler has seen, each with the version of its specification.
    considered: Mutex<HashMap<String, (String, Pod)>>,
    /// What the node is open to.
    node: Mutex<Openness>,
}

struct Running {
    handle: PodHandle,
    /// Its end has been published.
    told: CancellationToken,
}

impl Pods {
    /// No pods yet.
    pub fn new(runtime: Arc<Runtime>, client: Client, events: Events) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            client,
            events,
            running: Mutex::default(),
            considered: Mutex::default(),
            node: Mutex::default(),
        })
    }

    /// Takes what a watch of pods brings.
    pub fn sink(self: &Arc<Self>) -> impl Sink<Pod> + use<> {
        PodSink(self.clone())
    }

    /// Takes what a watch of this node brings.
    pub fn node_sink(self: &Arc<Self>) -> impl Sink<Node> + use<> {
        NodeSink(self.clone())
    }

    /// The pod of that name that runs here.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<PodContext>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let matching = running.values().map(|r| &r.handle.ctx).filter(|ctx| {
            let pod = ctx.pod();
            pod.metadata.namespace.as_deref() == Some(namespace) && pod.metadata.name.as_deref() == Some(name)
        });
        // After a quick delete and create two have the name: the younger is meant.
        matching.max_by_key(|ctx| ctx.pod().metadata.creation_timestamp.as_ref().map(|t| t.0)).cloned()
    }

    /// Ends all pods at once, and waits until that is published.
    pub async fn shut_down(&self) {
        let told: Vec<CancellationToken> = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.values().for_each(|r| r.handle.terminate(Duration::from_secs(1)));
            running.values().map(|r| r.told.clone()).collect()
        };
        for token in told {
            token.cancelled().await;
        }
    }

    fn consider(self: &Arc<Self>, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if schedule::wants(&pod) {
            self.schedule(uid, pod);
            return;
        }
        let here = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(NODE_NAME);
        if !here {
            return;
        }
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let pod = Arc::new(pod);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = running.get(&uid) {
            known.handle.update(pod.clone());
            if deleting {
                known.handle.terminate(grace(&pod));
            }
        } else if deleting {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
            tokio::spawn(async move { publish::delete(&api, &pod).await });
        } else if !is_complete(&pod) {
            running.insert(uid.clone(), self.start(uid, pod));
        }
    }

    /// Schedules a pod once for each version of its specification.
    fn schedule(&self, uid: String, pod: Pod) {
        let version = format!("{:?}", pod.spec);
        let mut considered = self.considered.lock().unwrap_or_else(PoisonError::into_inner);
        if considered.get(&uid).is_none_or(|(known, _)| *known != version) {
            considered.insert(uid, (version, pod.clone()));
            self.try_to_bind(pod);
        }
    }

    fn try_to_bind(&self, pod: Pod) {
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(schedule::schedule(self.client.clone(), self.events.clone(), pod, node));
    }

    /// Considers the pods that wait once more when the node has changed.
    fn node_changed(&self, node: Openness) {
        let before =
            std::mem::replace(&mut *self.node.lock().unwrap_or_else(PoisonError::into_inner), node.clone());
        if before != node {
            let considered = self.considered.lock().unwrap_or_else(PoisonError::into_inner);
            considered.values().for_each(|(_, pod)| self.try_to_bind(pod.clone()));
        }
    }

    fn start(self: &Arc<Self>, uid: String, pod: Arc<Pod>) -> Running {
        self.considered.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        let (handle, task) = pod::start(self.runtime.clone(), pod);
        let told = CancellationToken::new();
        let (pods, client) = (self.clone(), self.client.clone());
        let published = publish::publish(client, handle.ctx.clone(), task, told.clone());
        let dir = handle.ctx.dir();
        tokio::spawn(async move {
            published.await;
            pods.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
            if let Err(error) = tokio::fs::remove_dir_all(&dir).await {
                tracing::debug!(dir = %dir.display(), %error, "a pod's directory stays");
            }
        });
        Running { handle, told }
    }
}

fn grace(pod: &Pod) -> Duration {
    Duration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(30).max(0).cast_unsigned())
}

fn is_complete(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

struct NodeSink(Arc<Pods>);

impl Sink<Node> for NodeSink {
    fn replace(&mut self, all: Vec<Node>) {
        all.into_iter().for_each(|node| self.upsert(node));
    }

    fn upsert(&mut self, node: Node) {
        if node.metadata.name.as_deref() == Some(NODE_NAME) {
            self.0.node_changed(Openness::of(&node));
        }
    }

    fn remove(&mut self, _: Node) {}
}

struct PodSink(Arc<Pods>);

impl Sink<Pod> for PodSink {
    fn replace(&mut self, all: Vec<Pod>) {
        let present: HashSet<String> = all.iter().filter_map(|p| p.metadata.uid.clone()).collect();
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .iter()
            .filter(|(uid, _)| !present.contains(*uid))
            .for_each(|(_, r)| r.handle.terminate(Duration::ZERO));
        drop(running);
        self.0
            .considered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|uid, _| present.contains(uid));
        all.into_iter().for_each(|pod| self.0.consider(pod));
    }

    fn upsert(&mut self, pod: Pod) {
        self.0.consider(pod);
    }

    fn remove(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        self.0.considered.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        if let Some(known) = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).get(&uid) {
            let gone = Pod {
                metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                    deletion_timestamp: pod.metadata.deletion_timestamp.clone().or_else(|| {
                        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now()))
                    }),
                    ..pod.metadata
                },
                ..pod
            };
            known.handle.update(Arc::new(gone));
            known.handle.terminate(Duration::ZERO);
        }
    }
}
