//! AuthorizationPolicy -> Envoy's RBAC filters.

pub(super) mod matching;
mod permission;
mod principal;

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::security::authorization_policy::{Condition, Operation, Rule, Source};
use lateen_api::validation::authorization_policy;
use lateen_mesh::{AuthorizationPolicy, AuthorizationRules, Settings};
use lateen_xds::pb::envoy::config::rbac::v3 as pb;
use lateen_xds::pb::envoy::config::rbac::v3::rbac::Action;
use lateen_xds::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpFilterType;
use lateen_xds::pb::envoy::extensions::filters::network::rbac::v3::Rbac as TcpFilterType;
use prost::{Message, Name};

use super::{Guards, http};
use crate::listener::http::network_filter;
use crate::ordered::{HttpRbac, Rbac, TcpRbac};

/// The names under which the filters stand.
pub(super) const HTTP: &str = "envoy.filters.http.rbac";
/// See [`HTTP`].
pub(super) const TCP: &str = "envoy.filters.network.rbac";

/// Adds the filters for AUDIT, DENY and ALLOW.
pub(super) fn add(guards: &mut Guards, policies: &AuthorizationRules, settings: &Settings) {
    for (list, action, dry) in [
        (&policies.audit, Action::Log, ""),
        (&policies.deny, Action::Deny, "istio_dry_run_deny_"),
        (&policies.allow, Action::Allow, "istio_dry_run_allow_"),
    ] {
        if list.is_empty() {
            continue;
        }
        let one = |tcp: bool| {
            let of = |dry_run: bool| {
                let mut list = list.iter().filter(|p| p.dry_run == dry_run).peekable();
                list.peek()?;
                Some(rules(list, action, &Translation { settings, tcp, widens: action != Action::Allow }, ""))
            };
            (of(false), of(true))
        };
        let (rules, shadow) = one(false);
        guards.http.push(http_filter(rules, shadow, dry));
        let (rules, shadow) = one(true);
        guards.tcp.push(tcp_filter(rules, shadow, dry));
    }
}

pub(super) fn http_filter(
    rules: Option<Rbac>,
    shadow: Option<Rbac>,
    shadow_prefix: &str,
) -> lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter {
    let config = HttpRbac {
        shadow_rules_stat_prefix: if shadow.is_some() { shadow_prefix.to_owned() } else { String::new() },
        rules,
        shadow_rules: shadow,
    };
    http(HTTP, packed::<HttpFilterType>(&config))
}

pub(super) fn tcp_filter(
    rules: Option<Rbac>,
    shadow: Option<Rbac>,
    shadow_prefix: &str,
) -> lateen_xds::pb::envoy::config::listener::v3::Filter {
    let config = TcpRbac {
        shadow_rules_stat_prefix: if shadow.is_some() { shadow_prefix.to_owned() } else { String::new() },
        rules,
        shadow_rules: shadow,
        stat_prefix: "tcp.".to_owned(),
    };
    network_filter(TCP, Some(packed::<TcpFilterType>(&config)))
}

/// Packs a message whose wire form is that of another type.
fn packed<T: Name>(message: &impl Message) -> lateen_xds::pb::google::protobuf::Any {
    lateen_xds::pb::google::protobuf::Any {
        type_url: format!("type.googleapis.com/{}", T::full_name()),
        value: message.encode_to_vec(),
    }
}

/// How rules are translated.
pub(super) struct Translation<'a> {
    pub settings: &'a Settings,
    /// For connections that are no HTTP, where nothing is known of requests.
    pub tcp: bool,
    /// Whether a rule that asks for what is not known, or cannot be asked for, applies without it (DENY, AUDIT, CUSTOM), or
    /// not at all (ALLOW): either way less is let pass.
    ///
    /// Source: Istio, "Authorization policy", HTTP fields of policies for TCP.
    pub widens: bool,
}

/// The rules of some policies under one action. `prefix` stands before their names.
pub(super) fn rules<'a>(
    policies: impl Iterator<Item = &'a Arc<AuthorizationPolicy>>,
    action: Action,
    translation: &Translation<'_>,
    prefix: &str,
) -> Rbac {
    let mut all = BTreeMap::new();
    for policy in policies {
        let name = |at: usize| {
            format!("{prefix}ns[{}]-policy[{}]-rule[{at}]", policy.meta.namespace, policy.meta.name)
        };
        if policy.rules.is_empty() {
            all.insert(name(0), never());
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            let one = translated(rule, &policy.meta.namespace, translation);
            all.extend(one.map(|rule| (name(at), rule)));
        }
    }
    Rbac { action: action as i32, policies: all }
}

