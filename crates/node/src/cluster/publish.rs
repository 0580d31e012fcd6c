//! A pod's status to the API, and its final deletion.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::pod::PodContext;

const RETRY: Duration = Duration::from_millis(200);

/// What became of a write.
enum Written {
    Yes,
    /// The pod is not there any more.
    Gone,
}

/// Writes the pod's status whenever it changes, until `ended` and the last status is written; then completes the
/// deletion if one was asked for.
pub(crate) async fn publish(
    client: Client,
    ctx: Arc<PodContext>,
    ended: tokio::task::JoinHandle<()>,
    told: CancellationToken,
) {
    // Whatever ends this: nobody has to wait for more.
    let told = told.drop_guard();
    let pod = ctx.pod();
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let mut changes = ctx.changes();
    let mut published = PodStatus::default();
    tokio::pin!(ended);
    let mut over = false;
    loop {
        changes.mark_unchanged();
        let status = ctx.status(&published);
        if status != published {
            match write(&api, &pod, &status).await {
                Written::Yes => published = status,
                Written::Gone => return,
            }
        } else if over {
            break;
        } else {
            tokio::select! {
                _ = changes.changed() => {}
                // A worker that panicked has ended, too.
                _ = &mut ended => over = true,
            }
        }
    }
    drop(told);
    wait_for_deletion(&ctx).await;
    delete(&api, &pod).await;
}

/// A pod that is complete stays until someone deletes it.
async fn wait_for_deletion(ctx: &PodContext) {
    let mut pod = ctx.pod.clone();
    // The sender goes when the pod is gone; deleting once more does no harm.
    let _ = pod.wait_for(|p| p.metadata.deletion_timestamp.is_some()).await;
}

async fn write(api: &Api<Pod>, pod: &Pod, status: &PodStatus) -> Written {
    let patch = serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
    loop {
        match api
            .patch_status(
                &pod.name_any(),
                &PatchParams { field_manager: Some("kubelet".to_owned()), ..PatchParams::default() },
                &Patch::Merge(&patch),
            )
            .await
        {
            Ok(_) => return Written::Yes,
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => return Written::Gone,
            Err(error) => {
                tracing::warn!(pod = pod.name_any(), %error, "status not written; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Removes a pod whose processes are gone from the API.
pub(crate) async fn delete(api: &Api<Pod>, pod: &Pod) {
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let parameters =
        DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default().grace_period(0) };
    loop {
        match api.delete(&pod.name_any(), &parameters).await {
            Ok(_) => return,
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => return,
            Err(error) => {
                tracing::warn!(pod = pod.name_any(), %error, "pod not deleted; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
