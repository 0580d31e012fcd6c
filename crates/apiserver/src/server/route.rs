//! From a path to what answers it.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Reply, Request, query, reply};
use crate::authorize::{self, Attributes};
use crate::context::Context;
use crate::registry::Served;
use crate::status::{ApiError, Result};
use crate::tokens::ISSUER;
use crate::{discovery, subresource, verbs};

/// A resource, an object of it, or a subresource of that.
#[derive(Clone)]
pub struct Target {
    /// The resource in the version that the path names.
    pub served: Served,
    /// Namespace; empty for cluster-wide resources and lists over all namespaces.
    pub namespace: String,
    /// Name of the object.
    pub name: Option<String>,
    /// Subresource.
    pub subresource: Option<String>,
}

/// Answers a request.
pub async fn route(context: &Arc<Context>, request: Request) -> Result<Reply> {
    let path = request.head.uri.path().to_owned();
    let parts: Vec<String> =
        path.split('/').filter(|p| !p.is_empty()).map(|p| query::decode(p, false)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if let Some(reply) = open(&parts, context) {
        return Ok(reply);
    }
    if !matches!(parts.as_slice(), ["api", _, _, ..] | ["apis", _, _, _, ..]) {
        authorize::check(context, &request.user, &Attributes::of_path(&request.head.method, &path))?;
    }
    match parts.as_slice() {
        [] => Ok(reply::json(StatusCode::OK, &json!({"paths": discovery::paths(context)}))),
        [".well-known", "openid-configuration"] => Ok(reply::json(StatusCode::OK, &openid())),
        ["openid", "v1", "jwks"] => Ok(reply::json(StatusCode::OK, &context.tokens.key_set())),
        ["api" | "apis"] | ["api", _] | ["apis", _] | ["apis", _, _] => {
            discovery::answer(context, &request, &parts)
        }
        ["openapi", rest @ ..] => discovery::openapi(context, &request, rest),
        ["api", version, rest @ ..] => resource(context, request, "", version, rest).await,
        ["apis", group, version, rest @ ..] => resource(context, request, group, version, rest).await,
        _ => Err(ApiError::no_such_resource()),
    }
}

/// What anybody may read, as Kubernetes' `system:public-info-viewer` has it.
fn open(parts: &[&str], context: &Context) -> Option<Reply> {
    match parts {
        ["healthz" | "livez" | "readyz", ..] => {
            let stopping = context.stop.is_cancelled();
            let code = if stopping { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
            Some(reply::bytes(
                code,
                "text/plain; charset=utf-8",
                if stopping { "shutting down" } else { "ok" },
            ))
        }
        ["version"] => Some(reply::json(StatusCode::OK, &discovery::version())),
        _ => None,
    }
}

fn openid() -> Value {
    json!({
        "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/openid/v1/jwks"), "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    })
}

async fn resource(
    context: &Arc<Context>,
    request: Request,
    group: &str,
    version: &str,
    rest: &[&str],
) -> Result<Reply> {
    let snapshot = context.catalog.snapshot();
    // An old form of watches: /api/v1/watch/pods.
    let (rest, watch) = match rest {
        ["watch", rest @ ..] => (rest, true),
        rest => (rest, false),
    };
    let find = |plural: &str| snapshot.find(group, version, plural);
    let target = |served, namespace: &str, name: Option<&str>, sub: Option<&str>| Target {
        served,
        namespace: namespace.to_owned(),
        name: name.map(str::to_owned),
        subresource: sub.map(str::to_owned),
    };
    if request.head.method == Method::POST
        && let Some(review) = subresource::review::Review::of(group, rest)
    {
        let (namespace, plural) = match rest {
            ["namespaces", namespace, plural] => (*namespace, *plural),
            rest => ("", rest.first().copied().unwrap_or_default()),
        };
        let wanted = Attributes::of_resource("create", group, plural, namespace, "");
        authorize::check(context, &request.user, &wanted)?;
        return subresource::review::answer(context, request, review, (plural, namespace)).await;
    }
    let target = match rest {
        // A namespace's own subresources read like a resource inside it.
        ["namespaces", name, sub @ ("status" | "finalize")] if group.is_empty() => {
            target(find("namespaces").ok_or_else(ApiError::no_such_resource)?, "", Some(name), Some(sub))
        }
        ["namespaces", namespace, plural, tail @ ..] => {
            let served =
                find(plural).filter(|s| s.resource.namespaced).ok_or_else(ApiError::no_such_resource)?;
            let (name, sub) = tail_of(tail)?;
            target(served, namespace, name, sub)
        }
        [plural, tail @ ..] => {
            let served = find(plural).ok_or_else(ApiError::no_such_resource)?;
            let (name, sub) = tail_of(tail)?;
            if served.resource.namespaced && name.is_some() {
                return Err(ApiError::no_such_resource());
            }
            target(served, "", name, sub)
        }
        [] => return Err(ApiError::no_such_resource()),
    };
    authorize::check(context, &request.user, &attributes(&request, &target, group, watch))?;
    verbs::dispatch(context, request, target, watch).await
}

/// What a request wants to do, as roles see it.
fn attributes(request: &Request, target: &Target, group: &str, watch: bool) -> Attributes {
    let resource = &target.served.resource;
    let method = &request.head.method;
    let (verb, only) = authorize::attributes::verb(method, target.name.is_some(), watch, &request.query);
    let name = target.name.clone().or(only).unwrap_or_default();
    // A namespace lies in itself.
    let own = group.is_empty() && &*resource.plural == "namespaces";
    let namespace = if own { name.as_str() } else { &target.namespace };
    let wanted = Attributes::of_resource(verb, group, &resource.plural, namespace, &name);
    wanted.with_subresource(target.subresource.as_deref().unwrap_or_default())
}

fn tail_of<'a>(tail: &[&'a str]) -> Result<(Option<&'a str>, Option<&'a str>)> {
    match tail {
        [] => Ok((None, None)),
        [name] => Ok((Some(name), None)),
        [name, sub] => Ok((Some(name), Some(sub))),
        // Nothing is served below a subresource but proxies, which there are none of.
        _ => Err(ApiError::no_such_resource()),
    }
}
