//! Events, as kubelets and schedulers report them.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

use super::{NODE_NAME, schedule};
use crate::pod::Severity;

/// Events that wait to be written; more are dropped.
const QUEUE: usize = 4096;
/// Events that are remembered, so that the same one again is counted, not written anew.
const REMEMBERED: usize = 2048;
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Writes events in the background.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<Event>,
}

impl Events {
    /// Starts the writer.
    pub fn start(client: Client) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(client, receiver));
        Self { queue }
    }

    /// Reports about `object`; `field` names a part of it; `component` is who reports.
    pub fn report<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        field: Option<String>,
        component: &str,
        severity: Severity,
        reason: &str,
        message: String,
    ) {
        let reference = ObjectReference { field_path: field, ..object.object_ref(&()) };
        let now = Timestamp::now();
        // Schedulers write events of the newer form, which name no source.
        let newer = component == schedule::COMPONENT;
        let time = (!newer).then_some(Time(now));
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!(
                    "{}.{:x}",
                    reference.name.as_deref().unwrap_or("node"),
                    rand::random::<u64>()
                )),
                namespace: Some(reference.namespace.clone().unwrap_or_else(|| "default".into())),
                ..Default::default()
            },
            involved_object: reference,
            reason: Some(reason.to_owned()),
            message: Some(message),
            source: (!newer).then(|| EventSource {
                component: Some(component.to_owned()),
                host: Some(NODE_NAME.to_owned()),
            }),
            event_time: newer.then_some(MicroTime(now)),
            action: newer
                .then(|| if severity == Severity::Normal { "Binding" } else { "Scheduling" }.to_owned()),
            reporting_component: Some(component.to_owned()),
            reporting_instance: Some(NODE_NAME.to_owned()),
            first_timestamp: time.clone(),
            last_timestamp: time,
            count: (!newer).then_some(1),
            type_: Some(if severity == Severity::Normal { "Normal" } else { "Warning" }.to_owned()),
            ..Default::default()
        };
        if self.queue.try_send(event).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting");
        }
    }
}

type Identity = (Option<String>, Option<String>, Option<String>, Option<String>);

struct Known {
    name: String,
    count: i32,
    last: Timestamp,
}

async fn write_all(client: Client, mut queue: mpsc::Receiver<Event>) {
    let mut known: HashMap<Identity, Known> = HashMap::new();
    while let Some(event) = queue.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let object = &event.involved_object;
        let identity =
            (object.uid.clone(), object.field_path.clone(), event.reason.clone(), event.message.clone());
        if known.len() >= REMEMBERED {
            let now = Timestamp::now();
            known.retain(|_, k| now.duration_since(k.last).unsigned_abs() < FORGET_AFTER);
            if known.len() >= REMEMBERED {
                known.clear();
            }
        }
        let outcome = match known.get_mut(&identity) {
            Some(before) => {
                before.count += 1;
                before.last = Timestamp::now();
                let patch = serde_json::json!({"count": before.count, "lastTimestamp": Time(before.last)});
                api.patch(&before.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
            }
            None => {
                let name = event.metadata.name.clone().unwrap_or_default();
                known.insert(identity, Known { name, count: 1, last: Timestamp::now() });
                api.create(&PostParams::default(), &event).await.map(drop)
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, reason = event.reason, "event not written");
        }
    }
}
