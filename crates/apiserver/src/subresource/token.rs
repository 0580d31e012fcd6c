//! Tokens of service accounts.

use http::StatusCode;
use serde_json::{Value, json};

use super::{body, found};
use crate::object;
use crate::server::{Reply, Request, reply};
use crate::status::{ApiError, FieldError, Result};
use crate::tokens::{Claims, ISSUER};
use crate::verbs::Call;

const SHORTEST: i64 = 600;
const LONGEST: i64 = 365 * 24 * 3600;

/// Signs a token for what the request asks.
pub async fn create(call: &Call, request: &mut Request, name: &str) -> Result<Reply> {
    let asked = body(request).await?;
    let account = found(call, name)?;
    let seconds = object::int(&asked, &["spec", "expirationSeconds"]).unwrap_or(3600);
    if seconds < SHORTEST {
        let detail = "may not specify a duration less than 10 minutes";
        let error = FieldError::invalid("spec.expirationSeconds", seconds, detail);
        return Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", "", &[error]));
    }
    let seconds = seconds.min(LONGEST);
    let audiences = object::list(&asked, &["spec", "audiences"]).iter().filter_map(Value::as_str);
    let mut audiences: Vec<String> = audiences.map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let pod = match object::text(&asked, &["spec", "boundObjectRef", "kind"]) {
        "Pod" => {
            let name = object::text(&asked, &["spec", "boundObjectRef", "name"]);
            let pod = call.context.get("/pods", &call.namespace, name);
            let pod = pod.ok_or_else(|| ApiError::not_found("", "pods", name))?;
            Some((name.to_owned(), object::meta(&pod, "uid").to_owned()))
        }
        _ => None,
    };
    let claims = Claims {
        namespace: call.namespace.clone(),
        name: name.to_owned(),
        uid: object::meta(&account, "uid").to_owned(),
        audiences: audiences.clone(),
        pod,
    };
    let (token, end) = call.context.tokens.sign(&claims, seconds);
    let answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": call.namespace, "creationTimestamp": object::now()},
        "spec": {
            "audiences": audiences, "expirationSeconds": seconds,
            "boundObjectRef": asked["spec"].get("boundObjectRef").cloned().unwrap_or_default(),
        },
        "status": {"token": token, "expirationTimestamp": object::timestamp(end)},
    });
    Ok(reply::json(StatusCode::CREATED, &answer))
}
