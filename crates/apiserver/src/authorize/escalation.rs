//! Nobody may give what they do not have: writes of roles and bindings.
//!
//! Source: Kubernetes, "Privilege escalation prevention and bootstrapping".

use serde_json::Value;

use super::{Attributes, GROUP, Grant, decide, denied, grants, role_rules, rules};
use crate::context::Context;
use crate::object;
use crate::server::User;
use crate::status::Result;
use crate::verbs::Call;

/// Checks a role or binding that is written.
///
/// # Errors
/// 403 where it gives more than the writer has, unless a role allows `escalate` or `bind`.
pub fn check(call: &Call, old: Option<&Value>, new: &Value) -> Result<()> {
    if &*call.resource().group != GROUP || call.user.groups.iter().any(|group| group == "system:masters") {
        return Ok(());
    }
    let (context, namespace) = (&*call.context, call.namespace.as_str());
    let plural = &*call.resource().plural;
    let same = |field: &str| old.is_some_and(|old| old.get(field) == new.get(field));
    let (verb, wanted, given) = match plural {
        "roles" | "clusterroles" if same("rules") && same("aggregationRule") => return Ok(()),
        "roles" | "clusterroles" => {
            ("escalate", (plural, object::name(new)), Some(rules::of_role(context, new)))
        }
        _ if same("subjects") && same("roleRef") => return Ok(()),
        _ => {
            let role = object::text(new, &["roleRef", "name"]);
            let kind = object::text(new, &["roleRef", "kind"]);
            let grant = Grant::to(namespace, kind, role);
            let plural = if kind == "Role" { "roles" } else { "clusterroles" };
            ("bind", (plural, role), role_rules(context, &grant))
        }
    };
    let right = Attributes::of_resource(verb, GROUP, wanted.0, namespace, wanted.1);
    if decide(context, &call.user, &right).allowed {
        return Ok(());
    }
    let own = own_rules(context, &call.user, namespace);
    let given = given.unwrap_or_default();
    let missing = given.iter().flat_map(rules::each).find(|one| !covered(&own, one));
    match missing {
        None => Ok(()),
        Some(missing) => {
            let attributes = Attributes::of_resource("", GROUP, plural, namespace, object::name(new));
            let what = match &missing.path {
                Some(path) => format!("{} {path}", missing.verb),
                None => format!("{} {} of \"{}\"", missing.verb, missing.whole_resource(), missing.group),
            };
            let message = format!(
                "{plural}.{GROUP} \"{}\" is forbidden: user \"{}\" (groups={:?}) is attempting to grant RBAC \
                 permissions not currently held: {what}",
                object::name(new),
                call.user.name,
                call.user.groups,
            );
            Err(denied(message, &attributes))
        }
    }
}

fn own_rules(context: &Context, user: &User, namespace: &str) -> Vec<Value> {
    let all = grants(context, user, namespace);
    all.iter().filter_map(|grant| role_rules(context, grant)).flatten().collect()
}

/// Whether rules hold one thing that another rule gives, whose stars are only held by stars.
fn covered(own: &[Value], wanted: &Attributes) -> bool {
    own.iter().any(|rule| rules::allows(rule, wanted))
}
