//! Rules of AuthorizationPolicy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common::port;
use super::{host, selection};
use crate::security::authorization_policy::{
    Action, ActionDetail, AuthorizationPolicySpec, Condition, Operation, Rule, Source,
};
use crate::wire::report::Report;

/// The annotation that makes a policy only report what it would do.
const DRY_RUN: &str = "istio.io/dry-run";

/// Attributes without a name in brackets.
const ATTRIBUTES: &[&str] = &[
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
];

/// Attributes with a name in brackets: `request.headers[User-Agent]`.
const KEYED: &[&str] = &["request.headers", "request.auth.claims", "experimental.envoy.filters."];

/// Reports every error of the spec.
pub fn validate(spec: &AuthorizationPolicySpec, metadata: &ObjectMeta, report: &mut Report) {
    selection::validate(report, spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
    let action = spec.action.unwrap_or_default();
    dry_run(metadata, action, report);
    let provider = spec.action_detail.as_ref().map(|ActionDetail::Provider(provider)| provider.name.as_str());
    match (action, provider) {
        (Action::Custom, None | Some("")) => {
            report.field("provider", |r| r.error_at("name", "must not be empty with action CUSTOM"));
        }
        (Action::Custom, Some(_)) | (_, None) => {}
        (other, Some(_)) => {
            report.error_at("provider", format!("must not be set with action {other}, only with CUSTOM"))
        }
    }
    if matches!(action, Action::Deny | Action::Custom) && spec.rules.is_empty() {
        report.error_with_at(
            "rules",
            format!("{action} action without `rules` is meaningless as it will never be triggered"),
            "add an empty rule `{}` if you want it be triggered for every request",
        );
    }
    report.each("rules", &spec.rules, |r, rule| {
        self::rule(r, rule);
        if action == Action::Custom {
            custom(r, rule);
        }
        if action == Action::Deny {
            warn_of_tcp(r, rule);
        }
    });
}

fn dry_run(metadata: &ObjectMeta, action: Action, report: &mut Report) {
    let annotation = metadata.annotations.as_ref().and_then(|a| a.get(DRY_RUN));
    let Some(value) = annotation else { return };
    if !matches!(action, Action::Allow | Action::Deny) {
        report.error(format!("the annotation {DRY_RUN} supports only action ALLOW/DENY, not {action}"));
    }
    if !matches!(
        value.as_str(),
        "1" | "t" | "T" | "true" | "TRUE" | "True" | "0" | "f" | "F" | "false" | "FALSE" | "False"
    ) {
        report.error(format!("the annotation {DRY_RUN} must be true or false, not {value:?}"));
    }
}

fn rule(report: &mut Report, rule: &Rule) {
    report.each("from", &rule.from, |r, from| match &from.source {
        None => r.error_at("source", "source must be set"),
        Some(source) => r.field("source", |r| self::source(r, source)),
    });
    report.each("to", &rule.to, |r, to| match &to.operation {
        None => r.error_at("operation", "operation must be set"),
        Some(operation) => r.field("operation", |r| self::operation(r, operation)),
    });
    report.each("when", &rule.when, condition);
}

fn no_empty_values(report: &mut Report, name: &str, values: &[String]) {
    report.each(name, values, |r, value| {
        if value.is_empty() {
            r.error("must not be empty");
        }
    });
}

fn source(report: &mut Report, source: &Source) {
    if *source == Source::default() {
        report.error("source must not be empty");
    }
    for (name, blocks) in [
        ("ipBlocks", &source.ip_blocks),
        ("notIpBlocks", &source.not_ip_blocks),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
    ] {
        report.each(name, blocks, |r, block| r.check(host::subnet(block)));
    }
    for (name, values) in [
        ("principals", &source.principals),
        ("notPrincipals", &source.not_principals),
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
        ("namespaces", &source.namespaces),
        ("notNamespaces", &source.not_namespaces),
        ("serviceAccounts", &source.service_accounts),
        ("notServiceAccounts", &source.not_service_accounts),
    ] {
        no_empty_values(report, name, values);
    }
    let accounts = !source.service_accounts.is_empty() || !source.not_service_accounts.is_empty();
    let others = [&source.principals, &source.not_principals, &source.namespaces, &source.not_namespaces];
    if accounts && others.iter().any(|list| !list.is_empty()) {
        report.error("serviceAccounts cannot be combined with principals or namespaces");
    }
    for (name, values) in
        [("serviceAccounts", &source.service_accounts), ("notServiceAccounts", &source.not_service_accounts)]
    {
        report.each(name, values, |r, value| {
            if value.matches('/').count() > 1 || value.contains('*') {
                r.error(format!("{value:?} must be namespace/name or name, without wildcards"));
            }
        });
    }
}

fn operation(report: &mut Report, operation: &Operation) {
    if *operation == Operation::default() {
        report.error("operation must not be empty");
    }
    for (name, ports) in [("ports", &operation.ports), ("notPorts", &operation.not_ports)] {
        report.each(name, ports, |r, value| match value.parse() {
            Ok(number) => r.check(port(number)),
            Err(_) => r.error(format!("{value:?} is no port number")),
        });
    }
    for (name, values) in [
        ("hosts", &operation.hosts),
        ("notHosts", &operation.not_hosts),
        ("methods", &operation.methods),
        ("notMethods", &operation.not_methods),
        ("paths", &operation.paths),
        ("notPaths", &operation.not_paths),
    ] {
        no_empty_values(report, name, values);
    }
    for (name, paths) in [("paths", &operation.paths), ("notPaths", &operation.not_paths)] {
        report.each(name, paths, |r, path| r.check(path_template(path)));
    }
}

/// `{*}` stands for one segment, `{**}` for any number of them; each must be a segment of its own and `{**}` comes
/// last of the operators.
///
/// # Errors
/// It is no such template; in words.
pub fn path_template(path: &str) -> Result<(), String> {
    if !path.contains(['{', '}']) {
        return Ok(());
    }
    let mut rest_taken = false;
    for segment in path.split('/') {
        match segment {
            "{*}" | "{**}" if rest_taken => {
                return Err(format!("invalid path {path:?}: {{**}} is not the last operator"));
            }
            "{**}" => rest_taken = true,
            "{*}" => {}
            segment if segment.contains(['{', '}', '*']) => {
                return Err(format!(
                    "invalid path {path:?}: segment {segment:?} must be {{*}} or {{**}} alone"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a condition can be about it.
pub fn is_attribute(key: &str) -> bool {
    let named = |rest: &str| rest.contains('[') && rest.ends_with(']');
    ATTRIBUTES.contains(&key) || KEYED.iter().any(|prefix| key.strip_prefix(prefix).is_some_and(named))
}

fn condition(report: &mut Report, condition: &Condition) {
    let key = condition.key.as_str();
    if key.is_empty() {
        return report.error_at("key", "key must not be empty");
    }
    if !is_attribute(key) {
        report.error_at("key", format!("unknown attribute: {key:?}"));
    }
    if condition.values.is_empty() && condition.not_values.is_empty() {
        report.error(format!("at least one of `values` or `notValues` must be set for key {key}"));
    }
    for (name, values) in [("values", &condition.values), ("notValues", &condition.not_values)] {
        report.each(name, values, |r, value| match key {
            "source.ip" | "remote.ip" | "destination.ip" => r.check(host::subnet(value)),
            "destination.port" => match value.parse() {
                Ok(number) => r.check(port(number)),
                Err(_) => r.error(format!("{value:?} is no port number")),
            },
            _ if value.is_empty() => r.error("must not be empty"),
            _ => {}
        });
    }
}

/// What an external authorizer's rules may not depend on.
fn custom(report: &mut Report, rule: &Rule) {
    report.each("from", &rule.from, |r, from| {
        let Some(source) = &from.source else { return };
        r.field("source", |r| {
            for (name, values) in [
                ("namespaces", &source.namespaces),
                ("notNamespaces", &source.not_namespaces),
                ("principals", &source.principals),
                ("notPrincipals", &source.not_principals),
                ("requestPrincipals", &source.request_principals),
                ("notRequestPrincipals", &source.not_request_principals),
            ] {
                if !values.is_empty() {
                    r.error_at(name, format!("{name} is not supported with CUSTOM action"));
                }
            }
        });
    });
    report.each("when", &rule.when, |r, when| {
        let key = when.key.as_str();
        if matches!(key, "source.namespace" | "source.principal") || key.starts_with("request.auth.") {
            r.error_at("key", format!("{key} is not supported with CUSTOM action"));
        }
    });
}

/// A DENY rule of HTTP attributes alone denies every TCP connection, as those attributes are unknown there.
fn warn_of_tcp(report: &mut Report, rule: &Rule) {
    let sources = rule.from.iter().filter_map(|from| from.source.as_ref());
    let tcp_from = sources.clone().any(|s| {
        let http_only = Source {
            request_principals: s.request_principals.clone(),
            not_request_principals: s.not_request_principals.clone(),
            ..Source::default()
        };
        *s != http_only
    });
    let tcp_to = rule
        .to
        .iter()
        .filter_map(|to| to.operation.as_ref())
        .any(|operation| !operation.ports.is_empty() || !operation.not_ports.is_empty());
    if (!rule.from.is_empty() && rule.to.is_empty() && !tcp_from) || (!rule.to.is_empty() && !tcp_to) {
        report.warn("will deny all traffic to TCP ports under its scope, as it uses HTTP attributes only; name the ports");
    }
}
