//! Admission webhooks: which are asked, and what becomes of their answers.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Operation;
use super::call::{self, Target};
use crate::context::Context;
use crate::object;
use crate::selector::Labels;
use crate::status::{ApiError, Result};
use crate::verbs::{Call, prepare};

/// A webhook of some configuration.
struct Webhook {
    name: String,
    spec: Value,
    namespaces: Labels,
    objects: Labels,
}

/// The configured webhooks, read again after a change of configuration.
#[derive(Default)]
pub struct Webhooks {
    mutating: Mutex<Option<Arc<[Webhook]>>>,
    validating: Mutex<Option<Arc<[Webhook]>>>,
    /// Connections and TLS settings of webhooks.
    pub clients: call::Clients,
}

impl Webhooks {
    /// Has the configurations read again.
    pub fn forget(&self) {
        *self.mutating.lock() = None;
        *self.validating.lock() = None;
        self.clients.forget();
    }

    fn load(cache: &Mutex<Option<Arc<[Webhook]>>>, context: &Context, plural: &str) -> Arc<[Webhook]> {
        let mut cache = cache.lock();
        if let Some(webhooks) = &*cache {
            return webhooks.clone();
        }
        let mut webhooks = Vec::new();
        for configuration in context.all(&format!("admissionregistration.k8s.io/{plural}")) {
            for spec in object::list(&configuration, &["webhooks"]) {
                let selector = |field: &str| spec.get(field).map(Labels::from_object).unwrap_or_default();
                webhooks.push(Webhook {
                    name: object::text(spec, &["name"]).to_owned(),
                    spec: spec.clone(),
                    namespaces: selector("namespaceSelector"),
                    objects: selector("objectSelector"),
                });
            }
        }
        let webhooks: Arc<[Webhook]> = webhooks.into();
        *cache = Some(webhooks.clone());
        webhooks
    }
}

fn matches_rule(call: &Call, operation: Operation, rule: &Value) -> bool {
    let has = |field: &str, wanted: &str| {
        object::list(rule, &[field]).iter().filter_map(Value::as_str).any(|v| v == "*" || v == wanted)
    };
    let resource = call.resource();
    let name = match call.subresource.as_str() {
        "" => resource.plural.to_string(),
        sub => format!("{}/{sub}", resource.plural),
    };
    let resources = object::list(rule, &["resources"]).iter().filter_map(Value::as_str).any(|pattern| {
        pattern == name
            || pattern == "*/*"
            || pattern == "*" && call.subresource.is_empty()
            || pattern.strip_suffix("/*").is_some_and(|p| p == &*resource.plural)
            || pattern.strip_prefix("*/").is_some_and(|s| s == call.subresource)
    });
    let scope = match object::text(rule, &["scope"]) {
        "Cluster" => !resource.namespaced,
        "Namespaced" => resource.namespaced,
        _ => true,
    };
    // Objects are asked about in their stored version; equivalent ones match by any version that is served.
    let version = |v: &crate::registry::Version| has("apiGroups", &v.group) && has("apiVersions", &v.name);
    scope && resources && has("operations", operation.word()) && resource.versions.iter().any(version)
}

fn matches(
    call: &Call,
    operation: Operation,
    webhook: &Webhook,
    old: Option<&Value>,
    new: Option<&Value>,
) -> bool {
    let rules = object::list(&webhook.spec, &["rules"]);
    if !rules.iter().any(|rule| matches_rule(call, operation, rule)) {
        return false;
    }
    let labelled = |object: Option<&Value>| {
        object.is_some_and(|o| {
            webhook.objects.matches(|key| o["metadata"]["labels"].get(key).and_then(Value::as_str))
        })
    };
    if !webhook.objects.is_empty() && !labelled(old) && !labelled(new) {
        return false;
    }
    if webhook.namespaces.is_empty() {
        return true;
    }
    let resource = call.resource();
    let namespace = match (&*resource.shard, resource.namespaced) {
        ("/namespaces", _) => new.or(old).cloned(),
        (_, true) => call.context.get("/namespaces", "", &call.namespace),
        _ => return true,
    };
    let Some(namespace) = namespace else { return false };
    webhook.namespaces.matches(|key| namespace["metadata"]["labels"].get(key).and_then(Value::as_str))
}

