//! Role-based access control: filters of HTTP and of connections, and what routes say.

use std::collections::HashMap;
use std::sync::Arc;

use lateen_xds::pb::envoy::config::rbac::v3 as pb;
use lateen_xds::pb::envoy::extensions::filters::http::rbac::v3 as http;
use lateen_xds::pb::envoy::extensions::filters::network::rbac::v3 as network;
use lateen_xds::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;

use super::pb::{core, matcher};
use super::{At, Context, Converted, any, metadata, route, take, values};
use crate::config::{
    RbacAction, RbacFilter, RbacPolicy, RbacRule as Rule, RbacRules, Regex, StringMatcher, uri_template,
};
use crate::upstream::stats::RbacStats;

/// Reads the HTTP filter.
pub(super) fn read(message: &http::Rbac, context: &Context, at: &At<'_>) -> Converted<RbacFilter> {
    use http::Rbac;
    take!(message, at, Rbac { rules, rules_stat_prefix, shadow_rules, shadow_rules_stat_prefix } ignore {
        track_per_rule_stats,
    } refuse { matcher, shadow_matcher });
    Ok(RbacFilter {
        rules: optional(rules, &at.field("rules"))?,
        shadow: optional(shadow_rules, &at.field("shadow_rules"))?,
        shadow_policy_field: format!("{shadow_rules_stat_prefix}shadow_effective_policy_id").into(),
        shadow_result_field: format!("{shadow_rules_stat_prefix}shadow_engine_result").into(),
        namespace: "envoy.filters.http.rbac".into(),
        stat_prefix: rules_stat_prefix.as_str().into(),
        shadow_stat_prefix: shadow_rules_stat_prefix.as_str().into(),
        stats: Arc::new(RbacStats::new(context.store.workers())),
    })
}

/// Reads what a route says instead; none: the filter is off there.
pub(super) fn read_route(
    message: &http::RbacPerRoute,
    context: &Context,
    at: &At<'_>,
) -> Converted<Option<RbacFilter>> {
    use http::RbacPerRoute;
    take!(message, at, RbacPerRoute { rbac });
    rbac.as_ref().map(|filter| read(filter, context, &at.field("rbac"))).transpose()
}

/// Reads the filter of connections.
pub(super) fn read_network(message: &network::Rbac, context: &Context, at: &At<'_>) -> Converted<RbacFilter> {
    use network::Rbac;
    take!(message, at, Rbac { rules, shadow_rules, shadow_rules_stat_prefix, stat_prefix } ignore {
        enforcement_type,
    } refuse { matcher, shadow_matcher, delay_deny });
    if stat_prefix.is_empty() {
        return Err(at.field("stat_prefix").missing());
    }
    Ok(RbacFilter {
        rules: without_headers(optional(rules, &at.field("rules"))?, &at.field("rules"))?,
        shadow: without_headers(
            optional(shadow_rules, &at.field("shadow_rules"))?,
            &at.field("shadow_rules"),
        )?,
        shadow_policy_field: format!("{shadow_rules_stat_prefix}shadow_effective_policy_id").into(),
        shadow_result_field: format!("{shadow_rules_stat_prefix}shadow_engine_result").into(),
        namespace: "envoy.filters.network.rbac".into(),
        stat_prefix: stat_prefix.as_str().into(),
        shadow_stat_prefix: shadow_rules_stat_prefix.as_str().into(),
        stats: Arc::new(RbacStats::new(context.store.workers())),
    })
}

/// Connections have no headers: as Envoy, rules that look at them are refused.
fn without_headers(rules: Option<RbacRules>, at: &At<'_>) -> Converted<Option<RbacRules>> {
    fn looks(rule: &Rule) -> bool {
        match rule {
            Rule::Header(_) => true,
            Rule::All(rules) | Rule::OneOf(rules) => rules.iter().any(looks),
            Rule::Not(rule) => looks(rule),
            _ => false,
        }
    }
    for policy in rules.iter().flat_map(|rules| &rules.policies) {
        if policy.permissions.iter().chain(&policy.principals).any(looks) {
            let at = at.field("policies");
            return Err(at.field(&policy.name).error("looks at headers, which a connection has not"));
        }
    }
    Ok(rules)
}

fn optional(rules: &Option<pb::Rbac>, at: &At<'_>) -> Converted<Option<RbacRules>> {
    rules.as_ref().map(|rules| read_rules(rules, at)).transpose()
}

