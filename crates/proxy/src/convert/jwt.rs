//! JWT authentication: providers, requirements, rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;

use super::pb::core;
use super::{At, Context, Converted, route, take, values};
use crate::config::{
    ClaimHeader, JwtFilter, JwtOverride, JwtProvider as Provider, JwtRequirement as Requirement, JwtRule,
    KeySource, KeySpec,
};
use crate::jose::KeySet;
use crate::upstream::stats::JwtStats;

/// How often fetched keys are fetched anew where nothing else is said; Envoy's default.
const CACHE: Duration = Duration::from_secs(600);

/// Reads the filter.
pub(super) fn read(message: &pb::JwtAuthentication, context: &Context, at: &At<'_>) -> Converted<JwtFilter> {
    use pb::JwtAuthentication;
    take!(message, at, JwtAuthentication {
        providers, rules, bypass_cors_preflight, requirement_map, strip_failure_response, stat_prefix,
    } refuse { filter_state_rules });
    // In order, so that the first provider of an issuer is always the same.
    let mut names: Vec<&String> = providers.keys().collect();
    names.sort();
    let index: HashMap<&str, usize> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let field = at.field("providers");
    let read = names.iter().map(|name| provider(name, &providers[*name], context, &field.field(name)));
    let read = read.collect::<Converted<Vec<_>>>()?;
    let field = at.field("requirement_map");
    let mut named: HashMap<Box<str>, Requirement> = HashMap::new();
    for (name, message) in requirement_map {
        named.insert(name.as_str().into(), requirement(message, &index, &[], &field.field(name))?);
    }
    let field = at.field("rules");
    let rules = rules.iter().enumerate();
    let rules = rules.map(|(at, message)| rule(message, &index, &named, &field.index(at)));
    Ok(JwtFilter {
        providers: read,
        rules: rules.collect::<Result<_, _>>()?,
        named,
        bypass_preflight: *bypass_cors_preflight,
        quiet: *strip_failure_response,
        stat_prefix: stat_prefix.as_str().into(),
        stats: Arc::new(JwtStats::new(context.store.workers())),
    })
}

/// Reads what a route says.
pub(super) fn read_route(message: &pb::PerRouteConfig, at: &At<'_>) -> Converted<JwtOverride> {
    use pb::per_route_config::RequirementSpecifier;
    match &message.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Ok(JwtOverride::Disabled),
        Some(RequirementSpecifier::Disabled(false)) => Err(at.field("disabled").error("can only be true")),
        Some(RequirementSpecifier::RequirementName(name)) if !name.is_empty() => {
            Ok(JwtOverride::Named(name.as_str().into()))
        }
        _ => Err(at.field("requirement_name").missing()),
    }
}

fn rule(
    message: &pb::RequirementRule,
    providers: &HashMap<&str, usize>,
    named: &HashMap<Box<str>, Requirement>,
    at: &At<'_>,
) -> Converted<JwtRule> {
    use pb::requirement_rule::RequirementType;
    let field = at.field("match");
    let matches = route::route_match(message.r#match.as_ref().ok_or_else(|| field.missing())?, &field)?;
    let requires = match &message.requirement_type {
        None => Requirement::None,
        Some(RequirementType::Requires(message)) => {
            requirement(message, providers, &[], &at.field("requires"))?
        }
        Some(RequirementType::RequirementName(name)) => {
            let unknown =
                || at.field("requirement_name").error(format!("`{name}` is not in requirement_map"));
            named.get(name.as_str()).ok_or_else(unknown)?.clone()
        }
    };
    Ok(JwtRule { matches, requires })
}

/// Reads a requirement. `beside`: the providers that stand beside it in a list of alternatives, whose tokens
/// `allow_missing` and `allow_missing_or_failed` look at.
fn requirement(
    message: &pb::JwtRequirement,
    providers: &HashMap<&str, usize>,
    beside: &[usize],
    at: &At<'_>,
) -> Converted<Requirement> {
    use pb::ProviderWithAudiences;
    use pb::jwt_requirement::RequiresType;
    let find = |name: &str, at: &At<'_>| {
        let index = providers.get(name).copied();
        index.ok_or_else(|| at.error(format!("`{name}` is none of the providers")))
    };
    Ok(match &message.requires_type {
        None => Requirement::None,
        Some(RequiresType::ProviderName(name)) => {
            Requirement::Provider(find(name, &at.field("provider_name"))?, None)
        }
        Some(RequiresType::ProviderAndAudiences(message)) => {
            let at = at.field("provider_and_audiences");
            take!(message, at, ProviderWithAudiences { provider_name, audiences });
            let index = find(provider_name, &at.field("provider_name"))?;
            let audiences: Vec<Box<str>> = audiences.iter().map(|name| name.as_str().into()).collect();
            Requirement::Provider(index, Some(audiences).filter(|all| !all.is_empty()))
        }
        Some(RequiresType::RequiresAny(list)) => {
            any(&list.requirements, providers, &at.field("requires_any"))?
        }
        Some(RequiresType::RequiresAll(list)) => {
            let field = at.field("requires_all");
            let all = list.requirements.iter().enumerate();
            let all = all.map(|(index, one)| requirement(one, providers, &[], &field.index(index)));
            Requirement::All(all.collect::<Result<_, _>>()?)
        }
        Some(RequiresType::AllowMissing(_)) => Requirement::AllowMissing(beside.to_vec()),
        Some(RequiresType::AllowMissingOrFailed(_)) => Requirement::AllowFailed(beside.to_vec()),
        Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
            let reason = "is not supported: claims that nobody checked would pass for true";
            return Err(at.field("extract_only_without_validation").error(reason));
        }
    })
}

