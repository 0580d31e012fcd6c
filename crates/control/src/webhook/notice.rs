//! Telling the owner of a pod that it cannot be in the mesh, where `kubectl describe` shows it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde_json::Value;

/// The reason of the event.
const REASON: &str = "SidecarInjectionSkipped";
/// A pod is there soon after it was admitted, unless something else refused it.
const ATTEMPTS: u32 = 10;
const WAIT: Duration = Duration::from_millis(300);

/// Writes the event on the pod's controller, or on the pod once it is there. The answer to the request does not wait.
pub(super) fn spawn(client: Client, namespace: &str, pod: &Value, reason: String) {
    let (controller, name) = (controller(namespace, pod), text(pod, "/metadata/name").to_owned());
    let namespace = namespace.to_owned();
    tokio::spawn(async move {
        let about = match controller {
            Some(controller) => Some(controller),
            None => created(&client, &namespace, &name).await,
        };
        let Some(about) = about else { return };
        let reporter = Reporter { controller: "istiod".into(), instance: None };
        let event = Event {
            type_: EventType::Warning,
            reason: REASON.into(),
            note: Some(format!("no sidecar was injected: {reason}")),
            action: "Inject".into(),
            secondary: None,
        };
        if let Err(error) = Recorder::new(client, reporter).publish(&event, &about).await {
            tracing::warn!(namespace, pod = name, %error, "cannot write the event of a skipped injection");
        }
    });
}

/// The controller that makes the pod; while the pod is admitted it has no identity of its own yet.
fn controller(namespace: &str, pod: &Value) -> Option<ObjectReference> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let field = |name: &str| owner.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(ObjectReference {
        api_version: field("apiVersion"),
        kind: field("kind"),
        name: field("name"),
        uid: field("uid"),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    })
}

async fn created(client: &Client, namespace: &str, name: &str) -> Option<ObjectReference> {
    if name.is_empty() {
        return None;
    }
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for _ in 0..ATTEMPTS {
        tokio::time::sleep(WAIT).await;
        if let Ok(Some(pod)) = api.get_opt(name).await {
            return Some(pod.object_ref(&()));
        }
    }
    None
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_event_is_about_the_controller_of_the_pod() {
        let owner = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true });
        let pod = json!({ "metadata": { "generateName": "d-", "ownerReferences": [owner] } });
        let about = controller("ns", &pod).unwrap();
        assert_eq!((about.kind.as_deref(), about.uid.as_deref()), (Some("DaemonSet"), Some("u")));
        assert_eq!(about.namespace.as_deref(), Some("ns"));
        assert_eq!(controller("ns", &json!({ "metadata": { "name": "bare" } })), None);
    }
}
