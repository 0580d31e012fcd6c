//! Delegate VirtualServices: rules of one object that another, which has the hosts, points to.
//!
//! Source: Istio, VirtualService `http[].delegate`: the root's match is added to each of the delegate's rules; a
//! delegate's match that contradicts the root's is dropped; delegates have no hosts and do not delegate again.

use std::collections::HashMap;
use std::sync::Arc;

use lateen_api::networking::virtual_service::StringMatch;
use lateen_api::networking::virtual_service_http::{Headers, HttpMatchRequest, HttpRoute};

use crate::virtual_service::VirtualService;
use crate::{ConfigKey, Kind, Visibility};

/// Every VirtualService that has hosts, in order, with the rules of its delegates in place.
pub(crate) fn merge(
    declared: &[Arc<VirtualService>],
    all: &HashMap<ConfigKey, Arc<VirtualService>>,
    default: &Visibility,
) -> Vec<Arc<VirtualService>> {
    let roots = declared.iter().filter(|vs| !vs.hosts.is_empty());
    roots
        .map(|root| match root.spec.http.iter().any(|r| r.delegate.is_some()) {
            true => Arc::new(merged(root, all, default)),
            false => root.clone(),
        })
        .collect()
}

fn merged(
    root: &VirtualService,
    all: &HashMap<ConfigKey, Arc<VirtualService>>,
    default: &Visibility,
) -> VirtualService {
    let mut spec = root.spec.clone();
    spec.http = Vec::new();
    for route in &root.spec.http {
        let Some(delegate) = &route.delegate else {
            spec.http.push(route.clone());
            continue;
        };
        let namespace =
            if delegate.namespace.is_empty() { &root.meta.namespace } else { &*delegate.namespace };
        let key = ConfigKey::new(Kind::VirtualService, namespace, delegate.name.as_str());
        let visible =
            |vs: &&Arc<VirtualService>| vs.hosts.is_empty() && vs.visible_to(&root.meta.namespace, default);
        if let Some(delegate) = all.get(&key).filter(visible) {
            let rules = delegate.spec.http.iter().filter(|r| r.delegate.is_none());
            spec.http.extend(rules.filter_map(|rule| join(route, rule)));
        }
    }
    VirtualService::finish(root.meta.clone(), spec)
}

/// A rule of the delegate under a rule of the root; `None` when no request can match both.
fn join(root: &HttpRoute, rule: &HttpRoute) -> Option<HttpRoute> {
    let mut out = rule.clone();
    out.r#match = match (root.r#match.is_empty(), rule.r#match.is_empty()) {
        (true, _) => rule.r#match.clone(),
        (false, true) => root.r#match.clone(),
        (false, false) => {
            let pairs = root.r#match.iter().flat_map(|a| rule.r#match.iter().map(move |b| (a, b)));
            let matches: Vec<_> = pairs.filter_map(|(a, b)| join_match(a, b)).collect();
            if matches.is_empty() {
                return None;
            }
            matches
        }
    };
    if !root.name.is_empty() {
        out.name =
            if rule.name.is_empty() { root.name.clone() } else { format!("{}-{}", root.name, rule.name) };
    }
    out.rewrite = rule.rewrite.clone().or_else(|| root.rewrite.clone());
    out.timeout = rule.timeout.or(root.timeout);
    out.retries = rule.retries.clone().or_else(|| root.retries.clone());
    out.fault = rule.fault.clone().or_else(|| root.fault.clone());
    out.mirror = rule.mirror.clone().or_else(|| root.mirror.clone());
    out.mirror_percentage = rule.mirror_percentage.clone().or_else(|| root.mirror_percentage.clone());
    if out.mirrors.is_empty() {
        out.mirrors = root.mirrors.clone();
    }
    out.cors_policy = rule.cors_policy.clone().or_else(|| root.cors_policy.clone());
    out.headers = join_headers(root.headers.as_ref(), rule.headers.as_ref());
    Some(out)
}

