//! The difference between a pod and the injected pod as a JSON patch (RFC 6902).

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::{Decision, InjectConfig, InjectError, Target, inject};

/// The patch that turns `original` into `injected`; it applies to every JSON form of `original`, also one that has
/// fields this version of the types does not know.
///
/// # Errors
/// A pod that cannot be expressed as JSON.
pub fn patch(original: &Pod, injected: &Pod) -> Result<Patch, InjectError> {
    Ok(json_patch::diff(&serde_json::to_value(original)?, &serde_json::to_value(injected)?))
}

/// The answer to an admission review: the decision, and the patch if the pod is injected.
///
/// # Errors
/// As [`inject`]; besides, `raw` is not a pod.
pub fn admission_patch(
    raw: &Value,
    target: &Target<'_>,
    config: &InjectConfig,
) -> Result<(Decision, Option<Patch>), InjectError> {
    let pod: Pod = serde_json::from_value(raw.clone())?;
    let injection = inject(&pod, target, config)?;
    let patch = if injection.decision.inject { Some(patch(&pod, &injection.pod)?) } else { None };
    Ok((injection.decision, patch))
}
