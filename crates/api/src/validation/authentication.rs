//! Rules of PeerAuthentication, RequestAuthentication, and the older Policy and MeshPolicy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common::{duration_at, is_dns_label, port};
use super::{headers, selection};
use crate::authentication::{LegacyJwt, PathMatch, PeerMethod, PolicySpec, TargetPort, TargetSelector};
use crate::security::peer_authentication::PeerAuthenticationSpec;
use crate::security::request_authentication::{JwtRule, RequestAuthenticationSpec};
use crate::wire::report::Report;

/// Reports every error of a PeerAuthentication's spec.
pub fn peer(spec: &PeerAuthenticationSpec, report: &mut Report) {
    selection::selector(report, spec.selector.as_ref());
    let selects = spec.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty());
    if !selects && !spec.port_level_mtls.is_empty() {
        report.error_at("portLevelMtls", "mesh/namespace peer authentication cannot have port level mTLS");
    }
    report.field("portLevelMtls", |r| {
        for key in spec.port_level_mtls.keys() {
            r.key(key, |r| match key.parse() {
                Ok(number) => r.check(port(number)),
                Err(_) => r.error(format!("{key:?} is no port number")),
            });
        }
    });
}

/// Reports every error of a RequestAuthentication's spec.
pub fn request(spec: &RequestAuthenticationSpec, report: &mut Report) {
    selection::validate(report, spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
    report.each("jwtRules", &spec.jwt_rules, jwt_rule);
}

fn not_empty(report: &mut Report, name: &str, list: &[String], what: &str) {
    report.each(name, list, |r, item| {
        if item.is_empty() {
            r.error(format!("{what} must be non-empty string"));
        }
    });
}

fn jwt_rule(report: &mut Report, rule: &JwtRule) {
    if rule.issuer.is_empty() {
        report.error_at("issuer", "issuer must be set");
    }
    not_empty(report, "audiences", &rule.audiences, "audience");
    keys(report, &rule.jwks_uri, &rule.jwks);
    report.each("fromHeaders", &rule.from_headers, |r, header| {
        if header.name.is_empty() {
            r.error_at("name", "location header name must be non-empty string");
        }
    });
    not_empty(report, "fromParams", &rule.from_params, "location query");
    not_empty(report, "fromCookies", &rule.from_cookies, "cookie name");
    report.each("outputClaimToHeaders", &rule.output_claim_to_headers, |r, output| {
        if output.claim.is_empty() {
            r.error_at("claim", "claim must be non-empty string");
        }
        r.check_at("header", headers::name(&output.header));
    });
    not_empty(report, "spaceDelimitedClaims", &rule.space_delimited_claims, "claim");
    duration_at(report, "timeout", rule.timeout);
}

fn keys(report: &mut Report, uri: &str, jwks: &str) {
    if !uri.is_empty() {
        report.check_at("jwksUri", http_url(uri));
    }
    if !jwks.is_empty() {
        let set: Option<serde_json::Value> = serde_json::from_str(jwks).ok();
        if !set.is_some_and(|set| set.get("keys").is_some_and(serde_json::Value::is_array)) {
            report.error_at("jwks", "is no JSON Web Key Set: it must be a JSON object with a list `keys`");
        }
    }
}

/// `http://` or `https://` with a host, and a port that is one.
fn http_url(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(format!("{text:?} must start with http:// or https://"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, number) = match authority.rsplit_once(':') {
        Some((host, number)) if !number.contains(']') => (host, Some(number)),
        _ => (authority, None),
    };
    if host.is_empty() {
        return Err(format!("{text:?} has no host"));
    }
    match number.map(str::parse) {
        Some(Ok(number)) => port(number),
        Some(Err(_)) => Err(format!("{text:?} has an invalid port")),
        None => Ok(()),
    }
}

/// Reports every error of an old Policy's spec.
pub fn policy(spec: &PolicySpec, metadata: &ObjectMeta, report: &mut Report) {
    let name = metadata.name.as_deref().unwrap_or_default();
    if name == "default" && !spec.targets.is_empty() {
        report
            .error_at("targets", "a policy named default applies to the namespace and must have no targets");
    }
    if !name.is_empty() && name != "default" && spec.targets.is_empty() {
        report.error_at(
            "targets",
            "a policy without targets applies to the namespace and must be named default",
        );
    }
    methods(spec, report);
    report.each("targets", &spec.targets, target);
}

/// Reports every error of a MeshPolicy's spec.
pub fn mesh_policy(spec: &PolicySpec, metadata: &ObjectMeta, report: &mut Report) {
    let name = metadata.name.as_deref().unwrap_or_default();
    if !name.is_empty() && name != "default" {
        report.error(format!("a mesh policy must be named default, not {name:?}"));
    }
    if !spec.targets.is_empty() {
        report.error_at("targets", "a mesh policy must have no targets");
    }
    methods(spec, report);
}

fn target(report: &mut Report, target: &TargetSelector) {
    if !is_dns_label(&target.name) {
        report
            .error_at("name", format!("{:?} must be the short name of a service, without dots", target.name));
    }
    report.each("ports", &target.ports, |r, selector| match selector {
        TargetPort::Number(number) => r.check_at("number", port(*number)),
        TargetPort::Name(name) if name.is_empty() => r.error_at("name", "must not be empty"),
        TargetPort::Name(_) => {}
        TargetPort::Unset => r.error("must have number or name"),
    });
}

fn methods(spec: &PolicySpec, report: &mut Report) {
    report.each("peers", &spec.peers, |r, method| match method {
        PeerMethod::Mtls(_) => {}
        PeerMethod::Jwt(_) => r.error_at("jwt", "jwt is not supported for peers; use origins"),
        // `peers: [{mtls: }]` was usual: YAML reads it as null, and it means mutual TLS.
        PeerMethod::Unset => r.warn("no method is set; mutual TLS is assumed"),
    });
    report.each("origins", &spec.origins, |r, method| match &method.jwt {
        Some(jwt) => r.field("jwt", |r| legacy_jwt(r, jwt)),
        None => r.error("jwt must be set"),
    });
}

fn legacy_jwt(report: &mut Report, jwt: &LegacyJwt) {
    if jwt.issuer.is_empty() {
        report.error_at("issuer", "issuer must be set");
    }
    not_empty(report, "audiences", &jwt.audiences, "audience");
    keys(report, &jwt.jwks_uri, &jwt.jwks);
    not_empty(report, "jwtHeaders", &jwt.jwt_headers, "location header");
    not_empty(report, "jwtParams", &jwt.jwt_params, "location query");
    report.each("triggerRules", &jwt.trigger_rules, |r, rule| {
        for (field, paths) in
            [("excludedPaths", &rule.excluded_paths), ("includedPaths", &rule.included_paths)]
        {
            r.each(field, paths, path);
        }
    });
}

fn path(report: &mut Report, path: &PathMatch) {
    match path {
        PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Suffix(text) if text.is_empty() => {
            report.error("must not be empty");
        }
        PathMatch::Regex(expression) => report.check_at("regex", headers::regex(expression)),
        PathMatch::Unset => report.error("must have exact, prefix, suffix or regex"),
        _ => {}
    }
}
