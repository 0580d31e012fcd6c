use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `admission.k8s.io` `AdmissionReview`, v1 or v1beta1: the fields that both have and we use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review {
    pub api_version: String,
    pub kind: String,
    pub request: Option<Request>,
}

/// What is to be admitted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub uid: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub operation: String,
    /// Nothing may be written anywhere for the sake of this request.
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub object: Value,
}

/// The answer.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub uid: String,
    pub allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Why something is refused.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub message: String,
    pub reason: &'static str,
    pub code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// The single reasons.
#[derive(Debug, Serialize)]
pub(super) struct Details {
    pub causes: Vec<Cause>,
}

/// One reason.
#[derive(Debug, Serialize)]
pub(super) struct Cause {
    pub reason: &'static str,
    pub field: String,
    pub message: String,
}

impl Answer {
    /// Lets it pass as it is.
    pub(super) fn allow() -> Self {
        Answer { allowed: true, ..Answer::default() }
    }

    /// Lets it pass with changes.
    pub(super) fn patch(patch: &json_patch::Patch) -> Result<Self, serde_json::Error> {
        let patch = STANDARD.encode(serde_json::to_vec(patch)?);
        Ok(Answer { allowed: true, patch: Some(patch), patch_type: Some("JSONPatch"), ..Answer::default() })
    }

    /// Refuses it.
    pub(super) fn refuse(message: String, causes: Vec<Cause>) -> Self {
        let details = (!causes.is_empty()).then_some(Details { causes });
        Answer {
            status: Some(Status { message, reason: "BadRequest", code: 400, details }),
            ..Answer::default()
        }
    }
}

/// Reads a review.
///
/// # Errors
/// In words, when the text is no review or has no request.
pub(super) fn read(body: &[u8]) -> Result<(String, Request), String> {
    let review: Review =
        serde_json::from_slice(body).map_err(|e| format!("the body is no AdmissionReview: {e}"))?;
    let versions = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];
    if review.kind != "AdmissionReview" || !versions.contains(&review.api_version.as_str()) {
        return Err(format!(
            "expected an AdmissionReview of admission.k8s.io/v1 or v1beta1, got {} of {}",
            review.kind, review.api_version
        ));
    }
    let request = review.request.ok_or("the AdmissionReview has no request")?;
    Ok((review.api_version, request))
}

/// The answer as a review of the same version.
pub(super) fn write(api_version: &str, uid: String, answer: Answer) -> Value {
    serde_json::json!({
        "apiVersion": api_version,
        "kind": "AdmissionReview",
        "response": Answer { uid, ..answer },
    })
}
