//! Routes: what a request must be, and what happens to it then.

use super::cluster::ClusterSlot;
use super::ext_authz::ExtAuthzOverride;
use super::headers::LevelEdits;
use super::jwt::JwtOverride;
use super::matcher::{Fraction, HeaderMatcher, QueryMatcher, Regex};
use super::metadata::MetadataMatcher;
use super::policy::{
    CorsPolicy, FaultPolicy, HashPolicy, HostRewrite, MirrorPolicy, PathRewrite, RetryPolicy,
};
use super::rbac::RbacFilter;
use super::subset::SubsetMatch;
use super::tracing::RouteTracing;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// One route of a virtual host. The first that matches wins.
#[derive(Debug, Default)]
pub struct Route {
    /// Name for logs.
    pub name: Arc<str>,
    /// What a request must be.
    pub matches: RouteMatch,
    /// What happens.
    pub action: Action,
    /// Header edits of this level.
    pub edits: LevelEdits,
    /// Filter configuration of this level.
    pub filters: FilterOverrides,
    /// The name of spans.
    pub decorator: Option<Decorator>,
    /// How its requests are traced, where it says so.
    pub tracing: Option<Box<RouteTracing>>,
    /// Istio's metadata of the route (`istio.config`), for logs.
    pub config_name: Option<Arc<str>>,
}

/// What a route's requests are called in traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decorator {
    /// The name; not empty.
    pub operation: Bytes,
    /// Whether the other proxy of a call is told it.
    pub propagate: bool,
}

/// What a request must be.
#[derive(Debug, Default)]
pub struct RouteMatch {
    /// The path (without query).
    pub path: PathMatch,
    /// Compare the path without ASCII case (not for regular expressions).
    pub ignore_case: bool,
    /// Headers, all of which must match.
    pub headers: Vec<HeaderMatcher>,
    /// Query parameters, all of which must match.
    pub query: Vec<QueryMatcher>,
    /// What filters told, all of which must match.
    pub metadata: Vec<MetadataMatcher>,
    /// Only gRPC requests.
    pub grpc: bool,
    /// Only this share of requests.
    pub fraction: Option<Fraction>,
}

/// What a path must be.
#[derive(Debug)]
pub enum PathMatch {
    /// Begins with.
    Prefix(Box<str>),
    /// Equal.
    Exact(Box<str>),
    /// Matches as a whole.
    Regex(Regex),
    /// Equal, or begins with it and a `/` (no `/` at its end).
    SeparatedPrefix(Box<str>),
    /// CONNECT requests only.
    Connect,
}

impl Default for PathMatch {
    fn default() -> Self {
        PathMatch::Prefix("/".into())
    }
}

/// What happens to a request.
#[derive(Debug, Default)]
pub enum Action {
    /// It is forwarded.
    Forward(Box<RouteAction>),
    /// It is redirected.
    Redirect(Box<Redirect>),
    /// It is answered here.
    Direct(DirectResponse),
    /// None was configured: 404.
    #[default]
    None,
}

/// How a request is forwarded.
#[derive(Debug)]
pub struct RouteAction {
    /// Where to.
    pub target: Target,
    /// Status when the cluster does not exist; 503 by default.
    pub cluster_not_found_status: u16,
    /// Path rewrite.
    pub path_rewrite: Option<PathRewrite>,
    /// Authority rewrite.
    pub host_rewrite: Option<HostRewrite>,
    /// Append the authority that was rewritten to `x-forwarded-host`.
    pub append_forwarded_host: bool,
    /// Time from the end of the request to the end of the response; `None` is none. Envoy's default is 15 s.
    pub timeout: Option<Duration>,
    /// Longest silence of the stream; `None`: the manager's.
    pub idle_timeout: Option<Duration>,
    /// Longest life of a stream (`max_stream_duration`).
    pub max_stream_duration: Option<Duration>,
    /// Upper bound of a `grpc-timeout` header that replaces the timeout; `Some(ZERO)`: no bound.
    pub grpc_timeout_max: Option<Duration>,
    /// Taken off a `grpc-timeout`.
    pub grpc_timeout_offset: Duration,
    /// Retries.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Copies.
    pub mirrors: Vec<MirrorPolicy>,
    /// Hash sources.
    pub hash: Vec<HashPolicy>,
    /// High priority: the cluster's other circuit breakers.
    pub high_priority: bool,
    /// Upgrades (lower case) that the route allows or forbids over the manager's.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// Labels of endpoints (`metadata_match`); an entry of weighted clusters has its own.
    pub subset: Option<SubsetMatch>,
}