/// Reads alternatives. Those that let requests without a good token pass come last, and only the widest counts.
fn any(list: &[pb::JwtRequirement], providers: &HashMap<&str, usize>, at: &At<'_>) -> Converted<Requirement> {
    use pb::jwt_requirement::RequiresType;
    let (mut all, mut beside, mut bypass) = (Vec::new(), Vec::new(), None);
    let field = at.field("requirements");
    for (index, message) in list.iter().enumerate() {
        match &message.requires_type {
            Some(RequiresType::AllowMissing(_)) if bypass.is_some() => {}
            Some(RequiresType::AllowMissing(_) | RequiresType::AllowMissingOrFailed(_)) => {
                bypass = Some(message);
            }
            _ => {
                let one = requirement(message, providers, &[], &field.index(index))?;
                if let Requirement::Provider(index, _) = one {
                    beside.push(index);
                }
                all.push(one);
            }
        }
    }
    if let Some(message) = bypass {
        all.push(requirement(message, providers, &beside, at)?);
    }
    if all.is_empty() { Err(field.error("must hold at least one item")) } else { Ok(Requirement::Any(all)) }
}

fn provider(name: &str, message: &pb::JwtProvider, context: &Context, at: &At<'_>) -> Converted<Provider> {
    use pb::JwtProvider;
    take!(message, at, JwtProvider {
        issuer, audiences, subjects, require_expiration, max_lifetime, forward, from_headers, from_params, from_cookies,
        forward_payload_header, pad_forward_payload_header, payload_in_metadata, normalize_payload_in_metadata,
        header_in_metadata, clock_skew_seconds, claim_to_headers, clear_route_cache, jwks_source_specifier,
    } ignore { jwt_cache_config } refuse { failed_status_in_metadata });
    let optional = |text: &String| Some(text.as_str()).filter(|text| !text.is_empty()).map(Into::into);
    let list = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect::<Vec<Box<str>>>();
    let mut headers = Vec::with_capacity(from_headers.len());
    for (index, header) in from_headers.iter().enumerate() {
        use pb::JwtHeader;
        take!(header, at, JwtHeader { name, value_prefix });
        let at = at.field("from_headers");
        headers.push((header_name(name, &at.index(index).field("name"))?, value_prefix.as_str().into()));
    }
    let mut params = list(from_params);
    if headers.is_empty() && params.is_empty() && from_cookies.is_empty() {
        headers.push(("authorization".into(), "Bearer ".into()));
        params.push("access_token".into());
    }
    let payload_header = match forward_payload_header.as_str() {
        "" => None,
        name => Some((header_name(name, &at.field("forward_payload_header"))?, *pad_forward_payload_header)),
    };
    let field = at.field("subjects");
    Ok(Provider {
        name: name.into(),
        issuer: optional(issuer),
        audiences: list(audiences),
        subjects: subjects.as_ref().map(|wanted| route::string_matcher(wanted, &field)).transpose()?,
        require_expiration: *require_expiration,
        max_lifetime: values::optional_duration(max_lifetime, &at.field("max_lifetime"))?,
        // As Envoy: 0 is the default.
        clock_skew: if *clock_skew_seconds == 0 { 60 } else { u64::from(*clock_skew_seconds) },
        keys: keys(name, jwks_source_specifier, context, at)?,
        from_headers: headers,
        from_params: params,
        from_cookies: list(from_cookies),
        forward: *forward,
        payload_header,
        claim_headers: claim_headers(claim_to_headers, &at.field("claim_to_headers"))?,
        payload_field: optional(payload_in_metadata),
        header_field: optional(header_in_metadata),
        spaced_claims: normalize_payload_in_metadata
            .as_ref()
            .map_or_else(Vec::new, |normalize| list(&normalize.space_delimited_claims)),
        clear_route_cache: *clear_route_cache,
    })
}

