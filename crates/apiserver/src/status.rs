//! Errors in Kubernetes' words: every one becomes a `Status` object.

use http::StatusCode;
use serde_json::{Value, json};

/// What went wrong with a request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub code: StatusCode,
    /// Kubernetes' machine-readable reason, for example `NotFound`.
    pub reason: &'static str,
    /// What the user reads.
    pub message: String,
    /// `details` of the Status object.
    pub details: Option<Box<Value>>,
}

/// Names a resource in messages: `deployments.apps`, or `pods` in the core group.
pub fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

impl ApiError {
    /// An error with the given code, reason and message.
    pub fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn with_details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// 404: no object of this name.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(plural, group));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(details(group, plural, name))
    }

    /// 404: no such path or resource type.
    pub fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).with_details(json!({}))
    }

    /// 404: the resource has no such subresource.
    pub fn no_such_subresource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// Whether the path itself is unknown.
    pub fn is_no_path(&self) -> bool {
        self.reason == "NotFound" && self.details.as_deref().is_some_and(|details| *details == json!({}))
    }

    /// 409: the name is taken.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(plural, group));
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).with_details(details(group, plural, name))
    }

    /// 409: the object was changed since it was read, or a precondition failed.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(plural, group));
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_details(details(group, plural, name))
    }

    /// 409 because of a stale `resourceVersion`.
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, why)
    }

    /// 422: field errors.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let text = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {text}", qualified(kind, group));
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({"reason": e.reason.code(), "message": e.detail_text(), "field": e.field}))
            .collect();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
            .with_details(strip_empty(json!({"name": name, "group": group, "kind": kind, "causes": causes})))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 403 on an object.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", qualified(plural, group));
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details(group, plural, name))
    }

    /// 403 in words of its own.
    pub fn denied(group: &str, plural: &str, name: &str, message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details(details(group, plural, name))
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 410: the resource version is no longer in the log.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).with_details(json!({}))
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let text = format!("Internal error occurred: {message}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", text)
            .with_details(json!({"causes": [{"message": message.to_string()}]}))
    }

    /// The `Status` object.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        });
        if let Some(details) = &self.details {
            status["details"] = (**details).clone();
        }
        status["code"] = self.code.as_u16().into();
        status
    }
}

fn details(group: &str, plural: &str, name: &str) -> Value {
    strip_empty(json!({"name": name, "group": group, "kind": plural}))
}

fn strip_empty(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, v| v.as_str() != Some(""));
    }
    value
}

/// Kinds of field errors, with the words of Kubernetes' `field.Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Missing.
    Required,
    /// Malformed.
    Invalid,
    /// Not one of the allowed values.
    NotSupported,
    /// Appears twice.
    Duplicate,
    /// May not be set here.
    Forbidden,
    /// Longer than allowed.
    TooLong,
    /// More entries than allowed.
    TooMany,
    /// Refers to something that does not exist.
    NotFound,
}

impl Reason {
    fn code(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
        }
    }
}

/// One field that is wrong.
#[derive(Debug, Clone)]
pub struct FieldError {
    /// Path in Kubernetes' form, for example `spec.ports[0].port`.
    pub field: String,
    /// The kind of error.
    pub reason: Reason,
    /// The offending value, where the kind of error shows it.
    pub value: Option<Value>,
    /// What would be right.
    pub detail: String,
}

impl FieldError {
    /// An error without a value.
    pub fn new(field: impl Into<String>, reason: Reason, detail: impl Into<String>) -> Self {
        Self { field: field.into(), reason, value: None, detail: detail.into() }
    }

    /// A required field is missing.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(field, Reason::Required, detail)
    }

    /// A value is malformed.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self { value: Some(value.into()), ..Self::new(field, Reason::Invalid, detail) }
    }

    /// A value is not one of those allowed.
    pub fn unsupported(field: impl Into<String>, value: impl Into<Value>, allowed: &[&str]) -> Self {
        let quoted: Vec<String> = allowed.iter().map(|a| format!("{a:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        Self { value: Some(value.into()), ..Self::new(field, Reason::NotSupported, detail) }
    }

    fn detail_text(&self) -> String {
        let mut text = self.reason.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(&show(value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

/// Shows a value as Go's field errors do.
fn show(value: &Value) -> String {
    match value {
        Value::String(s) => format!("{s:?}"),
        Value::Object(_) | Value::Array(_) => value.to_string(),
        other => other.to_string(),
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.detail_text())
    }
}

/// Shorthand for what handlers return.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_objects_are_told_as_kubernetes_tells_them() {
        let errors =
            [FieldError::required("spec.a", ""), FieldError::invalid("spec.b", "X", "must be lower case")];
        let error = ApiError::invalid("apps", "Deployment", "d", &errors);
        assert_eq!(
            error.message,
            "Deployment.apps \"d\" is invalid: [spec.a: Required value, spec.b: Invalid value: \"X\": must be lower case]"
        );
        assert_eq!(error.to_status()["details"]["causes"][0]["reason"], "FieldValueRequired");
    }
}