impl RouteAction {
    /// Forwards to one cluster with Envoy's defaults.
    pub fn to(cluster: Arc<ClusterSlot>) -> Self {
        RouteAction {
            target: Target::Cluster(cluster),
            cluster_not_found_status: 503,
            path_rewrite: None,
            host_rewrite: None,
            append_forwarded_host: false,
            timeout: Some(Duration::from_secs(15)),
            idle_timeout: None,
            max_stream_duration: None,
            grpc_timeout_max: None,
            grpc_timeout_offset: Duration::ZERO,
            retry: None,
            mirrors: Vec::new(),
            hash: Vec::new(),
            high_priority: false,
            upgrades: Vec::new(),
            subset: None,
        }
    }
}

/// Where a request goes.
#[derive(Debug)]
pub enum Target {
    /// One cluster.
    Cluster(Arc<ClusterSlot>),
    /// One of several by weight.
    Weighted(WeightedClusters),
    /// The cluster that a request header names (lower-case name).
    Header(Box<str>),
}

/// Clusters by weight.
#[derive(Debug)]
pub struct WeightedClusters {
    entries: Vec<WeightedCluster>,
    total: u64,
}

impl WeightedClusters {
    /// Sums the weights. None when they are all zero or there is no entry.
    pub fn new(entries: Vec<WeightedCluster>) -> Option<Self> {
        let total = entries.iter().map(|entry| u64::from(entry.weight)).sum();
        (total > 0).then_some(WeightedClusters { entries, total })
    }

    /// The entry that a random number chooses.
    pub fn choose(&self, random: u64) -> &WeightedCluster {
        let mut rest = random % self.total;
        for entry in &self.entries {
            match rest.checked_sub(u64::from(entry.weight)) {
                Some(left) => rest = left,
                None => return entry,
            }
        }
        // Unreachable by the sum; the last entry is as good as any.
        &self.entries[self.entries.len() - 1]
    }

    /// All entries.
    pub fn entries(&self) -> &[WeightedCluster] {
        &self.entries
    }
}

/// One of several clusters.
#[derive(Debug)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: Arc<ClusterSlot>,
    /// Its weight.
    pub weight: u32,
    /// Header edits of this level.
    pub edits: LevelEdits,
    /// Filter configuration of this level.
    pub filters: FilterOverrides,
    /// Authority rewrite of this entry.
    pub host_rewrite: Option<Bytes>,
    /// Labels of endpoints: the route's and this entry's (`metadata_match`).
    pub subset: Option<SubsetMatch>,
}

/// A redirect.
#[derive(Debug, Default)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// New scheme.
    pub scheme: Option<Box<str>>,
    /// New host, without port.
    pub host: Option<Box<str>>,
    /// New port.
    pub port: Option<u16>,
    /// New path: whole, prefix or regex.
    pub path: Option<PathRewrite>,
    /// Drop the query.
    pub strip_query: bool,
}

/// An answer from the configuration.
#[derive(Debug)]
pub struct DirectResponse {
    /// Status.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

/// Filter configuration on a route, virtual host or weighted cluster; the most specific wins.
#[derive(Clone, Debug, Default)]
pub struct FilterOverrides {
    /// Faults.
    pub fault: Option<Arc<FaultPolicy>>,
    /// CORS.
    pub cors: Option<Arc<CorsPolicy>>,
    /// Policies, by the filter's name.
    pub policies: Vec<(Box<str>, PolicyOverride)>,
    /// Names of filters that are switched off here.
    pub disabled: Vec<Box<str>>,
}

/// What a route says of a policy filter.
#[derive(Clone, Debug)]
pub enum PolicyOverride {
    /// Access control; none: it is off here.
    Rbac(Option<Arc<RbacFilter>>),
    /// External authorization.
    ExtAuthz(ExtAuthzOverride),
    /// Requirements of tokens.
    Jwt(JwtOverride),
}

impl FilterOverrides {
    /// What this level says of a filter.
    pub fn policy(&self, filter: &str) -> Option<&PolicyOverride> {
        self.policies.iter().find(|(name, _)| &**name == filter).map(|(_, policy)| policy)
    }
}

/// A virtual host of a route configuration.
#[derive(Debug, Default)]
pub struct VirtualHost {
    /// Name, unique in its route configuration.
    pub name: Arc<str>,
    /// Domains: exact, `*.suffix`, `prefix.*` or `*`; in lower case.
    pub domains: Vec<Box<str>>,
    /// Routes in order.
    pub routes: Vec<Arc<Route>>,
    /// Redirect plain requests to https: all, or those from outside.
    pub require_tls: RequireTls,
    /// Header edits of this level.
    pub edits: LevelEdits,
    /// Filter configuration of this level.
    pub filters: FilterOverrides,
    /// Retries of routes that have none of their own.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Send `x-envoy-attempt-count` upstream.
    pub attempt_count_in_request: bool,
    /// Send `x-envoy-attempt-count` downstream.
    pub attempt_count_in_response: bool,
    /// Most body bytes that are kept for retries and mirrors.
    pub retry_buffer_limit: Option<u32>,
}

/// Whether plain requests are redirected to https.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireTls {
    /// Never.
    #[default]
    None,
    /// Requests from outside.
    ExternalOnly,
    /// All.
    All,
}

