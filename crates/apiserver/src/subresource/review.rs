//! Questions about tokens and rights: resources that are only ever created, and never kept.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::body;
use crate::authorize;
use crate::context::Context;
use crate::object;
use crate::server::{Reply, Request, User, reply};
use crate::status::Result;
use crate::tokens::ISSUER;

/// The kinds of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// Whose token is this?
    Token,
    /// Who am I?
    SelfSubject,
    /// May someone, or I, do this?
    Access,
    /// What may I do?
    Rules,
}

impl Review {
    /// The question that a path asks.
    pub fn of(group: &str, rest: &[&str]) -> Option<Self> {
        let plural = match rest {
            [plural] | ["namespaces", _, plural] => *plural,
            _ => return None,
        };
        match (group, plural) {
            ("authentication.k8s.io", "tokenreviews") => Some(Self::Token),
            ("authentication.k8s.io", "selfsubjectreviews") => Some(Self::SelfSubject),
            ("authorization.k8s.io", "selfsubjectrulesreviews") => Some(Self::Rules),
            (
                "authorization.k8s.io",
                "subjectaccessreviews" | "selfsubjectaccessreviews" | "localsubjectaccessreviews",
            ) => Some(Self::Access),
            _ => None,
        }
    }
}

/// Answers a question, whose path names a plural and perhaps a namespace.
pub async fn answer(
    context: &Arc<Context>,
    mut request: Request,
    review: Review,
    (plural, namespace): (&str, &str),
) -> Result<Reply> {
    let mut answer = body(&mut request).await?;
    let status = match review {
        Review::Token => token(context, &answer),
        Review::SelfSubject => json!({"userInfo": user_info(&request.user)}),
        Review::Access => authorize::access(context, &answer, &request.user, plural, namespace)?,
        Review::Rules => {
            authorize::own_rules(context, &request.user, object::text(&answer, &["spec", "namespace"]))
        }
    };
    object::default(object::map_mut(&mut answer, &["metadata"]), "creationTimestamp", Value::Null);
    answer["status"] = status;
    Ok(reply::json(StatusCode::CREATED, &answer))
}

fn user_info(user: &User) -> Value {
    json!({"username": user.name, "uid": user.uid, "groups": user.groups})
}

fn token(context: &Context, review: &Value) -> Value {
    let text = object::text(review, &["spec", "token"]);
    let Some(claims) = crate::server::token_claims(context, text) else {
        return json!({"authenticated": false, "error": "invalid bearer token"});
    };
    let wanted: Vec<&str> =
        object::list(review, &["spec", "audiences"]).iter().filter_map(Value::as_str).collect();
    let wanted = if wanted.is_empty() { vec![ISSUER] } else { wanted };
    let audiences: Vec<&str> =
        wanted.into_iter().filter(|w| claims.audiences.iter().any(|a| a == w)).collect();
    if audiences.is_empty() {
        return json!({"authenticated": false, "error": "token audiences do not match"});
    }
    let mut user = user_info(&User::service_account(&claims));
    if let Some((name, uid)) = &claims.pod {
        user["extra"] = json!({
            "authentication.kubernetes.io/pod-name": [name], "authentication.kubernetes.io/pod-uid": [uid],
        });
    }
    json!({"authenticated": true, "user": user, "audiences": audiences})
}