fn read_rules(message: &pb::Rbac, at: &At<'_>) -> Converted<RbacRules> {
    use pb::Rbac;
    take!(message, at, Rbac { action, policies } refuse { audit_logging_options });
    let action = match pb::rbac::Action::try_from(*action) {
        Ok(pb::rbac::Action::Allow) => RbacAction::Allow,
        Ok(pb::rbac::Action::Deny) => RbacAction::Deny,
        Ok(pb::rbac::Action::Log) => RbacAction::Log,
        Err(_) => return Err(at.field("action").unsupported(action)),
    };
    Ok(RbacRules { action, policies: read_policies(policies, &at.field("policies"))? })
}

fn read_policies(messages: &HashMap<String, pb::Policy>, at: &At<'_>) -> Converted<Vec<RbacPolicy>> {
    let mut policies = Vec::with_capacity(messages.len());
    for (name, message) in messages {
        use pb::Policy;
        let at = at.field(name);
        take!(message, at, Policy { permissions, principals } refuse { condition, checked_condition, cel_config });
        if permissions.is_empty() || principals.is_empty() {
            let which = if permissions.is_empty() { "permissions" } else { "principals" };
            return Err(at.field(which).error("must hold at least one item"));
        }
        let field = at.field("permissions");
        let list = permissions.iter().enumerate();
        let permissions = list.map(|(index, rule)| permission(rule, &field.index(index)));
        let permissions = permissions.collect::<Result<_, _>>()?;
        let field = at.field("principals");
        let list = principals.iter().enumerate();
        let principals = list.map(|(index, rule)| principal(rule, &field.index(index)));
        let principals = principals.collect::<Result<_, _>>()?;
        policies.push(RbacPolicy { name: name.as_str().into(), permissions, principals });
    }
    // As Envoy: the first by name that matches is the one that is told.
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(policies)
}

fn permission(message: &pb::Permission, at: &At<'_>) -> Converted<Rule> {
    use pb::permission::Rule as Kind;
    let set = |set: &pb::permission::Set, at: &At<'_>| -> Converted<Vec<Rule>> {
        let field = at.field("rules");
        let rules = set.rules.iter().enumerate();
        let rules: Vec<_> =
            rules.map(|(index, rule)| permission(rule, &field.index(index))).collect::<Result<_, _>>()?;
        if rules.is_empty() { Err(field.error("must hold at least one item")) } else { Ok(rules) }
    };
    Ok(match message.rule.as_ref().ok_or_else(|| at.field("any").missing())? {
        Kind::AndRules(rules) => Rule::All(set(rules, &at.field("and_rules"))?),
        Kind::OrRules(rules) => Rule::OneOf(set(rules, &at.field("or_rules"))?),
        Kind::Any(always) => any_rule(*always, at)?,
        Kind::NotRule(rule) => Rule::Not(Box::new(permission(rule, &at.field("not_rule"))?)),
        Kind::Header(header) => Rule::Header(route::header_matcher(header, &at.field("header"))?),
        Kind::UrlPath(path) => Rule::Path(url_path(path, &at.field("url_path"))?),
        Kind::UriTemplate(extension) => Rule::Template(template(extension, &at.field("uri_template"))?),
        Kind::DestinationIp(range) => Rule::DestinationIp(values::cidr(range, &at.field("destination_ip"))?),
        Kind::DestinationPort(port) => {
            let port = values::port(*port, &at.field("destination_port"))?;
            Rule::DestinationPort(port..=port)
        }
        Kind::DestinationPortRange(range) => {
            let at = at.field("destination_port_range");
            // The end is excluded, and may be one more than the last port.
            match (u16::try_from(range.start), u16::try_from(i64::from(range.end) - 1)) {
                (Ok(start), Ok(end)) if start <= end => Rule::DestinationPort(start..=end),
                _ => return Err(at.error(format!("{}..{} is no range of ports", range.start, range.end))),
            }
        }
        Kind::Metadata(matcher) => Rule::Metadata(metadata::read(matcher, &at.field("metadata"))?),
        Kind::SourcedMetadata(sourced) => sourced_rule(sourced, &at.field("sourced_metadata"))?,
        Kind::RequestedServerName(name) => {
            Rule::ServerName(route::string_matcher(name, &at.field("requested_server_name"))?)
        }
        Kind::Matcher(extension) => {
            return Err(at.field("matcher").unsupported(format!("the matcher {}", extension.name)));
        }
    })
}