/// Indexes virtual hosts by domain, in Envoy's order: exact, longest suffix wildcard, longest prefix wildcard, `*`.
#[derive(Clone, Debug, Default)]
pub struct DomainIndex {
    exact: HashMap<Box<str>, Arc<VirtualHost>>,
    suffix: WildcardIndex,
    prefix: WildcardIndex,
    any: Option<Arc<VirtualHost>>,
}

#[derive(Clone, Debug, Default)]
struct WildcardIndex {
    /// Lengths in use, longest first.
    lengths: Vec<usize>,
    hosts: HashMap<Box<str>, Arc<VirtualHost>>,
}

impl WildcardIndex {
    fn insert(&mut self, part: &str, host: &Arc<VirtualHost>) -> bool {
        if self.hosts.contains_key(part) {
            return false;
        }
        self.hosts.insert(part.into(), host.clone());
        if let Err(at) = self.lengths.binary_search_by(|length| part.len().cmp(length)) {
            self.lengths.insert(at, part.len());
        }
        true
    }
}

impl DomainIndex {
    /// Indexes `hosts`.
    ///
    /// # Errors
    /// The first domain that two virtual hosts (or one twice) claim.
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a Arc<VirtualHost>>) -> Result<Self, String> {
        let mut index = DomainIndex::default();
        for host in hosts {
            for domain in &host.domains {
                if !index.insert(domain, host) {
                    return Err(format!(
                        "domain {domain:?} of virtual host {:?} is claimed twice",
                        host.name
                    ));
                }
            }
        }
        Ok(index)
    }

    fn insert(&mut self, domain: &str, host: &Arc<VirtualHost>) -> bool {
        if domain == "*" {
            return self.any.replace(host.clone()).is_none();
        }
        if let Some(suffix) = domain.strip_prefix('*') {
            return self.suffix.insert(suffix, host);
        }
        if let Some(prefix) = domain.strip_suffix('*') {
            return self.prefix.insert(prefix, host);
        }
        self.exact.insert(domain.into(), host.clone()).is_none()
    }

    /// The virtual host for `authority` (lower case; with its port, if it has one).
    pub fn find(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
        if let Some(host) = self.exact.get(authority) {
            return Some(host);
        }
        // A wildcard stands for at least one character.
        for &length in self.suffix.lengths.iter().filter(|length| **length < authority.len()) {
            let Some(suffix) = authority.get(authority.len() - length..) else { continue };
            if let Some(host) = self.suffix.hosts.get(suffix) {
                return Some(host);
            }
        }
        for &length in self.prefix.lengths.iter().filter(|length| **length < authority.len()) {
            let Some(prefix) = authority.get(..length) else { continue };
            if let Some(host) = self.prefix.hosts.get(prefix) {
                return Some(host);
            }
        }
        self.any.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(domains: &[&str]) -> Result<DomainIndex, String> {
        let hosts: Vec<_> = domains
            .iter()
            .map(|domain| {
                let domains = vec![Box::from(*domain)];
                Arc::new(VirtualHost { name: Arc::from(*domain), domains, ..VirtualHost::default() })
            })
            .collect();
        DomainIndex::new(&hosts)
    }

    fn found<'a>(index: &'a DomainIndex, authority: &str) -> Option<&'a str> {
        index.find(authority).map(|host| &*host.name)
    }

    #[test]
    fn exact_then_longest_suffix_then_longest_prefix_then_any() {
        let index = index(&["*", "a.com", "*.a.com", "*.b.a.com", "a.*", "a.b.*"]).unwrap();
        assert_eq!(found(&index, "a.com"), Some("a.com"));
        assert_eq!(found(&index, "x.b.a.com"), Some("*.b.a.com"));
        assert_eq!(found(&index, "x.a.com"), Some("*.a.com"));
        assert_eq!(found(&index, "a.b.org"), Some("a.b.*"));
        assert_eq!(found(&index, "a.org"), Some("a.*"));
        assert_eq!(found(&index, "other"), Some("*"));
    }

    #[test]
    fn a_suffix_wildcard_needs_at_least_one_character() {
        assert_eq!(found(&index(&["*.a.com"]).unwrap(), ".a.com"), None);
    }

    #[test]
    fn a_domain_that_is_claimed_twice_is_an_error() {
        assert!(index(&["a", "a"]).unwrap_err().contains("\"a\""));
    }

    #[test]
    fn authorities_that_are_not_ascii_do_not_panic() {
        assert_eq!(found(&index(&["*b", "a*"]).unwrap(), "ä"), None);
    }
}