/// A policy that nothing matches: a policy without rules.
fn never() -> pb::Policy {
    pb::Policy {
        permissions: vec![pb::Permission::not(pb::Permission::any())],
        principals: vec![pb::Principal::not(pb::Principal::any())],
        ..pb::Policy::default()
    }
}

/// Whether everything that a rule says can be asked for. Validation refuses what cannot; it may have been away.
fn is_whole(rule: &Rule) -> bool {
    let sources = rule.from.iter().map(|from| from.source.as_ref());
    let operations = rule.to.iter().map(|to| to.operation.as_ref());
    let asks = |when: &Condition| {
        authorization_policy::is_attribute(&when.key)
            && !(when.values.is_empty() && when.not_values.is_empty())
    };
    sources.into_iter().all(|source| source.is_some_and(|s| *s != Source::default()))
        && operations.into_iter().all(|operation| operation.is_some_and(|o| *o != Operation::default()))
        && rule.when.iter().all(asks)
}

/// `None` for a rule that cannot apply.
fn translated(rule: &Rule, namespace: &str, translation: &Translation<'_>) -> Option<pb::Policy> {
    if !translation.widens && !is_whole(rule) {
        return None;
    }
    let operations = rule.to.iter().map(|to| to.operation.as_ref());
    let permissions: Option<Vec<_>> = match rule.to.is_empty() {
        true => permission::of(None, &rule.when, translation).map(|one| vec![one]),
        false => operations.map(|o| permission::of(o, &rule.when, translation)).collect(),
    };
    let sources = rule.from.iter().map(|from| from.source.as_ref());
    let principals: Option<Vec<_>> = match rule.from.is_empty() {
        true => principal::of(None, &rule.when, namespace, translation).map(|one| vec![one]),
        false => sources.map(|s| principal::of(s, &rule.when, namespace, translation)).collect(),
    };
    Some(pb::Policy { permissions: permissions?, principals: principals?, ..pb::Policy::default() })
}

/// Permissions and principals are put together in the same way.
trait Logic: Sized {
    fn any() -> Self;
    fn and(all: Vec<Self>) -> Self;
    fn or(any: Vec<Self>) -> Self;
    fn not(inner: Self) -> Self;
}

/// How a value is asked for; `None` where the attribute is not known.
type Ask<'a, T> = Box<dyn Fn(&str) -> Option<T> + 'a>;

/// What is asked of one attribute: one of the values, and none of the others.
struct Asked<'a, T> {
    values: &'a [String],
    not_values: &'a [String],
    ask: Ask<'a, T>,
}

impl<'a, T> Asked<'a, T> {
    fn new(values: &'a [String], not_values: &'a [String], ask: impl Fn(&str) -> Option<T> + 'a) -> Self {
        Asked { values, not_values, ask: Box::new(ask) }
    }
}

/// Everything that is asked at once; `None` when it asks for what is not known and may not be widened.
fn all<T: Logic>(asked: Vec<Asked<'_, T>>, translation: &Translation<'_>) -> Option<T> {
    let mut clauses = Vec::new();
    for one in asked {
        for (values, negated) in [(one.values, false), (one.not_values, true)] {
            let mut known = Vec::with_capacity(values.len());
            for value in values {
                match (one.ask)(value) {
                    Some(matcher) => known.push(matcher),
                    None if translation.widens => {}
                    None => return None,
                }
            }
            if !known.is_empty() {
                let any = T::or(known);
                clauses.push(if negated { T::not(any) } else { any });
            }
        }
    }
    if clauses.is_empty() {
        clauses.push(T::any());
    }
    Some(T::and(clauses))
}

/// The name in brackets of `request.headers[name]`, or the names of `request.auth.claims[a][b]`.
fn keys(key: &str) -> Vec<&str> {
    let start = key.find('[').map_or(key.len(), |at| at + 1);
    let inner = key[start..].strip_suffix(']').unwrap_or(&key[start..]);
    if inner.is_empty() { Vec::new() } else { inner.split("][").collect() }
}

fn condition<'a, T>(one: &'a Condition, ask: impl Fn(&str) -> Option<T> + 'a) -> Asked<'a, T> {
    Asked::new(&one.values, &one.not_values, ask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_brackets_are_found() {
        assert_eq!(keys("request.headers[X-A]"), ["X-A"]);
        assert_eq!(keys("request.auth.claims[a][b.c]"), ["a", "b.c"]);
        assert!(keys("source.ip").is_empty());
    }
}
