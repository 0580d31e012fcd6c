//! Who does it: sources, and conditions on the source and on the request.

use std::collections::BTreeSet;

use lateen_api::security::authorization_policy::{Condition, Source};
use lateen_mesh::Settings;
use lateen_xds::pb::envoy::config::rbac::v3::principal::{Authenticated, Identifier, Set};
use lateen_xds::pb::envoy::config::rbac::v3::{Principal, SourcedMetadata};
use lateen_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use lateen_xds::pb::envoy::r#type::matcher::v3::{StringMatcher, ValueMatcher};

use super::matching::{
    escaped, expression, header, metadata, network, of as matcher, single, single_or_listed, text, text_after,
};
use super::{Asked, Logic, Translation, all, condition, keys};
use crate::security::jwt::{FILTER, PAYLOAD};

/// How identities begin.
const SPIFFE: &str = "spiffe://";

impl Logic for Principal {
    fn any() -> Self {
        id(Identifier::Any(true))
    }
    fn and(all: Vec<Self>) -> Self {
        id(Identifier::AndIds(Set { ids: all }))
    }
    fn or(any: Vec<Self>) -> Self {
        id(Identifier::OrIds(Set { ids: any }))
    }
    fn not(inner: Self) -> Self {
        id(Identifier::NotId(Box::new(inner)))
    }
}

fn id(identifier: Identifier) -> Principal {
    Principal { identifier: Some(identifier) }
}

/// A source, where there is one, with the conditions that are about the source and the request.
pub(super) fn of(
    source: Option<&Source>,
    when: &[Condition],
    namespace: &str,
    translation: &Translation<'_>,
) -> Option<Principal> {
    let mut asked: Vec<Asked<'_, Principal>> = Vec::new();
    let http = !translation.tcp;
    let settings = translation.settings;
    if let Some(s) = source {
        let account = move |v: &str| Some(service_account(v, namespace));
        let of_request = move |v: &str| http.then(|| request_principal(v));
        asked.extend([
            Asked::new(&s.ip_blocks, &s.not_ip_blocks, direct),
            Asked::new(&s.remote_ip_blocks, &s.not_remote_ip_blocks, remote),
            Asked::new(&s.namespaces, &s.not_namespaces, |v| Some(of_namespace(v))),
            Asked::new(&s.principals, &s.not_principals, move |v| Some(peer(v, settings))),
            Asked::new(&s.service_accounts, &s.not_service_accounts, account),
            Asked::new(&s.request_principals, &s.not_request_principals, of_request),
        ]);
    }
    for one in when {
        let claim = |path: Vec<String>| {
            condition(one, move |v| http.then(|| claimed(&path, single_or_listed(text(v)))))
        };
        match one.key.as_str() {
            "source.ip" => asked.push(condition(one, direct)),
            "remote.ip" => asked.push(condition(one, remote)),
            "source.namespace" => asked.push(condition(one, |v| Some(of_namespace(v)))),
            "source.principal" => asked.push(condition(one, move |v| Some(peer(v, settings)))),
            "source.serviceAccount" => {
                asked.push(condition(one, move |v| Some(service_account(v, namespace))));
            }
            "request.auth.principal" => {
                asked.push(condition(one, move |v| http.then(|| request_principal(v))));
            }
            "request.auth.audiences" => asked.push(claim(vec!["aud".to_owned()])),
            "request.auth.presenter" => asked.push(claim(vec!["azp".to_owned()])),
            key if key.starts_with("request.auth.claims") => {
                asked.push(claim(keys(key).into_iter().map(str::to_owned).collect()));
            }
            key if key.starts_with("request.headers") => {
                let name = keys(key).first().copied().unwrap_or_default();
                asked.push(condition(one, move |v| {
                    http.then(|| id(Identifier::Header(header(name, v, false))))
                }));
            }
            _ => {}
        }
    }
    all(asked, translation)
}

fn direct(value: &str) -> Option<Principal> {
    network(value).map(|range| id(Identifier::DirectRemoteIp(range)))
}

fn remote(value: &str) -> Option<Principal> {
    network(value).map(|range| id(Identifier::RemoteIp(range)))
}

