//! RequestAuthentication (and the old API's `origins`) -> Envoy's filter for tokens.

use lateen_api::authentication::PathMatch;
use lateen_api::security::request_authentication::JwtRule;
use lateen_mesh::{JwtTrigger, LegacyPolicy, Mesh, RequestRules};
use lateen_xds::pb::envoy::config::core::v3::{DataSource, data_source};
use lateen_xds::pb::envoy::config::route::v3::RouteMatch;
use lateen_xds::pb::envoy::config::route::v3::route_match::PathSpecifier;
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::{
    JwksSourceSpecifier, NormalizePayload,
};
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtAuthentication as FilterType, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement,
    JwtRequirementAndList, JwtRequirementOrList, RequirementRule,
};
use lateen_xds::pb::envoy::r#type::matcher::v3::MetadataMatcher;
use prost::{Message, Name};
use serde_json::{Value, json};

use super::rbac::matching::{metadata, single_or_listed};
use super::{Guards, http, jwks};
use crate::ordered::JwtAuthentication;
use crate::route::{match_all, matching};

/// The filter's name, under which it leaves what tokens say.
pub(super) const FILTER: &str = "envoy.filters.http.jwt_authn";

/// The key there.
pub(super) const PAYLOAD: &str = "payload";

/// A claim as routes ask for it: a text, or one of a list.
pub(crate) fn claims(
    path: &[&str],
    value: lateen_xds::pb::envoy::r#type::matcher::v3::StringMatcher,
) -> MetadataMatcher {
    let full: Vec<&str> = std::iter::once(PAYLOAD).chain(path.iter().copied()).collect();
    metadata(FILTER, &full, single_or_listed(value))
}

/// Claims that are lists separated by spaces, besides those that a rule names. Source: Istio.
const SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];

/// Adds the filter. `reroutes` has the route chosen again once a token was read: rules may ask for its claims.
pub(super) fn add(
    guards: &mut Guards,
    requests: &RequestRules,
    mesh: &Mesh,
    namespace: &str,
    reroutes: bool,
) {
    let mut config = JwtAuthentication { bypass_cors_preflight: true, ..JwtAuthentication::default() };
    let mut put = |rule: &JwtRule, guards: &mut Guards| {
        let name = format!("origins-{}", config.providers.len());
        let provider = provider(rule, mesh, namespace, reroutes, guards);
        config.providers.insert(name.clone(), provider);
        name
    };
    let modern: Vec<String> = requests.rules.iter().map(|rule| put(rule, guards)).collect();
    let legacy: Vec<(String, Vec<JwtTrigger>)> = match &requests.legacy {
        Some(policy) => {
            policy.jwt_rules().iter().map(|(rule, triggers)| (put(rule, guards), triggers.clone())).collect()
        }
        None => Vec::new(),
    };
    match &requests.legacy {
        Some(policy) => config.rules = of_legacy(policy, &modern, &legacy),
        None => config.rules = optional(&modern).map(|r| rule(match_all(), Some(r))).into_iter().collect(),
    }
    guards.http.push(http(
        FILTER,
        lateen_xds::pb::google::protobuf::Any {
            type_url: format!("type.googleapis.com/{}", FilterType::full_name()),
            value: config.encode_to_vec(),
        },
    ));
}

fn provider(
    rule: &JwtRule,
    mesh: &Mesh,
    namespace: &str,
    reroutes: bool,
    guards: &mut Guards,
) -> JwtProvider {
    let spaced =
        SPACE_DELIMITED.iter().map(|s| (*s).to_owned()).chain(rule.space_delimited_claims.iter().cloned());
    let keys = match (rule.jwks.as_str(), rule.jwks_uri.as_str()) {
        ("", "") => None,
        ("", uri) => jwks::remote(uri, rule.timeout, mesh, namespace, guards),
        (inline, _) => Some(local(inline)),
    };
    JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        // Without keys no token is good.
        jwks_source_specifier: Some(keys.unwrap_or_else(|| local(""))),
        forward: rule.forward_original_token,
        forward_payload_header: rule.output_payload_to_header.clone(),
        from_headers: rule
            .from_headers
            .iter()
            .map(|h| JwtHeader { name: h.name.clone(), value_prefix: h.prefix.clone() })
            .collect(),
        from_params: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        payload_in_metadata: PAYLOAD.to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload { space_delimited_claims: spaced.collect() }),
        claim_to_headers: rule
            .output_claim_to_headers
            .iter()
            .map(|c| JwtClaimToHeader {
                header_name: c.header.clone(),
                claim_name: c.claim.clone(),
                ..JwtClaimToHeader::default()
            })
            .collect(),
        clear_route_cache: reroutes,
        ..JwtProvider::default()
    }
}

/// A public key whose private half nobody has: no token is signed by it. Envoy takes no set without a usable key, and
/// would keep nothing of a listener for the sake of one.
const NOBODYS_KEY: &str = "g2eYxwIFyDuCBB00o6kMFWdovp1zvOpHVxGv87id_vx8bA62TqqJj3DQ_7FCwdUlslQY-v8szsz7qTqtAXtyq4\
    ZRTyOJ2hIJdMhP-qV1gHuzD73QUFnQOTLY2-dwDB_W-aod3pVRfdaUEN5Joq6Gf3pTsCJo1RgV0DO3H5nUZjll\
    XslluLKPTQ1HoA3K6U2gOLqr1FWU_nQ36k6EC5LMUN_iTsXTbiGJ6Y-k8efAnIeXDG1r8t_OfTlvdJIBjcUrdX\
    S2rHjxHzb6CtpAiTFPQrRGYIQdDSL1ab7NZPTrILoaLAmda9KZUezbgpV_km652wJhAwUI9N8fXiiA_1NH8w";

