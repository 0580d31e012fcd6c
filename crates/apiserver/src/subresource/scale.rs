//! The scale subresource.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{body, found};
use crate::object;
use crate::registry::Scale;
use crate::server::{Reply, Request, reply};
use crate::status::{ApiError, FieldError, Result};
use crate::verbs::{Call, Changed, Part, Shape, update};

/// Answers a request for an object's scale.
pub async fn dispatch(
    call: &mut Call,
    request: &mut Request,
    name: &str,
    method: &Method,
    shape: Shape,
) -> Result<Reply> {
    let Some(paths) = call.served.version().scale.clone() else {
        return Err(ApiError::no_such_subresource());
    };
    let current = found(call, name)?;
    if *method == Method::GET {
        let scale = scale(&paths, &current);
        let answer = if matches!(shape, Shape::Table(_)) { table(&scale) } else { scale };
        return Ok(reply::json(StatusCode::OK, &answer));
    }
    let sent = body(request).await?;
    let json_patch = sent.is_array();
    let wanted = match *method {
        Method::PUT => sent,
        Method::PATCH if json_patch => {
            let patch: json_patch::Patch = serde_json::from_value(sent)
                .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
            let mut scale = scale(&paths, &current);
            json_patch::patch(&mut scale, &patch).map_err(|e| ApiError::bad_request(e.to_string()))?;
            scale
        }
        Method::PATCH => {
            let mut scale = scale(&paths, &current);
            let pinned = object::meta(&sent, "resourceVersion").is_empty();
            json_patch::merge(&mut scale, &sent);
            if pinned {
                object::remove(&mut scale, &["metadata", "resourceVersion"]);
            }
            scale
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    let replicas = object::int(&wanted, &["spec", "replicas"]).unwrap_or_default();
    if replicas < 0 {
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", "Scale", name, &[error]));
    }
    let revision = object::meta(&wanted, "resourceVersion").to_owned();
    let path: Vec<&str> = paths.spec.iter().map(String::as_str).collect();
    let stored = update(call, name, Part::Whole, |old| {
        let mut object = old.clone();
        if let Some((last, parents)) = path.split_last() {
            object::map_mut(&mut object, parents).insert((*last).to_owned(), replicas.into());
        }
        let meta = object::meta_mut(&mut object);
        if revision.is_empty() {
            meta.shift_remove("resourceVersion");
        } else {
            meta.insert("resourceVersion".into(), revision.as_str().into());
        }
        Ok(Changed { object, tracked: false })
    })
    .await?;
    Ok(reply::json(StatusCode::OK, &scale(&paths, &stored)))
}

/// As `kubectl get --subresource=scale` shows it.
fn table(scale: &Value) -> Value {
    let column = |name: &str, kind: &str| json!({"name": name, "type": kind, "format": "", "description": "", "priority": 0});
    let cells = json!([
        object::name(scale),
        object::int(scale, &["spec", "replicas"]),
        object::int(scale, &["status", "replicas"]),
        crate::table::age(scale, jiff::Timestamp::now()),
    ]);
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": [
            column("Name", "string"), column("Desired", "integer"), column("Available", "integer"), column("Age", "string"),
        ],
        "rows": [{"cells": cells, "object": scale}],
    })
}

fn scale(paths: &Scale, object: &Value) -> Value {
    fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
        path.iter().try_fold(object, |value, key| value.get(key))
    }
    let number = |path: &[String]| at(object, path).and_then(Value::as_i64).unwrap_or_default();
    let selector = paths.selector.as_deref().and_then(|path| at(object, path));
    let selector = match selector {
        Some(Value::String(text)) => text.clone(),
        other => match crate::table::selector(other) {
            Value::String(text) if text != "<none>" => text,
            _ => String::new(),
        },
    };
    let meta = |key: &str| object["metadata"].get(key).cloned().unwrap_or_default();
    let mut status = json!({"replicas": number(&paths.status)});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta("name"), "namespace": meta("namespace"), "uid": meta("uid"),
            "resourceVersion": meta("resourceVersion"), "creationTimestamp": meta("creationTimestamp"),
        },
        "spec": {"replicas": number(&paths.spec)}, "status": status,
    })
}
