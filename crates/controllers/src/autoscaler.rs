//! HorizontalPodAutoscalers: there is no metrics API on one machine, and their status says so.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::context::Context;
use crate::events::Severity;
use crate::store::Key;

const COMPONENT: &str = "horizontal-pod-autoscaler";

/// Brings the status of one autoscaler up to date.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let Some(scaler) = context.stores.autoscalers.get(&key) else {
        return Ok(None);
    };
    let replicas = replicas(&context, &scaler, &key);
    if replicas.is_none() {
        let message = missing(&scaler);
        context.recorder.note(COMPONENT, &*scaler, Severity::Warning, "FailedGetScale", message);
    }
    let status = status(&scaler, replicas, Timestamp::now());
    if scaler.status.as_ref() != Some(&status) {
        let mut updated = HorizontalPodAutoscaler::clone(&scaler);
        updated.status = Some(status);
        context.replace_status(&context.stores.autoscalers, &updated).await?;
    }
    Ok(None)
}

/// The size of what the autoscaler is for.
fn replicas(context: &Context, scaler: &HorizontalPodAutoscaler, key: &Key) -> Option<i32> {
    let target = &scaler.spec.as_ref()?.scale_target_ref;
    let key = Key::new(key.namespace.clone(), target.name.clone());
    match target.kind.as_str() {
        "Deployment" => context
            .stores
            .deployments
            .get(&key)
            .map(|d| d.status.as_ref().and_then(|s| s.replicas).unwrap_or(0)),
        "ReplicaSet" => {
            context.stores.replica_sets.get(&key).map(|s| s.status.as_ref().map_or(0, |s| s.replicas))
        }
        "StatefulSet" => {
            context.stores.stateful_sets.get(&key).map(|s| s.status.as_ref().map_or(0, |s| s.replicas))
        }
        _ => None,
    }
}

/// Why there is no scale, in the words of Kubernetes' controller.
fn no_scale(scaler: &HorizontalPodAutoscaler) -> String {
    format!("the HPA controller was unable to get the target's current scale: {}", missing(scaler))
}

/// What the API answers when it is asked for the target.
fn missing(scaler: &HorizontalPodAutoscaler) -> String {
    let Some(target) = scaler.spec.as_ref().map(|spec| &spec.scale_target_ref) else {
        return String::new();
    };
    let group =
        target.api_version.as_deref().and_then(|version| version.split_once('/')).map(|(group, _)| group);
    let plural = format!("{}s", target.kind.to_lowercase());
    let resource = group.map_or_else(|| plural.clone(), |group| format!("{plural}.{group}"));
    format!("{resource} \"{}\" not found", target.name)
}

fn status(
    scaler: &HorizontalPodAutoscaler,
    replicas: Option<i32>,
    now: Timestamp,
) -> HorizontalPodAutoscalerStatus {
    let old = scaler.status.as_ref().and_then(|status| status.conditions.as_ref());
    let condition = |kind: &str, value: bool, reason: &str, message: &str| {
        let value = if value { "True" } else { "False" };
        let same = old.into_iter().flatten().find(|old| old.type_ == kind && old.status == value);
        HorizontalPodAutoscalerCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(
                same.and_then(|same| same.last_transition_time.clone()).unwrap_or(Time(now)),
            ),
        }
    };
    let conditions = if replicas.is_some() {
        let message = "there is no metrics API here: the number of replicas is left as it is";
        vec![
            condition(
                "AbleToScale",
                true,
                "SucceededGetScale",
                "the controller was able to get the target's current scale",
            ),
            condition("ScalingActive", false, "FailedGetResourceMetric", message),
        ]
    } else {
        vec![condition("AbleToScale", false, "FailedGetScale", &no_scale(scaler))]
    };
    HorizontalPodAutoscalerStatus {
        conditions: Some(conditions),
        current_replicas: replicas.filter(|count| *count != 0),
        desired_replicas: replicas.unwrap_or(0),
        observed_generation: scaler.metadata.generation,
        ..HorizontalPodAutoscalerStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lack_of_metrics_and_of_a_target_are_told_once() {
        let mut scaler: HorizontalPodAutoscaler =
            serde_json::from_value(json!({ "metadata": { "name": "h" }, "spec": { "maxReplicas": 3 } }))
                .unwrap();
        for (replicas, kind, reason) in
            [(Some(2), "ScalingActive", "FailedGetResourceMetric"), (None, "AbleToScale", "FailedGetScale")]
        {
            let first = status(&scaler, replicas, Timestamp::now());
            let last = first.conditions.as_ref().unwrap().last().unwrap();
            assert_eq!(
                (last.type_.as_str(), last.status.as_str(), last.reason.as_deref()),
                (kind, "False", Some(reason))
            );
            scaler.status = Some(first.clone());
            assert_eq!(
                status(&scaler, replicas, Timestamp::now()),
                first,
                "an unchanged autoscaler causes no writes"
            );
        }
    }
}