fn join_headers(root: Option<&Headers>, rule: Option<&Headers>) -> Option<Headers> {
    let (Some(root), Some(rule)) = (root, rule) else { return rule.or(root).cloned() };
    let mut out = rule.clone();
    for (root, out) in [(&root.request, &mut out.request), (&root.response, &mut out.response)] {
        let Some(root) = root else { continue };
        let out = out.get_or_insert_with(Default::default);
        for (name, value) in &root.set {
            out.set.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for (name, value) in &root.add {
            out.add.entry(name.clone()).or_insert_with(|| value.clone());
        }
        out.remove.extend(root.remove.iter().cloned());
    }
    Some(out)
}

/// Both matches at once; `None` when they contradict each other.
fn join_match(root: &HttpMatchRequest, rule: &HttpMatchRequest) -> Option<HttpMatchRequest> {
    let mut out = rule.clone();
    out.name = [root.name.as_str(), rule.name.as_str()].join("-").trim_matches('-').to_owned();
    out.uri = join_text(root.uri.as_ref(), rule.uri.as_ref())?;
    out.scheme = join_text(root.scheme.as_ref(), rule.scheme.as_ref())?;
    out.method = join_text(root.method.as_ref(), rule.method.as_ref())?;
    out.authority = join_text(root.authority.as_ref(), rule.authority.as_ref())?;
    out.ignore_uri_case |= root.ignore_uri_case;
    for (from, into) in [
        (&root.headers, &mut out.headers),
        (&root.without_headers, &mut out.without_headers),
        (&root.query_params, &mut out.query_params),
    ] {
        for (name, value) in from {
            let joined = join_text(Some(value), into.get(name))?;
            into.extend(joined.map(|value| (name.clone(), value)));
        }
    }
    if root.port != 0 && rule.port != 0 && root.port != rule.port {
        return None;
    }
    out.port = root.port.max(rule.port);
    out.source_labels.extend(root.source_labels.clone());
    if !root.source_namespace.is_empty() {
        if !rule.source_namespace.is_empty() && rule.source_namespace != root.source_namespace {
            return None;
        }
        out.source_namespace = root.source_namespace.clone();
    }
    if out.gateways.is_empty() {
        out.gateways = root.gateways.clone();
    }
    Some(out)
}

/// The narrower of two matches: outer `None` when they contradict each other.
fn join_text(root: Option<&StringMatch>, rule: Option<&StringMatch>) -> Option<Option<StringMatch>> {
    use StringMatch::{Exact, Prefix};
    let (Some(root), Some(rule)) = (root, rule) else { return Some(rule.or(root).cloned()) };
    match (root, rule) {
        (a, b) if a == b => Some(Some(b.clone())),
        (Prefix(wide), Prefix(narrow) | Exact(narrow)) => {
            narrow.starts_with(wide).then(|| Some(rule.clone()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Option<StringMatch> {
        Some(StringMatch::Prefix(text.to_owned()))
    }

    #[test]
    fn a_delegates_match_must_lie_within_the_roots() {
        let root = HttpMatchRequest { uri: prefix("/reviews"), ..HttpMatchRequest::default() };
        let inside = HttpMatchRequest { uri: prefix("/reviews/v2"), ..HttpMatchRequest::default() };
        let outside = HttpMatchRequest { uri: prefix("/ratings"), ..HttpMatchRequest::default() };
        assert_eq!(join_match(&root, &inside).expect("inside").uri, prefix("/reviews/v2"));
        assert!(join_match(&root, &outside).is_none());
    }

    #[test]
    fn what_the_delegate_leaves_open_comes_from_the_root() {
        let root = HttpRoute {
            r#match: vec![HttpMatchRequest { uri: prefix("/a"), ..HttpMatchRequest::default() }],
            timeout: Some(lateen_api::Duration::from_secs(3)),
            ..HttpRoute::default()
        };
        let joined = join(&root, &HttpRoute::default()).expect("no contradiction");
        assert_eq!(joined.r#match, root.r#match);
        assert_eq!(joined.timeout, root.timeout);
    }
}
