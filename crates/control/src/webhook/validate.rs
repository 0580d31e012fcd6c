use lateen_api::{FieldError, validate_value};

use super::review::{Answer, Cause, Request};
use crate::Metrics;

/// Judges a resource of Istio's kinds: every error in one message, warnings beside.
pub(super) fn validate(request: &Request, metrics: &Metrics) -> Answer {
    if !matches!(request.operation.as_str(), "CREATE" | "UPDATE" | "") {
        return Answer::allow();
    }
    let Some(verdict) = validate_value(&request.object) else { return Answer::allow() };
    metrics.on_validation(verdict.errors.is_empty());
    let mut answer = if verdict.errors.is_empty() {
        Answer::allow()
    } else {
        let message = message(request, &verdict.errors);
        tracing::info!(
            namespace = request.namespace,
            name = request.name,
            kind = request.object.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default(),
            message,
            "resource refused"
        );
        Answer::refuse(message, verdict.errors.iter().map(cause).collect())
    };
    answer.warnings = verdict.warnings.iter().map(FieldError::to_string).collect();
    answer
}

/// Names the resource too: a file may hold many, of which the API server names none.
fn message(request: &Request, errors: &[FieldError]) -> String {
    let kind = request.object.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default();
    let resource = format!("{kind} {}/{}", request.namespace, request.name);
    match errors {
        [one] => format!("configuration is invalid: {resource}: {one}"),
        many => {
            let lines: Vec<String> = many.iter().map(|error| format!("\n\t* {error}")).collect();
            format!("configuration is invalid: {resource}: {} errors occurred:{}", many.len(), lines.concat())
        }
    }
}

fn cause(error: &FieldError) -> Cause {
    let mut message = error.message.clone();
    if let Some(mend) = &error.mend {
        message.push_str(&format!(" ({mend})"));
    }
    Cause { reason: "FieldValueInvalid", field: error.path.clone(), message }
}