/// Webhooks may not stop the configuration of webhooks.
fn exempt(call: &Call) -> bool {
    &*call.resource().group == "admissionregistration.k8s.io"
}

/// Lets mutating webhooks change an object.
///
/// # Errors
/// What a webhook refuses, or 500 when one that must be asked cannot be.
pub async fn mutate(
    call: &mut Call,
    operation: Operation,
    old: Option<&Value>,
    mut object: Value,
) -> Result<Value> {
    if exempt(call) {
        return Ok(object);
    }
    let context = call.context.clone();
    let webhooks = Webhooks::load(&context.webhooks.mutating, &context, "mutatingwebhookconfigurations");
    let mut asked = Vec::new();
    for (index, webhook) in webhooks.iter().enumerate() {
        if matches(call, operation, webhook, old, Some(&object)) {
            let changed = ask_to_change(call, operation, webhook, old, &mut object).await?;
            asked.push((index, changed));
        }
    }
    // Whoever wants to see what later ones changed is asked once more.
    let last_change = asked.iter().rev().find(|(_, changed)| *changed).map(|(index, _)| *index);
    for (index, _) in asked {
        let webhook = &webhooks[index];
        let again = object::text(&webhook.spec, &["reinvocationPolicy"]) == "IfNeeded";
        if again && last_change.is_some_and(|last| index < last) {
            ask_to_change(call, operation, webhook, old, &mut object).await?;
        }
    }
    if last_change.is_some() {
        prepare::recheck(call, &mut object)?;
    }
    Ok(object)
}

async fn ask_to_change(
    call: &mut Call,
    operation: Operation,
    webhook: &Webhook,
    old: Option<&Value>,
    object: &mut Value,
) -> Result<bool> {
    let Some(response) = ask(call, operation, webhook, old, Some(object)).await? else {
        return Ok(false);
    };
    let Some(text) = response.get("patch").and_then(Value::as_str) else {
        return Ok(false);
    };
    let broken = |error: String| {
        let message = format!("failed calling webhook \"{}\": cannot use its patch: {error}", webhook.name);
        ApiError::internal(message)
    };
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| broken(e.to_string()))?;
    let patch: json_patch::Patch = serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
    let before = object.clone();
    json_patch::patch(object, &patch).map_err(|e| broken(e.to_string()))?;
    if *object != before {
        prepare::default(call, object);
    }
    Ok(*object != before)
}

/// Asks validating webhooks about a write, all at once.
///
/// # Errors
/// What the first webhook refuses, or 500 when one that must be asked cannot be.
pub async fn validate(
    call: &mut Call,
    operation: Operation,
    old: Option<&Value>,
    object: Option<&Value>,
) -> Result<()> {
    if exempt(call) {
        return Ok(());
    }
    let context = call.context.clone();
    let webhooks = Webhooks::load(&context.webhooks.validating, &context, "validatingwebhookconfigurations");
    for webhook in webhooks.iter() {
        if matches(call, operation, webhook, old, object) {
            ask(call, operation, webhook, old, object).await?;
        }
    }
    Ok(())
}

