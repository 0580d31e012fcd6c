//! Rules of roles.

use serde_json::Value;

use super::{Attributes, GROUP};
use crate::context::Context;
use crate::object;
use crate::selector::Labels;

/// The rules of a role: its own, or those of the roles that it gathers (`aggregationRule`).
pub fn of_role(context: &Context, role: &Value) -> Vec<Value> {
    let selectors = object::list(role, &["aggregationRule", "clusterRoleSelectors"]);
    if selectors.is_empty() {
        return object::list(role, &["rules"]).to_vec();
    }
    let selectors: Vec<Labels> = selectors.iter().map(Labels::from_object).collect();
    let gathered = |other: &Value| {
        let labels = object::at(other, &["metadata", "labels"]);
        let label = |key: &str| labels?.get(key)?.as_str();
        object::name(other) != object::name(role) && selectors.iter().any(|s| s.matches(label))
    };
    let roles = context.all(&format!("{GROUP}/clusterroles"));
    roles.iter().filter(|role| gathered(role)).flat_map(|r| object::list(r, &["rules"]).to_vec()).collect()
}

fn texts<'a>(rule: &'a Value, field: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    object::list(rule, &[field]).iter().filter_map(Value::as_str)
}

fn has(rule: &Value, field: &str, wanted: &str) -> bool {
    texts(rule, field).any(|one| one == "*" || one == wanted)
}

/// Whether a rule allows something.
pub fn allows(rule: &Value, wanted: &Attributes) -> bool {
    if !has(rule, "verbs", &wanted.verb) {
        return false;
    }
    if let Some(path) = &wanted.path {
        return texts(rule, "nonResourceURLs").any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => pattern == path,
        });
    }
    has(rule, "apiGroups", &wanted.group)
        && texts(rule, "resources").any(|pattern| is_resource(pattern, wanted))
        && (texts(rule, "resourceNames").next().is_none()
            || texts(rule, "resourceNames").any(|name| name == wanted.name))
}

/// Whether a rule's `pods`, `pods/log`, `*/scale` or `*` means what is wanted.
fn is_resource(pattern: &str, wanted: &Attributes) -> bool {
    match pattern.split_once('/') {
        _ if pattern == "*" => true,
        Some(("*", subresource)) => subresource == wanted.subresource,
        Some((resource, subresource)) => (resource, subresource) == (&wanted.resource, &wanted.subresource),
        None => wanted.subresource.is_empty() && pattern == wanted.resource,
    }
}

/// All that a rule allows, one thing at a time.
pub fn each(rule: &Value) -> Vec<Attributes> {
    let mut all = Vec::new();
    for verb in texts(rule, "verbs") {
        all.extend(texts(rule, "nonResourceURLs").map(|path| Attributes {
            verb: verb.to_owned(),
            path: Some(path.to_owned()),
            ..Attributes::default()
        }));
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                let one = |name: &str| {
                    Attributes::of_resource(verb, group, resource, "", name).with_subresource(subresource)
                };
                let names: Vec<&str> = texts(rule, "resourceNames").collect();
                match names.is_empty() {
                    true => all.push(one("")),
                    false => all.extend(names.into_iter().map(one)),
                }
            }
        }
    }
    all
}
