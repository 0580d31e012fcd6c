//! Configurations of admission webhooks.

use serde_json::{Value, json};

use crate::object;
use crate::registry::Behaviour;
use crate::status::FieldError;
use crate::table::{AGE, num};

/// Mutating and validating configurations.
pub static CONFIGURATION: Behaviour = Behaviour {
    default,
    validate,
    columns: &[num("Webhooks"), AGE],
    row: |object| vec![object::list(object, &["webhooks"]).len().into()],
    ..Behaviour::PLAIN
};

fn default(object: &mut Value) {
    let mutating = object::text(object, &["kind"]) == "MutatingWebhookConfiguration";
    for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(webhook) = webhook.as_object_mut() else { continue };
        object::default(webhook, "failurePolicy", "Fail");
        object::default(webhook, "matchPolicy", "Equivalent");
        object::default(webhook, "namespaceSelector", json!({}));
        object::default(webhook, "objectSelector", json!({}));
        object::default(webhook, "timeoutSeconds", 10);
        if mutating {
            object::default(webhook, "reinvocationPolicy", "Never");
        }
        for rule in webhook.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(rule) = rule.as_object_mut() {
                object::default(rule, "scope", "*");
            }
        }
        let service = webhook.get_mut("clientConfig").and_then(|c| c.get_mut("service"));
        if let Some(service) = service.and_then(Value::as_object_mut) {
            object::default(service, "port", 443);
        }
    }
}

fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    for (index, webhook) in object::list(object, &["webhooks"]).iter().enumerate() {
        let path = format!("webhooks[{index}]");
        let name = object::text(webhook, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if name.split('.').count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.push(FieldError::invalid(format!("{path}.name"), name, detail));
        }
        if !["None", "NoneOnDryRun"].contains(&object::text(webhook, &["sideEffects"])) {
            let detail = "must specify one of None, NoneOnDryRun";
            errors.push(FieldError::required(format!("{path}.sideEffects"), detail));
        }
        let config = webhook.get("clientConfig").unwrap_or(&Value::Null);
        if config.get("url").is_some() == config.get("service").is_some() {
            let detail = "exactly one of url or service is required";
            errors.push(FieldError::required(format!("{path}.clientConfig"), detail));
        }
        if object::list(webhook, &["admissionReviewVersions"]).is_empty() {
            let detail = "must specify one of v1, v1beta1";
            errors.push(FieldError::required(format!("{path}.admissionReviewVersions"), detail));
        }
        let policy = object::text(webhook, &["failurePolicy"]);
        if !["Fail", "Ignore"].contains(&policy) {
            errors.push(FieldError::unsupported(
                format!("{path}.failurePolicy"),
                policy,
                &["Fail", "Ignore"],
            ));
        }
        let seconds = object::int(webhook, &["timeoutSeconds"]).unwrap_or(10);
        if !(1..=30).contains(&seconds) {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(format!("{path}.timeoutSeconds"), seconds, detail));
        }
    }
}
