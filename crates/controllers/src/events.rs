//! Events: what a controller did to an object, for `kubectl describe` and `kubectl get events`.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;

/// Events that wait to be written; more are dropped, for they must never hold up a controller.
const BACKLOG: usize = 256;
/// Past events that are remembered so that a repetition is counted and not written anew.
const REMEMBERED: usize = 512;

/// Whether an event tells of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

struct Note {
    component: &'static str,
    about: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
}

/// Writes events in the background.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Note>,
}

impl Recorder {
    /// The recorder, and the task that writes for it.
    pub(crate) fn new(client: Client) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self { sender }, write(client, receiver))
    }

    pub(crate) fn note<K: Resource<DynamicType = ()>>(
        &self,
        component: &'static str,
        about: &K,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        let note = Note { component, about: about.object_ref(&()), severity, reason, message };
        if self.sender.try_send(note).is_err() {
            tracing::debug!(reason, "event dropped: too many are waiting");
        }
    }
}

async fn write(client: Client, mut notes: mpsc::Receiver<Note>) {
    let mut known: HashMap<(String, &'static str, String), (String, i32)> = HashMap::new();
    while let Some(note) = notes.recv().await {
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let identity = (note.about.uid.clone().unwrap_or_default(), note.reason, note.message.clone());
        if let Some((name, count)) = known.get_mut(&identity) {
            *count = count.saturating_add(1);
            let patch = json!({ "count": *count, "lastTimestamp": Time(Timestamp::now()) });
            match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => continue,
                Err(error) => tracing::debug!(%error, "event could not be counted; writing it anew"),
            }
        }
        match api.create(&PostParams::default(), &event(&namespace, note)).await {
            Ok(created) => {
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(identity, (created.name_any(), 1));
            }
            Err(error) => tracing::debug!(%error, "event could not be written"),
        }
    }
}

fn event(namespace: &str, note: Note) -> Event {
    let now = Timestamp::now();
    // Kubernetes' own naming: the object's name and a time in hexadecimal.
    let name = format!("{}.{:x}", note.about.name.as_deref().unwrap_or("object"), now.as_nanosecond());
    let severity = match note.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: note.about,
        type_: Some(severity.to_owned()),
        reason: Some(note.reason.to_owned()),
        message: Some(note.message),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(note.component.to_owned()), host: None }),
        reporting_component: Some(note.component.to_owned()),
        ..Event::default()
    }
}
