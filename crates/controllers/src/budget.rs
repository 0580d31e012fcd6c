//! PodDisruptionBudgets: how many pods may be evicted now.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Selector;

use crate::context::Context;
use crate::deployment::scaled;
use crate::events::Severity;
use crate::store::Key;
use crate::{ownership, pods};

/// Brings the status of one budget up to date.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let Some(budget) = context.stores.budgets.get(&key) else {
        return Ok(None);
    };
    let status = status(&budget, &context.stores.pods.in_namespace(&key.namespace), Timestamp::now());
    if budget.status.as_ref() != Some(&status) {
        if status.expected_pods == 0 {
            let message = "No matching pods found".to_owned();
            context.recorder.note("controllermanager", &*budget, Severity::Normal, "NoPods", message);
        }
        let mut updated = PodDisruptionBudget::clone(&budget);
        updated.status = Some(status);
        context.replace_status(&context.stores.budgets, &updated).await?;
    }
    Ok(None)
}

fn status(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], now: Timestamp) -> PodDisruptionBudgetStatus {
    let spec = budget.spec.as_ref();
    // Unlike a workload's, a budget's empty selector means all pods of the namespace.
    let selector =
        spec.and_then(|spec| spec.selector.clone()).and_then(|selector| Selector::try_from(selector).ok());
    let selected: Vec<_> = pods
        .iter()
        .filter(|pod| selector.as_ref().is_some_and(|selector| ownership::selects(selector, &pod.metadata)))
        .filter(|pod| !pods::is_finished(pod))
        .collect();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let expected = count(selected.len());
    let healthy = count(selected.iter().filter(|pod| pods::is_active(pod) && pods::is_ready(pod)).count());
    let least = spec.and_then(|spec| spec.min_available.as_ref()).map(|least| scaled(least, expected, true));
    let most = spec
        .and_then(|spec| spec.max_unavailable.as_ref())
        .map(|most| expected - scaled(most, expected, true));
    let desired = least.or(most).unwrap_or(expected).max(0);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let old = budget.status.as_ref();
    PodDisruptionBudgetStatus {
        current_healthy: healthy,
        desired_healthy: desired,
        disruptions_allowed: allowed,
        expected_pods: expected,
        observed_generation: budget.metadata.generation,
        disrupted_pods: old.and_then(|old| old.disrupted_pods.clone()),
        conditions: Some(vec![condition(budget, allowed > 0, now)]),
    }
}

fn condition(budget: &PodDisruptionBudget, allowed: bool, now: Timestamp) -> Condition {
    let (status, reason) = if allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let old = budget.status.as_ref().and_then(|status| status.conditions.as_ref());
    let same = old.into_iter().flatten().find(|old| old.type_ == "DisruptionAllowed" && old.status == status);
    Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: budget.metadata.generation,
        last_transition_time: same.map_or(Time(now), |same| same.last_transition_time.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn allowed(spec: Value, ready: &[bool]) -> (i32, i32) {
        let mut spec = spec;
        spec["selector"] = json!({ "matchLabels": { "app": "web" } });
        let mut budget: PodDisruptionBudget =
            serde_json::from_value(json!({ "metadata": { "name": "b", "generation": 1 }, "spec": spec }))
                .unwrap();
        let pods: Vec<Arc<Pod>> = ready
            .iter()
            .map(|ready| {
                let ready = if *ready { "True" } else { "False" };
                Arc::new(
                    serde_json::from_value(json!({
                        "metadata": { "labels": { "app": "web" } },
                        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] },
                    }))
                    .unwrap(),
                )
            })
            .collect();
        let result = status(&budget, &pods, Timestamp::now());
        budget.status = Some(result.clone());
        assert_eq!(status(&budget, &pods, Timestamp::now()), result, "an unchanged budget causes no writes");
        (result.desired_healthy, result.disruptions_allowed)
    }

    #[test]
    fn budgets_count_ready_pods_against_their_bound() {
        assert_eq!(allowed(json!({ "minAvailable": 2 }), &[true, true, true]), (2, 1));
        assert_eq!(allowed(json!({ "minAvailable": "50%" }), &[true, true, false]), (2, 0));
        assert_eq!(allowed(json!({ "maxUnavailable": 1 }), &[true, true, true]), (2, 1));
        assert_eq!(allowed(json!({ "maxUnavailable": 1 }), &[]), (0, 0));
    }
}
