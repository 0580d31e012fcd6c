//! What is done: operations, and conditions on the destination.

use lateen_api::security::authorization_policy::{Condition, Operation};
use lateen_api::validation::authorization_policy;
use lateen_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use lateen_xds::pb::envoy::config::rbac::v3::permission::{Rule, Set};
use lateen_xds::pb::envoy::config::rbac::v3::{Permission, SourcedMetadata};
use lateen_xds::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use lateen_xds::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};

use super::matching::{header, listed, metadata, network, single, text};
use super::{Asked, Logic, Translation, all, condition, keys};
use crate::proto::any;

/// The beginning of keys that ask for metadata of a filter.
const FILTERS: &str = "experimental.envoy.filters.";

impl Logic for Permission {
    fn any() -> Self {
        rule(Rule::Any(true))
    }
    fn and(all: Vec<Self>) -> Self {
        rule(Rule::AndRules(Set { rules: all }))
    }
    fn or(any: Vec<Self>) -> Self {
        rule(Rule::OrRules(Set { rules: any }))
    }
    fn not(inner: Self) -> Self {
        rule(Rule::NotRule(Box::new(inner)))
    }
}

fn rule(rule: Rule) -> Permission {
    Permission { rule: Some(rule) }
}

/// Values, the values that it must not have, how one is asked for, and whether only HTTP tells.
type Field<'a> = (&'a [String], &'a [String], fn(&str) -> Option<Permission>, bool);

/// An operation, where there is one, with the conditions that are about the destination.
pub(super) fn of(
    operation: Option<&Operation>,
    when: &[Condition],
    translation: &Translation<'_>,
) -> Option<Permission> {
    let mut asked: Vec<Asked<'_, Permission>> = Vec::new();
    let http = !translation.tcp;
    if let Some(o) = operation {
        let lists: [Field<'_>; 4] = [
            (&o.hosts, &o.not_hosts, host, true),
            (&o.methods, &o.not_methods, method, true),
            (&o.paths, &o.not_paths, path, true),
            (&o.ports, &o.not_ports, port, false),
        ];
        for (values, not_values, ask, of_http) in lists {
            let ask = move |value: &str| if of_http && !http { None } else { ask(value) };
            asked.push(Asked::new(values, not_values, ask));
        }
    }
    for one in when {
        match one.key.as_str() {
            "destination.ip" => {
                asked.push(condition(one, |v| network(v).map(|range| rule(Rule::DestinationIp(range)))));
            }
            "destination.port" => asked.push(condition(one, port)),
            "connection.sni" => {
                asked.push(condition(one, |v| Some(rule(Rule::RequestedServerName(text(v))))));
            }
            key if key.starts_with(FILTERS) => asked.push(condition(one, move |v| of_filter(key, v))),
            _ => {}
        }
    }
    all(asked, translation)
}

fn host(value: &str) -> Option<Permission> {
    Some(rule(Rule::Header(header(":authority", value, true))))
}

fn method(value: &str) -> Option<Permission> {
    Some(rule(Rule::Header(header(":method", value, false))))
}

/// A path, which may be a template: `{*}` is one segment, `{**}` any number of them.
fn path(value: &str) -> Option<Permission> {
    // What is no template would cost the proxy its listener.
    authorization_policy::path_template(value).ok()?;
    if value.contains("{*}") || value.contains("{**}") {
        let template = value.replace("{**}", "**").replace("{*}", "*");
        let config = UriTemplateMatchConfig { path_template: template };
        return Some(rule(Rule::UriTemplate(TypedExtensionConfig {
            name: "uri-template".to_owned(),
            typed_config: any(&config),
        })));
    }
    let matcher = PathMatcher { rule: Some(path_matcher::Rule::Path(text(value))) };
    Some(rule(Rule::UrlPath(matcher)))
}

fn port(value: &str) -> Option<Permission> {
    Some(rule(Rule::DestinationPort(u32::from(value.parse::<u16>().ok()?))))
}

/// `experimental.envoy.filters.network.mysql_proxy[db.table]`: a value in brackets is one of a list.
fn of_filter(key: &str, value: &str) -> Option<Permission> {
    let filter = key.strip_prefix("experimental.")?.split('[').next()?;
    let matcher = match value.strip_prefix('[').and_then(|v| v.strip_suffix(']')) {
        Some(inner) => listed(text(inner)),
        None => single(text(value)),
    };
    let source = SourcedMetadata {
        metadata_matcher: Some(metadata(filter, &keys(key), matcher)),
        ..SourcedMetadata::default()
    };
    Some(rule(Rule::SourcedMetadata(source)))
}
