//! Acting as somebody else (`kubectl --as`).
//!
//! Source: Kubernetes, "User impersonation".

use http::HeaderMap;

use super::{Attributes, check};
use crate::context::Context;
use crate::server::User;
use crate::status::{ApiError, Result};

/// The user as whom a request acts: the one who asks, unless headers name another and a role allows that.
///
/// # Errors
/// 403 where nothing allows it, 400 for headers that name no user.
pub fn user(context: &Context, asks: User, headers: &HeaderMap) -> Result<User> {
    let texts = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let (names, mut groups) = (texts("impersonate-user"), texts("impersonate-group"));
    let uid = texts("impersonate-uid").pop().unwrap_or_default();
    let Some(name) = names.into_iter().next().filter(|name| !name.is_empty()) else {
        return match groups.is_empty() && uid.is_empty() {
            true => Ok(asks),
            false => Err(ApiError::bad_request("requested impersonation without a user")),
        };
    };
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let right = match account {
        Some((namespace, account)) => {
            Attributes::of_resource("impersonate", "", "serviceaccounts", namespace, account)
        }
        None => Attributes::of_resource("impersonate", "", "users", "", &name),
    };
    check(context, &asks, &right)?;
    for group in &groups {
        check(context, &asks, &Attributes::of_resource("impersonate", "", "groups", "", group))?;
    }
    if !uid.is_empty() {
        let right = Attributes::of_resource("impersonate", "authentication.k8s.io", "uids", "", &uid);
        check(context, &asks, &right)?;
    }
    if let Some((namespace, _)) = account.filter(|_| groups.is_empty()) {
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    let known = ["system:authenticated", "system:unauthenticated"];
    if name != "system:anonymous" && !groups.iter().any(|group| known.contains(&group.as_str())) {
        groups.push("system:authenticated".to_owned());
    }
    if name == "system:anonymous" && groups.is_empty() {
        groups.push("system:unauthenticated".to_owned());
    }
    Ok(User { name, uid, groups })
}
