//! Subresources beside `status`.

mod connect;
pub mod review;
mod scale;
mod token;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::object;
use crate::server::{Reply, Request, reply};
use crate::status::{ApiError, Result};
use crate::verbs::delete::{self, DeleteOptions};
use crate::verbs::{self, Call, Changed, Part, Shape};

/// Answers a request for a subresource.
pub async fn dispatch(
    mut call: Call,
    mut request: Request,
    name: &str,
    sub: &str,
    shape: Shape,
) -> Result<Reply> {
    let method = request.head.method.clone();
    let served = call.served.clone();
    match (&*served.resource.shard, sub, method) {
        (_, "scale", method) if served.version().scale.is_some() => {
            scale::dispatch(&mut call, &mut request, name, &method, shape).await
        }
        ("/serviceaccounts", "token", Method::POST) => token::create(&call, &mut request, name).await,
        ("/pods", "binding", Method::POST) => bind(&mut call, &mut request, name).await,
        ("/pods", "eviction", Method::POST) => evict(&mut call, &mut request, name).await,
        ("/pods", "log", Method::GET) => connect::log(&call, request, name).await,
        ("/pods", "exec" | "attach" | "portforward", Method::GET | Method::POST) => {
            connect::stream(&call, request, name, sub).await
        }
        ("/pods", "ephemeralcontainers", Method::GET) => {
            let pod = found(&call, name)?;
            Ok(call.reply(StatusCode::OK, pod, shape))
        }
        ("/pods", "ephemeralcontainers", Method::PUT) => {
            verbs::put(&mut call, &mut request, name, Part::Main, shape).await
        }
        ("/pods", "ephemeralcontainers", Method::PATCH) => {
            verbs::patch_part(&mut call, &mut request, name, Part::Main, shape).await
        }
        ("/namespaces", "finalize", Method::PUT) => {
            verbs::put(&mut call, &mut request, name, Part::Whole, shape).await
        }
        ("certificates.k8s.io/certificatesigningrequests", "approval", Method::PUT) => {
            verbs::put(&mut call, &mut request, name, Part::Status, shape).await
        }
        ("certificates.k8s.io/certificatesigningrequests", "approval", Method::PATCH) => {
            verbs::patch_part(&mut call, &mut request, name, Part::Status, shape).await
        }
        _ => Err(ApiError::no_such_subresource()),
    }
}

/// An object as stored, or 404.
fn found(call: &Call, name: &str) -> Result<Value> {
    let entry = crate::context::must_get(&call.context, call.resource(), &call.namespace, name)?;
    Ok(call.resource().value(&entry))
}

/// The object in a request's body.
async fn body(request: &mut Request) -> Result<Value> {
    let value = verbs::read_value(request).await?;
    Ok(if value.is_null() { json!({}) } else { value })
}

fn success(code: StatusCode) -> Reply {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code.as_u16()});
    reply::json(code, &status)
}

/// Puts a pod on a node.
async fn bind(call: &mut Call, request: &mut Request, name: &str) -> Result<Reply> {
    let binding = body(request).await?;
    let node = object::text(&binding, &["target", "name"]).to_owned();
    if node.is_empty() {
        return Err(ApiError::bad_request("target.name: Required value"));
    }
    verbs::update(call, name, Part::Whole, |old| {
        if !object::text(old, &["spec", "nodeName"]).is_empty() {
            let why = format!(
                "pod {name} is already assigned to node {:?}",
                object::text(old, &["spec", "nodeName"])
            );
            return Err(ApiError::conflict("", "pods/binding", name, &why));
        }
        let mut pod = old.clone();
        object::map_mut(&mut pod, &["spec"]).insert("nodeName".into(), node.as_str().into());
        let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": object::now()});
        let conditions =
            object::map_mut(&mut pod, &["status"]).entry("conditions").or_insert_with(|| json!([]));
        if let Some(conditions) = conditions.as_array_mut() {
            conditions.retain(|c| object::text(c, &["type"]) != "PodScheduled");
            conditions.push(condition);
        }
        Ok(Changed { object: pod, tracked: false })
    })
    .await?;
    Ok(success(StatusCode::CREATED))
}

/// Deletes a pod unless a disruption budget stands against it.
async fn evict(call: &mut Call, request: &mut Request, name: &str) -> Result<Reply> {
    let eviction = body(request).await?;
    let pod = found(call, name)?;
    let label = |key: &str| pod["metadata"]["labels"].get(key).and_then(Value::as_str);
    let budgets = call.context.all("policy/poddisruptionbudgets");
    let blocked = budgets.iter().filter(|b| object::namespace(b) == call.namespace).any(|budget| {
        let selector = budget["spec"].get("selector").map(crate::selector::Labels::from_object);
        let selected = selector.is_some_and(|s| s.matches(label));
        selected && object::int(budget, &["status", "disruptionsAllowed"]) == Some(0)
    });
    if blocked {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message));
    }
    let options = DeleteOptions {
        grace: object::int(&eviction, &["deleteOptions", "gracePeriodSeconds"]),
        dry_run: call.options.dry_run,
        ..DeleteOptions::default()
    };
    call.subresource = String::new();
    delete::one(call, name, &options).await?;
    Ok(success(StatusCode::CREATED))
}