/// The keys of a set, with one more that no token is signed by.
fn with_nobodys_key(given: &str) -> String {
    let nobodys =
        json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "nobody", "e": "AQAB", "n": NOBODYS_KEY});
    let given: Option<Value> = serde_json::from_str(given).ok();
    let mut keys = given.and_then(|set| set.get("keys")?.as_array().cloned()).unwrap_or_default();
    keys.push(nobodys);
    json!({ "keys": keys }).to_string()
}

fn local(keys: &str) -> JwksSourceSpecifier {
    JwksSourceSpecifier::LocalJwks(DataSource {
        specifier: Some(data_source::Specifier::InlineString(with_nobodys_key(keys))),
        ..DataSource::default()
    })
}

fn requirement(kind: RequiresType) -> JwtRequirement {
    JwtRequirement { requires_type: Some(kind) }
}

fn named(name: impl AsRef<str>) -> JwtRequirement {
    requirement(RequiresType::ProviderName(name.as_ref().to_owned()))
}

/// One of several; Envoy takes no list of one.
fn any_of(mut list: Vec<JwtRequirement>) -> Option<JwtRequirement> {
    match list.len() {
        0 | 1 => list.pop(),
        _ => Some(requirement(RequiresType::RequiresAny(JwtRequirementOrList { requirements: list }))),
    }
}

fn missing() -> JwtRequirement {
    requirement(RequiresType::AllowMissing(Default::default()))
}

/// No token, or good ones. Of several providers one good token suffices, as providers may look in the same place;
/// otherwise each token that is there must be good.
///
/// Source: Istio, RequestAuthentication `jwtRules`.
fn optional(providers: &[String]) -> Option<JwtRequirement> {
    let each: Vec<JwtRequirement> =
        providers.iter().filter_map(|name| any_of(vec![named(name), missing()])).collect();
    if each.len() < 2 {
        return each.into_iter().next();
    }
    let every = requirement(RequiresType::RequiresAll(JwtRequirementAndList { requirements: each }));
    any_of(providers.iter().map(named).chain([every]).collect())
}

fn rule(matched: RouteMatch, requires: Option<JwtRequirement>) -> RequirementRule {
    RequirementRule { r#match: Some(matched), requirement_type: requires.map(RequirementType::Requires) }
}

/// The old API: a token of any of the methods is needed, on the paths that trigger one.
fn of_legacy(
    policy: &LegacyPolicy,
    modern: &[String],
    legacy: &[(String, Vec<JwtTrigger>)],
) -> Vec<RequirementRule> {
    let names: Vec<String> = modern.iter().chain(legacy.iter().map(|(name, _)| name)).cloned().collect();
    let free = optional(&names);
    let needed = match policy.requires_token() {
        true => any_of(names.iter().map(named).collect()),
        false => free.clone(),
    };
    let mut rules = Vec::new();
    let triggers: Vec<&JwtTrigger> = legacy.iter().flat_map(|(_, triggers)| triggers).collect();
    let excluded = triggers.iter().flat_map(|t| &t.excluded).filter_map(path);
    rules.extend(excluded.map(|matched| rule(matched, free.clone())));
    let included: Vec<RouteMatch> = triggers.iter().flat_map(|t| &t.included).filter_map(path).collect();
    let everywhere = legacy.iter().any(|(_, triggers)| {
        triggers.is_empty() || triggers.iter().any(|trigger| trigger.included.is_empty())
    });
    rules.extend(included.into_iter().map(|matched| rule(matched, needed.clone())));
    rules.push(rule(match_all(), if everywhere { needed } else { free }));
    rules
}

fn path(wanted: &PathMatch) -> Option<RouteMatch> {
    let escaped = |text: &str| super::rbac::matching::literal(text);
    let path_specifier = match wanted {
        PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
        PathMatch::Prefix(prefix) => PathSpecifier::Prefix(prefix.clone()),
        PathMatch::Suffix(suffix) => {
            PathSpecifier::SafeRegex(matching::regex(&format!(".*{}", escaped(suffix))))
        }
        PathMatch::Regex(expression) => PathSpecifier::SafeRegex(matching::regex(expression)),
        PathMatch::Unset => return None,
    };
    Some(RouteMatch { path_specifier: Some(path_specifier), ..RouteMatch::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_providers_may_look_in_the_same_place() {
        let two = optional(&["origins-0".into(), "origins-1".into()]).unwrap();
        let Some(RequiresType::RequiresAny(list)) = two.requires_type else { panic!("{two:?}") };
        assert_eq!(list.requirements.len(), 3);
        assert_eq!(list.requirements[0], named("origins-0"));
        assert!(matches!(list.requirements[2].requires_type, Some(RequiresType::RequiresAll(_))));
    }
}
