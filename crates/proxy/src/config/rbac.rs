//! Role-based access control: rules compiled from Envoy's RBAC, which Istio's AuthorizationPolicies become.

use super::listener::Cidr;
use super::matcher::{HeaderMatcher, Regex, StringMatcher};
use super::metadata::MetadataMatcher;
use crate::upstream::stats::RbacStats;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// An RBAC filter, of HTTP or of a connection.
#[derive(Clone, Debug)]
pub struct RbacFilter {
    /// Rules that decide; none: everything goes on.
    pub rules: Option<RbacRules>,
    /// Rules that are evaluated and counted alone (dry run).
    pub shadow: Option<RbacRules>,
    /// Field of the shadow's policy in the metadata of `namespace`.
    pub shadow_policy_field: Box<str>,
    /// Field of the shadow's verdict.
    pub shadow_result_field: Box<str>,
    /// Where the shadow's verdict is told: `envoy.filters.http.rbac` or `envoy.filters.network.rbac`.
    pub namespace: Arc<str>,
    /// Prefix of the rules' counters after `rbac.`.
    pub stat_prefix: Box<str>,
    /// Prefix of the shadow rules' counters after `rbac.`.
    pub shadow_stat_prefix: Box<str>,
    /// Counters.
    pub stats: Arc<RbacStats>,
}

/// One set of rules.
#[derive(Clone, Debug)]
pub struct RbacRules {
    /// What a match means.
    pub action: RbacAction,
    /// Policies sorted by name; the first that matches counts.
    pub policies: Vec<RbacPolicy>,
}

/// What a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RbacAction {
    /// What matches goes on, all else is refused.
    Allow,
    /// What matches is refused.
    Deny,
    /// Everything goes on; whether it matched is told to the access log.
    Log,
}

/// One policy: matches when a permission and a principal do.
#[derive(Clone, Debug)]
pub struct RbacPolicy {
    /// Name.
    pub name: Arc<str>,
    /// What may be done; one must match.
    pub permissions: Vec<RbacRule>,
    /// Who may do it; one must match.
    pub principals: Vec<RbacRule>,
}

/// A condition, of permissions and principals alike.
#[derive(Clone, Debug)]
pub enum RbacRule {
    /// Always.
    Any,
    /// All hold.
    All(Vec<RbacRule>),
    /// One holds.
    OneOf(Vec<RbacRule>),
    /// The other does not hold.
    Not(Box<RbacRule>),
    /// A header of the request; a connection has none.
    Header(HeaderMatcher),
    /// The path without query and fragment.
    Path(StringMatcher),
    /// The path without query and fragment, by a template that was compiled.
    Template(Regex),
    /// The local (original destination) address.
    DestinationIp(Cidr),
    /// The local port.
    DestinationPort(RangeInclusive<u16>),
    /// The server name that the client asked for; empty without TLS.
    ServerName(StringMatcher),
    /// What other filters told.
    Metadata(MetadataMatcher),
    /// Names of the client's certificate: a URI, a DNS name, or its subject; none: any TLS.
    Authenticated(Option<StringMatcher>),
    /// Address of the connection's peer, after PROXY protocol.
    SourceIp(Cidr),
    /// Address of the socket's peer.
    DirectRemoteIp(Cidr),
    /// Address of the client, which `x-forwarded-for` may tell.
    RemoteIp(Cidr),
    /// The peer's SPIFFE identity (filter state `io.istio.peer_principal`); does not match where there is none.
    PeerPrincipal(StringMatcher),
}