/// A peer with a certificate whose name matches.
fn authenticated(name: StringMatcher) -> Principal {
    id(Identifier::Authenticated(Authenticated { principal_name: Some(name) }))
}

fn of_namespace(value: &str) -> Principal {
    authenticated(expression(&format!(".*/ns/{}/.*", escaped(value))))
}

/// `NAMESPACE/NAME`, or `NAME` in the policy's own namespace, of any trust domain that the mesh's roots vouch for.
fn service_account(value: &str, namespace: &str) -> Principal {
    let (namespace, name) = value.split_once('/').unwrap_or((namespace, value));
    let (namespace, name) = (escaped(namespace), escaped(name));
    authenticated(expression(&format!("spiffe://[^/]+/ns/{namespace}/sa/{name}")))
}

/// An identity without `spiffe://`. One of the mesh's trust domain is as good under the domain's other names.
///
/// Source: Istio, MeshConfig `trustDomainAliases`.
fn peer(value: &str, settings: &Settings) -> Principal {
    let mut names = BTreeSet::from([value.to_owned()]);
    if let Some((domain, rest)) = value.split_once('/')
        && settings.trust_domains().any(|known| **known == *domain)
    {
        names.extend(settings.trust_domains().map(|known| format!("{known}/{rest}")));
    }
    let mut all: Vec<Principal> = names.iter().map(|name| authenticated(text_after(SPIFFE, name))).collect();
    match all.pop() {
        Some(only) if all.is_empty() => only,
        Some(last) => Principal::or(all.into_iter().chain([last]).collect()),
        None => Principal::not(Principal::any()),
    }
}

fn claimed(path: &[String], value: ValueMatcher) -> Principal {
    let full: Vec<&str> = std::iter::once(PAYLOAD).chain(path.iter().map(String::as_str)).collect();
    id(Identifier::SourcedMetadata(SourcedMetadata {
        metadata_matcher: Some(metadata(FILTER, &full, value)),
        ..SourcedMetadata::default()
    }))
}

/// A token's issuer and subject, as `ISSUER/SUBJECT`. Both may have slashes in them, so that each slash may be the one
/// between them.
fn request_principal(value: &str) -> Principal {
    let pair = |issuer: StringMatcher, subject: StringMatcher| {
        let (iss, sub) = ("iss".to_owned(), "sub".to_owned());
        Principal::and(vec![claimed(&[iss], single(issuer)), claimed(&[sub], single(subject))])
    };
    let exact = |text: &str| matcher(MatchPattern::Exact(text.to_owned()));
    let start = |text: &str| {
        if text.is_empty() { self::text("*") } else { matcher(MatchPattern::Prefix(text.to_owned())) }
    };
    let end = |text: &str| matcher(MatchPattern::Suffix(text.to_owned()));
    let slashes = |text: &str| text.match_indices('/').map(|(at, _)| at).collect::<Vec<_>>();
    let ways: Vec<Principal> = match (value, value.strip_suffix('*'), value.strip_prefix('*')) {
        ("*", _, _) => vec![pair(text("*"), text("*"))],
        (_, Some(wanted), _) => {
            let within =
                slashes(wanted).into_iter().map(|at| pair(exact(&wanted[..at]), start(&wanted[at + 1..])));
            within.chain([pair(start(wanted), text("*"))]).collect()
        }
        (_, _, Some(wanted)) => {
            let within = slashes(wanted).into_iter().filter(|at| *at > 0);
            let within = within.map(|at| pair(end(&wanted[..at]), exact(&wanted[at + 1..])));
            let mut ways: Vec<_> = within.collect();
            if let Some(subject) = wanted.strip_prefix('/') {
                ways.push(pair(text("*"), exact(subject)));
            }
            ways.push(pair(text("*"), end(wanted)));
            ways
        }
        _ => {
            slashes(value).into_iter().map(|at| pair(exact(&value[..at]), exact(&value[at + 1..]))).collect()
        }
    };
    match ways.is_empty() {
        // Without a slash no token is meant.
        true => Principal::not(Principal::any()),
        false => Principal::or(ways),
    }
}