fn principal(message: &pb::Principal, at: &At<'_>) -> Converted<Rule> {
    use pb::principal::Identifier as Kind;
    let set = |set: &pb::principal::Set, at: &At<'_>| -> Converted<Vec<Rule>> {
        let field = at.field("ids");
        let ids = set.ids.iter().enumerate();
        let ids: Vec<_> =
            ids.map(|(index, id)| principal(id, &field.index(index))).collect::<Result<_, _>>()?;
        if ids.is_empty() { Err(field.error("must hold at least one item")) } else { Ok(ids) }
    };
    let range = |range: &core::CidrRange, name: &str| values::cidr(range, &at.field(name));
    Ok(match message.identifier.as_ref().ok_or_else(|| at.field("any").missing())? {
        Kind::AndIds(ids) => Rule::All(set(ids, &at.field("and_ids"))?),
        Kind::OrIds(ids) => Rule::OneOf(set(ids, &at.field("or_ids"))?),
        Kind::Any(always) => any_rule(*always, at)?,
        Kind::NotId(id) => Rule::Not(Box::new(principal(id, &at.field("not_id"))?)),
        Kind::Authenticated(names) => {
            let at = at.field("authenticated");
            let at = at.field("principal_name");
            let name = names.principal_name.as_ref().map(|name| route::string_matcher(name, &at));
            Rule::Authenticated(name.transpose()?)
        }
        Kind::SourceIp(addresses) => Rule::SourceIp(range(addresses, "source_ip")?),
        Kind::DirectRemoteIp(addresses) => Rule::DirectRemoteIp(range(addresses, "direct_remote_ip")?),
        Kind::RemoteIp(addresses) => Rule::RemoteIp(range(addresses, "remote_ip")?),
        Kind::Header(header) => Rule::Header(route::header_matcher(header, &at.field("header"))?),
        Kind::UrlPath(path) => Rule::Path(url_path(path, &at.field("url_path"))?),
        Kind::Metadata(matcher) => Rule::Metadata(metadata::read(matcher, &at.field("metadata"))?),
        Kind::SourcedMetadata(sourced) => sourced_rule(sourced, &at.field("sourced_metadata"))?,
        Kind::FilterState(state) => filter_state(state, &at.field("filter_state"))?,
        Kind::Custom(extension) => {
            return Err(at.field("custom").unsupported(format!("the principal {}", extension.name)));
        }
    })
}

fn any_rule(always: bool, at: &At<'_>) -> Converted<Rule> {
    if always { Ok(Rule::Any) } else { Err(at.field("any").error("can only be true")) }
}

fn url_path(message: &matcher::PathMatcher, at: &At<'_>) -> Converted<StringMatcher> {
    use matcher::path_matcher::Rule as Kind;
    let field = at.field("path");
    match &message.rule {
        Some(Kind::Path(path)) => route::string_matcher(path, &field),
        None => Err(field.missing()),
    }
}

/// Compiles a path template.
pub(super) fn template(extension: &core::TypedExtensionConfig, at: &At<'_>) -> Converted<Regex> {
    let at = at.field("typed_config");
    let config = extension.typed_config.as_ref().ok_or_else(|| at.missing())?;
    let config: UriTemplateMatchConfig = any::expect(config, &at)?;
    take!(&config, at, UriTemplateMatchConfig { path_template });
    uri_template::compile(path_template).map_err(|reason| at.field("path_template").error(reason))
}

fn sourced_rule(message: &pb::SourcedMetadata, at: &At<'_>) -> Converted<Rule> {
    use pb::SourcedMetadata;
    take!(message, at, SourcedMetadata { metadata_matcher, metadata_source });
    if *metadata_source != pb::MetadataSource::Dynamic as i32 {
        return Err(at.field("metadata_source").unsupported("metadata of the route"));
    }
    let field = at.field("metadata_matcher");
    let matcher = metadata_matcher.as_ref().ok_or_else(|| field.missing())?;
    Ok(Rule::Metadata(metadata::read(matcher, &field)?))
}

fn filter_state(message: &matcher::FilterStateMatcher, at: &At<'_>) -> Converted<Rule> {
    use matcher::FilterStateMatcher;
    use matcher::filter_state_matcher::Matcher as Kind;
    take!(message, at, FilterStateMatcher { key, matcher });
    if key != "io.istio.peer_principal" {
        return Err(at.field("key").unsupported(format!("the key `{key}`")));
    }
    match matcher {
        Some(Kind::StringMatch(name)) => {
            Ok(Rule::PeerPrincipal(route::string_matcher(name, &at.field("string_match"))?))
        }
        Some(Kind::AddressMatch(_)) => Err(at.field("address_match").unsupported("an address")),
        None => Err(at.field("string_match").missing()),
    }
}