fn claim_headers(messages: &[pb::JwtClaimToHeader], at: &At<'_>) -> Converted<Vec<ClaimHeader>> {
    let mut read = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        use pb::JwtClaimToHeader;
        let at = at.index(index);
        take!(message, at, JwtClaimToHeader { header_name, claim_name, claim_path });
        let path: Box<[Box<str>]> = if claim_path.is_empty() {
            claim_name.split('.').map(Into::into).collect()
        } else {
            claim_path.iter().map(|step| step.key.as_str().into()).collect()
        };
        if path.iter().any(|step| step.is_empty()) {
            return Err(at.field("claim_name").missing());
        }
        read.push((path, self::header_name(header_name, &at.field("header_name"))?));
    }
    Ok(read)
}

/// A header's name in lower case.
pub(super) fn header_name(name: &str, at: &At<'_>) -> Converted<Box<str>> {
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Ok(name.as_str().into()),
        Err(_) => Err(at.error(format!("`{name}` is no name of a header"))),
    }
}

fn keys(
    name: &str,
    source: &Option<pb::jwt_provider::JwksSourceSpecifier>,
    context: &Context,
    at: &At<'_>,
) -> Converted<KeySource> {
    use pb::jwt_provider::JwksSourceSpecifier as Source;
    match source {
        Some(Source::LocalJwks(data)) => {
            let text = values::data_source(data, &at.field("local_jwks"))?;
            match KeySet::parse(&text) {
                Ok(keys) => Ok(KeySource::Local(Arc::new(keys))),
                // As Envoy: one provider's bad keys must not take the whole listener away; its tokens are refused.
                Err(error) => {
                    tracing::warn!(provider = name, %error, "no key can be used: every token will be refused");
                    Ok(KeySource::Unusable)
                }
            }
        }
        Some(Source::RemoteJwks(remote)) => remote_keys(remote, context, &at.field("remote_jwks")),
        None => Err(at.field("local_jwks").missing()),
    }
}

fn remote_keys(message: &pb::RemoteJwks, context: &Context, at: &At<'_>) -> Converted<KeySource> {
    use pb::{JwksAsyncFetch, RemoteJwks};
    take!(message, at, RemoteJwks { http_uri, cache_duration, async_fetch } ignore { retry_policy });
    let field = at.field("http_uri");
    let target = http_uri_target(http_uri.as_ref().ok_or_else(|| field.missing())?, &field)?;
    let mut retry = Duration::from_secs(1);
    if let Some(fetch) = async_fetch {
        let at = at.field("async_fetch");
        take!(fetch, at, JwksAsyncFetch { failed_refetch_duration } ignore { fast_listener });
        let read = values::optional_duration(failed_refetch_duration, &at.field("failed_refetch_duration"))?;
        retry = read.unwrap_or(retry);
    }
    let cache = values::optional_duration(cache_duration, &at.field("cache_duration"))?.unwrap_or(CACHE);
    let spec = KeySpec {
        cluster: target.cluster,
        authority: target.authority,
        path: target.path,
        https: target.https,
        timeout: target.timeout,
        cache,
        retry,
    };
    Ok(KeySource::Remote(context.store.remote_keys(spec)))
}

/// What an `HttpUri` names.
#[derive(Debug)]
pub(super) struct UriTarget {
    pub(super) cluster: Box<str>,
    pub(super) authority: Box<str>,
    pub(super) path: Box<str>,
    pub(super) https: bool,
    pub(super) timeout: Duration,
}

/// Reads an `HttpUri`.
pub(super) fn http_uri_target(message: &core::HttpUri, at: &At<'_>) -> Converted<UriTarget> {
    use core::HttpUri;
    use core::http_uri::HttpUpstreamType;
    take!(message, at, HttpUri { uri, timeout, http_upstream_type });
    let Some(HttpUpstreamType::Cluster(cluster)) = http_upstream_type else {
        return Err(at.field("cluster").missing());
    };
    let bad = |reason: &str| at.field("uri").error(format!("`{uri}` {reason}"));
    let parsed: http::Uri = uri.parse().map_err(|_| bad("is no address"))?;
    let authority = parsed.authority().ok_or_else(|| bad("names no host"))?.as_str();
    let limit = values::optional_duration(timeout, &at.field("timeout"))?;
    Ok(UriTarget {
        cluster: cluster.as_str().into(),
        authority: authority.into(),
        path: parsed.path_and_query().map_or("/", |path| path.as_str()).into(),
        https: parsed.scheme_str() == Some("https"),
        timeout: limit.ok_or_else(|| at.field("timeout").missing())?,
    })
}
