//! `lateen authz check POD`: the policies that a proxy enforces.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use super::super::resources::{Session, block_on};
use super::dump::{resources, text};
use super::table::table;
use crate::args::{Authz, PodVerb};

const HEAD: [&str; 3] = ["ACTION", "AuthorizationPolicy", "RULES"];

/// Shows the policies that a proxy enforces.
pub fn run(arguments: &Authz) -> Result<()> {
    let Authz::Check(arguments) = arguments;
    print!("{}", block_on(check(arguments))?);
    Ok(())
}

async fn check(arguments: &PodVerb) -> Result<String> {
    let session = Session::open(&arguments.connection).await?;
    let dump = super::admin(&session, &arguments.pod, "/config_dump").await?;
    let rows = rows(&dump);
    Ok(match rows.is_empty() {
        true => "No AuthorizationPolicy applies to the pod: everything is let pass.\n".to_owned(),
        false => table(&HEAD, &rows),
    })
}

/// Policies with the number of their rules, by action; the same policy stands in many filters.
fn rows(dump: &Value) -> Vec<Vec<String>> {
    let mut found: BTreeMap<(String, String), std::collections::BTreeSet<String>> = BTreeMap::new();
    for listener in resources(dump, "ListenersConfigDump", "listener") {
        walk(listener, &mut found);
    }
    let row = |((action, policy), rules): ((String, String), std::collections::BTreeSet<String>)| {
        vec![action, policy, rules.len().to_string()]
    };
    found.into_iter().map(row).collect()
}

fn walk(value: &Value, found: &mut BTreeMap<(String, String), std::collections::BTreeSet<String>>) {
    match value {
        Value::Array(list) => list.iter().for_each(|v| walk(v, found)),
        Value::Object(fields) => {
            if text(value, "@type").ends_with(".rbac.v3.RBAC") {
                for (field, shadow) in [("rules", false), ("shadow_rules", true)] {
                    if let Some(rules) = fields.get(field) {
                        take(rules, shadow, found);
                    }
                }
                return;
            }
            fields.values().for_each(|v| walk(v, found));
        }
        _ => {}
    }
}

fn take(
    rules: &Value,
    shadow: bool,
    found: &mut BTreeMap<(String, String), std::collections::BTreeSet<String>>,
) {
    let action = match text(rules, "action") {
        "" => "ALLOW",
        other => other,
    };
    let Some(policies) = rules.get("policies").and_then(Value::as_object) else { return };
    for name in policies.keys() {
        let custom = name.starts_with("istio-ext-authz");
        let action = match (custom, shadow, action) {
            (true, ..) => "CUSTOM".to_owned(),
            (false, true, action) => format!("{action} (dry run)"),
            (false, false, "LOG") => "AUDIT".to_owned(),
            (false, false, action) => action.to_owned(),
        };
        let Some((policy, rule)) = named(name) else { continue };
        found.entry((action, policy)).or_default().insert(rule);
    }
}

/// `NAME.NAMESPACE` and the rule of `ns[NAMESPACE]-policy[NAME]-rule[N]`.
fn named(name: &str) -> Option<(String, String)> {
    let inner = |key: &str| {
        let rest = name.split_once(&format!("{key}["))?.1;
        Some(rest.split_once(']')?.0)
    };
    Some((format!("{}.{}", inner("policy")?, inner("ns")?), inner("rule")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_are_counted_once_however_often_they_stand_there() {
        let rbac = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"ns[a]-policy[b]-rule[0]": {}, "ns[a]-policy[b]-rule[1]": {}}}});
        let dump = json!({"configs": [{"@type": "x.ListenersConfigDump", "dynamic_listeners": [
            {"active_state": {"listener": {"filters": [rbac.clone(), rbac]}}}]}]});
        assert_eq!(rows(&dump), [["DENY", "b.a", "2"]]);
    }
}
