//! Role-based access control (Envoy's `envoy.filters.http.rbac` and `envoy.filters.network.rbac`).

use crate::config::{Metadata, PolicyOverride, RbacAction, RbacFilter, RbacPolicy, RbacRule, RbacRules};
use crate::error::LocalReply;
use crate::http::RequestHead;
use crate::http::exchange::Exchange;
use crate::request_info::{RequestInfo, ResponseFlags};
use crate::upstream::stats::RbacShard;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

/// Where the access log looks for the verdict of rules that only log.
static COMMON: LazyLock<Arc<str>> = LazyLock::new(|| "envoy.common".into());

/// What rules are asked about: a request, or a connection alone.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The request; none on a plain connection.
    pub request: Option<&'a RequestHead>,
    /// Facts on it and its connection.
    pub info: &'a RequestInfo,
}

/// Evaluates the rules of a filter, or those that the route has instead, on a request; a reply refuses it.
pub fn check(exchange: &mut Exchange<'_>, name: &str, default: &RbacFilter) -> Option<LocalReply> {
    let Exchange { matched, head, info, .. } = exchange;
    if matched.is_disabled(name) {
        return None;
    }
    let filter = match matched.policy(name) {
        Some(PolicyOverride::Rbac(own)) => own.as_deref()?,
        _ => default,
    };
    // Rules of a route count where those of the filter do, as in Envoy.
    let stats = default.stats.of(info.connection.worker);
    let details = decide(filter, stats, Some(head), info).err()?;
    let reply = LocalReply::new(403, "RBAC: access denied", ResponseFlags::default(), "");
    Some(LocalReply { details: details.into(), ..reply })
}

/// Evaluates the rules of a connection.
///
/// # Errors
/// The details of a connection that is refused.
pub fn check_connection(filter: &RbacFilter, info: &mut RequestInfo) -> Result<(), String> {
    decide(filter, filter.stats.of(info.connection.worker), None, info)
}

/// Evaluates the rules.
///
/// # Errors
/// The details (`rbac_access_denied_matched_policy[NAME]`) of a request or connection that is refused.
fn decide(
    filter: &RbacFilter,
    stats: &RbacShard,
    request: Option<&RequestHead>,
    info: &mut RequestInfo,
) -> Result<(), String> {
    if let Some(shadow) = &filter.shadow {
        let policy = shadow.find(Subject { request, info });
        let allowed = shadow.allows(policy);
        if allowed {
            stats.shadow_allowed.inc()
        } else {
            stats.shadow_denied.inc()
        }
        tell(filter, policy, allowed, &mut info.metadata);
    }
    let Some(rules) = &filter.rules else { return Ok(()) };
    let policy = rules.find(Subject { request, info });
    if rules.action == RbacAction::Log {
        info.metadata.set(&COMMON, "access_log_hint", Value::Bool(policy.is_some()));
    }
    if rules.allows(policy) {
        stats.allowed.inc();
        return Ok(());
    }
    stats.denied.inc();
    let name = policy.map_or("none", |policy| &policy.name);
    let details = format!("rbac_access_denied_matched_policy[{}]", name.replace(char::is_whitespace, "_"));
    tracing::debug!(connection = info.connection.id, %details, "access denied");
    Err(details)
}

/// Tells the verdict of shadow rules to the filters that follow and the access log.
fn tell(filter: &RbacFilter, policy: Option<&RbacPolicy>, allowed: bool, metadata: &mut Metadata) {
    if let Some(policy) = policy {
        metadata.set(&filter.namespace, &filter.shadow_policy_field, Value::from(&*policy.name));
    }
    let result = if allowed { "allowed" } else { "denied" };
    metadata.set(&filter.namespace, &filter.shadow_result_field, Value::from(result));
}

impl RbacRules {
    /// The first policy that matches.
    pub fn find(&self, subject: Subject<'_>) -> Option<&RbacPolicy> {
        self.policies.iter().find(|policy| {
            policy.permissions.iter().any(|rule| rule.matches(subject))
                && policy.principals.iter().any(|rule| rule.matches(subject))
        })
    }

    /// What it means that this policy (or none) matched.
    pub fn allows(&self, matched: Option<&RbacPolicy>) -> bool {
        match self.action {
            RbacAction::Allow => matched.is_some(),
            RbacAction::Deny => matched.is_none(),
            RbacAction::Log => true,
        }
    }
}

impl RbacRule {
    /// Whether the condition holds.
    pub fn matches(&self, subject: Subject<'_>) -> bool {
        let connection = &*subject.info.connection;
        let path = || subject.request.map(RequestHead::path_only);
        match self {
            RbacRule::Any => true,
            RbacRule::All(rules) => rules.iter().all(|rule| rule.matches(subject)),
            RbacRule::OneOf(rules) => rules.iter().any(|rule| rule.matches(subject)),
            RbacRule::Not(rule) => !rule.matches(subject),
            RbacRule::Header(header) => match subject.request {
                Some(request) => header.matches_one(request),
                None => header.matches_value(None),
            },
            RbacRule::Path(matcher) => path().is_some_and(|path| matcher.matches(path)),
            RbacRule::Template(template) => path().is_some_and(|path| template.is_match(path)),
            RbacRule::DestinationIp(range) => range.contains(ip(connection.local)),
            RbacRule::DestinationPort(ports) => ports.contains(&connection.local.port()),
            RbacRule::ServerName(matcher) => {
                matcher.matches(connection.server_name.as_deref().unwrap_or_default().as_bytes())
            }
            RbacRule::Metadata(matcher) => matcher.matches(&subject.info.metadata),
            RbacRule::Authenticated(name) => {
                let Some(tls) = connection.tls.as_deref() else { return false };
                let Some(name) = name else { return true };
                // What a certificate says that nobody vouches for names nobody.
                let peer = tls.peer.as_deref().filter(|_| tls.validated);
                let Some(peer) = peer else { return name.matches(b"") };
                let sans = peer.uri_sans.iter().chain(&peer.dns_sans);
                sans.chain([&peer.subject]).any(|text| name.matches(text.as_bytes()))
            }
            RbacRule::SourceIp(range) => range.contains(ip(connection.remote)),
            RbacRule::DirectRemoteIp(range) => range.contains(ip(connection.direct_remote)),
            RbacRule::RemoteIp(range) => range.contains(ip(subject.info.remote)),
            RbacRule::PeerPrincipal(matcher) => {
                let tls = connection.tls.as_deref().filter(|tls| tls.validated);
                tls.and_then(|tls| tls.peer_uri_sans().first())
                    .is_some_and(|name| matcher.matches(name.as_bytes()))
            }
        }
    }
}

/// IPv4 in IPv6's clothes (which `x-forwarded-for` may bring) is IPv4: it must not slip past a range.
fn ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}
