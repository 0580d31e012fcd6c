//! From a request to its virtual host, route and cluster.

use super::RequestHead;
use crate::config::{
    Action, ClusterSlot, FilterOverrides, Metadata, PathMatch, PolicyOverride, RequireTls, Route,
    RouteAction, RouteMatch, RouteTable, SubsetMatch, Target, VirtualHost, WeightedCluster,
};
use crate::worker::Worker;
use std::sync::Arc;

/// What a request was matched with.
#[derive(Debug, Default)]
pub struct Matched {
    /// The route table; none: none is known yet.
    pub table: Option<Arc<RouteTable>>,
    /// The virtual host.
    pub host: Option<Arc<VirtualHost>>,
    /// The route.
    pub route: Option<Arc<Route>>,
    /// The chosen entry of weighted clusters.
    weighted: Option<usize>,
    /// The cluster.
    pub cluster: Option<Arc<ClusterSlot>>,
}

impl Matched {
    /// Matches a request.
    pub fn new(
        table: Option<Arc<RouteTable>>,
        request: &RequestHead,
        metadata: &Metadata,
        worker: &Worker,
    ) -> Self {
        let mut matched = Matched { table, ..Matched::default() };
        let Some(host) = matched.table.as_ref().and_then(|table| table.find(&request.authority)) else {
            return matched;
        };
        let host = host.clone();
        matched.route = find(&host.routes, request, metadata, worker).cloned();
        matched.host = Some(host);
        matched.choose_cluster(request, worker);
        matched
    }

    fn choose_cluster(&mut self, request: &RequestHead, worker: &Worker) {
        let Some(Action::Forward(action)) = self.route.as_ref().map(|route| &route.action) else { return };
        match &action.target {
            Target::Cluster(slot) => self.cluster = Some(slot.clone()),
            Target::Weighted(clusters) => {
                let chosen = clusters.choose(worker.random());
                self.weighted = clusters.entries().iter().position(|entry| std::ptr::eq(entry, chosen));
                self.cluster = Some(chosen.cluster.clone());
            }
            Target::Header(name) => {
                let name = request.headers.get_str(name);
                self.cluster = name.and_then(|name| worker.store.clusters().get(name).cloned());
            }
        }
    }

    /// The chosen entry of weighted clusters.
    pub fn weighted(&self) -> Option<&WeightedCluster> {
        let Some(Action::Forward(action)) = self.route.as_ref().map(|route| &route.action) else {
            return None;
        };
        match &action.target {
            Target::Weighted(clusters) => clusters.entries().get(self.weighted?),
            _ => None,
        }
    }

    /// The labels that an endpoint must bear.
    pub fn subset<'a>(&'a self, action: &'a RouteAction) -> Option<&'a SubsetMatch> {
        match &action.target {
            Target::Weighted(_) => self.weighted()?.subset.as_ref(),
            _ => action.subset.as_ref(),
        }
    }

    /// Filter configuration, most specific first.
    pub fn overrides(&self) -> impl Iterator<Item = &FilterOverrides> {
        let weighted = self.weighted().map(|entry| &entry.filters);
        let route = self.route.as_ref().map(|route| &route.filters);
        let host = self.host.as_ref().map(|host| &host.filters);
        [weighted, route, host].into_iter().flatten()
    }

    /// What the most specific level that names a filter says of it.
    pub fn policy(&self, filter: &str) -> Option<&PolicyOverride> {
        self.overrides().find_map(|level| level.policy(filter))
    }

    /// Whether the most specific level that names the filter switches it off.
    pub fn is_disabled(&self, filter: &str) -> bool {
        let said = self.overrides().find_map(|level| {
            let off = level.disabled.iter().any(|off| &**off == filter);
            (off || level.policy(filter).is_some()).then_some(off)
        });
        said.unwrap_or(false)
    }

    /// Whether plain requests must go to https.
    pub fn requires_tls(&self, external: bool) -> bool {
        match self.host.as_ref().map(|host| host.require_tls) {
            Some(RequireTls::All) => true,
            Some(RequireTls::ExternalOnly) => external,
            Some(RequireTls::None) | None => false,
        }
    }
}

fn find<'a>(
    routes: &'a [Arc<Route>],
    request: &RequestHead,
    metadata: &Metadata,
    worker: &Worker,
) -> Option<&'a Arc<Route>> {
    let (path, query) = parts(request);
    routes.iter().find(|route| matches(&route.matches, request, (path, query), metadata, worker))
}

/// Whether a request is what a route (or a filter's rule) wants.
pub fn route_matches(
    wanted: &RouteMatch,
    request: &RequestHead,
    metadata: &Metadata,
    worker: &Worker,
) -> bool {
    matches(wanted, request, parts(request), metadata, worker)
}

/// Path and query.
fn parts(request: &RequestHead) -> (&[u8], &[u8]) {
    let query = match memchr::memchr(b'?', &request.path) {
        Some(at) => &request.path[at + 1..],
        None => &b""[..],
    };
    (request.path_only(), query)
}

fn matches(
    wanted: &RouteMatch,
    request: &RequestHead,
    (path, query): (&[u8], &[u8]),
    metadata: &Metadata,
    worker: &Worker,
) -> bool {
    path_matches(&wanted.path, wanted.ignore_case, request, path)
        && wanted.headers.iter().all(|header| header.matches(request))
        && wanted.query.iter().all(|parameter| parameter.matches(query))
        && wanted.metadata.iter().all(|matcher| matcher.matches(metadata))
        && (!wanted.grpc || request.is_grpc())
        && wanted.fraction.is_none_or(|fraction| fraction.hits(worker.random()))
}

fn path_matches(wanted: &PathMatch, ignore_case: bool, request: &RequestHead, path: &[u8]) -> bool {
    let begins = |prefix: &[u8]| {
        path.get(..prefix.len()).is_some_and(|start| {
            if ignore_case { start.eq_ignore_ascii_case(prefix) } else { start == prefix }
        })
    };
    match wanted {
        PathMatch::Prefix(prefix) => begins(prefix.as_bytes()),
        PathMatch::Exact(exact) => path.len() == exact.len() && begins(exact.as_bytes()),
        PathMatch::Regex(regex) => regex.is_match(path),
        PathMatch::SeparatedPrefix(prefix) => {
            begins(prefix.as_bytes()) && matches!(path.get(prefix.len()), None | Some(b'/'))
        }
        PathMatch::Connect => request.method == http::Method::CONNECT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Headers, Scheme};

    fn path(wanted: PathMatch, ignore_case: bool, path: &'static str) -> bool {
        let request = RequestHead {
            method: http::Method::GET,
            authority: "a".into(),
            path: path.into(),
            scheme: Scheme::Http,
            headers: Headers::new(),
        };
        path_matches(&wanted, ignore_case, &request, request.path_only())
    }

    #[test]
    fn a_separated_prefix_ends_at_a_slash() {
        let wanted = || PathMatch::SeparatedPrefix("/a".into());
        assert!(path(wanted(), false, "/a"));
        assert!(path(wanted(), false, "/a/b"));
        assert!(path(wanted(), false, "/a?x"));
        assert!(!path(wanted(), false, "/ab"));
    }

    #[test]
    fn exact_paths_ignore_the_query_and_case_where_told() {
        assert!(path(PathMatch::Exact("/Login".into()), true, "/login?next"));
        assert!(!path(PathMatch::Exact("/Login".into()), false, "/login"));
        assert!(!path(PathMatch::Exact("/login".into()), false, "/login/"));
    }
}