/// Asks one webhook; None when it could not be asked and need not be.
async fn ask(
    call: &mut Call,
    operation: Operation,
    webhook: &Webhook,
    old: Option<&Value>,
    object: Option<&Value>,
) -> Result<Option<Value>> {
    let side_effects = object::text(&webhook.spec, &["sideEffects"]);
    if call.options.dry_run && !matches!(side_effects, "None" | "NoneOnDryRun") {
        let message = format!("admission webhook \"{}\" does not support dry run", webhook.name);
        return Err(ApiError::bad_request(message));
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let version = object::list(&webhook.spec, &["admissionReviewVersions"]).iter().filter_map(Value::as_str);
    let version =
        version.clone().find(|v| *v == "v1").or(version.clone().find(|v| *v == "v1beta1")).unwrap_or("v1");
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"),
        "request": request(call, operation, &uid, old, object),
    });
    let seconds = object::int(&webhook.spec, &["timeoutSeconds"]).unwrap_or(10).clamp(1, 30);
    let limit = Duration::from_secs(seconds.unsigned_abs());
    let target = Target::of(&call.context, &webhook.spec);
    let answer = match target {
        Err(error) => Err(error),
        Ok(target) => {
            let asking = call.context.webhooks.clients.post(&target, review.to_string().into());
            let answer = tokio::time::timeout(limit, asking).await;
            answer.unwrap_or_else(|_| Err(format!("Post {:?}: context deadline exceeded", target.url())))
        }
    };
    let response = answer.and_then(|answer| {
        let response = answer.get("response").cloned();
        response
            .filter(|r| object::text(r, &["uid"]) == uid)
            .ok_or_else(|| "its answer is to another question".into())
    });
    match response {
        Ok(response) => judge(call, webhook, response).map(Some),
        Err(error) if object::text(&webhook.spec, &["failurePolicy"]) == "Ignore" => {
            tracing::warn!(webhook = webhook.name, %error, "webhook was not asked");
            Ok(None)
        }
        Err(error) => {
            Err(ApiError::internal(format!("failed calling webhook \"{}\": {error}", webhook.name)))
        }
    }
}

fn request(
    call: &Call,
    operation: Operation,
    uid: &str,
    old: Option<&Value>,
    object: Option<&Value>,
) -> Value {
    let resource = call.resource();
    let version = resource.stored();
    let kind = json!({"group": &*version.group, "version": &*version.name, "kind": &*resource.kind});
    let gvr = json!({"group": &*version.group, "version": &*version.name, "resource": &*resource.plural});
    let name = object.or(old).map(object::name).unwrap_or_default();
    let mut request = json!({
        "uid": uid, "kind": kind, "resource": gvr, "requestKind": kind, "requestResource": gvr,
        "name": name, "operation": operation.word(),
        "userInfo": {"username": call.user.name, "uid": call.user.uid, "groups": call.user.groups},
        "object": object, "oldObject": old, "dryRun": call.options.dry_run, "options": null,
    });
    if resource.namespaced {
        request["namespace"] = call.namespace.as_str().into();
    }
    if !call.subresource.is_empty() {
        request["subResource"] = call.subresource.as_str().into();
        request["requestSubResource"] = call.subresource.as_str().into();
    }
    request
}

fn judge(call: &mut Call, webhook: &Webhook, response: Value) -> Result<Value> {
    let warnings = object::list(&response, &["warnings"]).iter().filter_map(Value::as_str);
    call.warnings.extend(warnings.map(str::to_owned));
    if response.get("allowed").and_then(Value::as_bool) == Some(true) {
        return Ok(response);
    }
    let status = response.get("status").cloned().unwrap_or_default();
    let code = object::int(&status, &["code"]).and_then(|c| u16::try_from(c).ok());
    let code = code.and_then(|c| StatusCode::from_u16(c).ok()).filter(|c| c.as_u16() >= 400);
    let text = match (object::text(&status, &["message"]), object::text(&status, &["reason"])) {
        ("", "") => "denied the request without explanation".to_owned(),
        ("", reason) => format!("denied the request: {reason}"),
        (message, _) => format!("denied the request: {message}"),
    };
    let message = format!("admission webhook \"{}\" {text}", webhook.name);
    let reason = match code.map(|c| c.as_u16()) {
        Some(422) => "Invalid",
        Some(400) | None => "BadRequest",
        _ => "Forbidden",
    };
    Err(ApiError::new(code.unwrap_or(StatusCode::BAD_REQUEST), reason, message))
}
