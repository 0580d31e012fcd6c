//! Answers to questions about rights (`kubectl auth can-i`).

use serde_json::{Map, Value, json};

use super::{Attributes, decide, grants, role_rules};
use crate::context::Context;
use crate::object;
use crate::server::User;
use crate::status::{ApiError, Result};

/// The status of an access review: of the one who asks, or of the user that the review names.
///
/// # Errors
/// 400 for a review that names no user, or nothing to do.
pub fn access(
    context: &Context,
    review: &Value,
    asks: &User,
    plural: &str,
    namespace: &str,
) -> Result<Value> {
    let user = if plural == "selfsubjectaccessreviews" { asks.clone() } else { named(review)? };
    let decision = decide(context, &user, &attributes(review, plural, namespace)?);
    let mut status = Map::new();
    status.insert("allowed".to_owned(), decision.allowed.into());
    if !decision.reason.is_empty() {
        status.insert("reason".to_owned(), decision.reason.into());
    }
    Ok(status.into())
}

fn named(review: &Value) -> Result<User> {
    let groups = object::list(review, &["spec", "groups"]).iter().filter_map(Value::as_str);
    let groups: Vec<String> = groups.map(str::to_owned).collect();
    let name = object::text(review, &["spec", "user"]).to_owned();
    if name.is_empty() && groups.is_empty() {
        return Err(ApiError::bad_request("spec.user: at least one of user or group must be specified"));
    }
    Ok(User { name, uid: object::text(review, &["spec", "uid"]).to_owned(), groups })
}

fn attributes(review: &Value, plural: &str, namespace: &str) -> Result<Attributes> {
    if let Some(resource) = object::at(review, &["spec", "resourceAttributes"]).filter(|r| r.is_object()) {
        let text = |field| object::text(resource, &[field]);
        let home = if plural == "localsubjectaccessreviews" { namespace } else { text("namespace") };
        let wanted =
            Attributes::of_resource(text("verb"), text("group"), text("resource"), home, text("name"));
        return Ok(wanted.with_subresource(text("subresource")));
    }
    let other = object::at(review, &["spec", "nonResourceAttributes"]).filter(|other| other.is_object());
    let other = other.ok_or_else(|| {
        ApiError::bad_request(
            "spec: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )
    })?;
    Ok(Attributes {
        verb: object::text(other, &["verb"]).to_owned(),
        path: Some(object::text(other, &["path"]).to_owned()),
        ..Attributes::default()
    })
}

/// All rules of a user in a namespace, as a `SelfSubjectRulesReview` tells them.
pub fn own_rules(context: &Context, user: &User, namespace: &str) -> Value {
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    let everything = user.groups.iter().any(|group| group == "system:masters");
    let rules: Vec<Value> = match everything {
        true => vec![
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
            json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
        ],
        false => {
            let all = grants(context, user, namespace);
            all.iter().filter_map(|grant| role_rules(context, grant)).flatten().collect()
        }
    };
    for rule in rules {
        let list = if rule.get("nonResourceURLs").is_some() { &mut others } else { &mut resources };
        if !list.contains(&rule) {
            list.push(rule);
        }
    }
    json!({"resourceRules": resources, "nonResourceRules": others, "incomplete": false})
}
