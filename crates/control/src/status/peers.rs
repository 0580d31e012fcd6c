//! Other control planes of the mesh: each knows the proxies that are connected to it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use lateen_mesh::{ConfigKey, Mesh};
use serde::{Deserialize, Serialize};

use super::ledger::{Entry, Ledger};
use crate::ads::Registry;
use crate::issuers;

/// The page that a control plane tells others on. Source of the name: istiod's debug pages.
pub(crate) const PAGE: &str = "/debug/config_distribution";

/// What others have to say is not waited for longer.
const LIMIT: Duration = Duration::from_secs(2);

/// Resources that are asked about at once; the others' turn comes when these are applied everywhere.
pub(super) const MAX_ASKED: usize = 64;

/// How far the proxies of one control plane are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    /// How many proxies are connected.
    pub proxies: usize,
    /// How many have applied each resource, in the order of the question.
    pub applied: Vec<usize>,
}

impl Distribution {
    /// Answers a question: `resource=KIND/NAMESPACE/NAME@GENERATION&resource=...`.
    pub(crate) fn answer(query: &str, ledger: &Ledger, registry: &Registry) -> Distribution {
        let asked = query.split('&').filter_map(|pair| pair.strip_prefix("resource=")).take(MAX_ASKED);
        let one = |text: &str| {
            let published = resource(text).and_then(|(key, generation)| ledger.since(&key, generation));
            registry.applied(published.unwrap_or(u64::MAX)).0
        };
        let applied = asked.map(one).collect();
        Distribution { proxies: registry.applied(0).1, applied }
    }
}

/// A resource and a generation, as the page names them.
fn resource(text: &str) -> Option<(ConfigKey, i64)> {
    let (place, generation) = text.rsplit_once('@')?;
    let mut parts = place.splitn(3, '/');
    let kind = parts.next()?;
    let kind = super::places::KINDS.into_iter().find(|known| known.to_string() == kind)?;
    Some((ConfigKey::new(kind, parts.next()?, parts.next()?), generation.parse().ok()?))
}

/// How far the proxies of all others are.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// How many have applied each resource that was asked about.
    pub applied: HashMap<ConfigKey, usize>,
    /// How many there are.
    pub proxies: usize,
}

/// Who else there is.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    /// The control planes' namespace.
    pub namespace: String,
    /// The name of our own pod.
    pub pod: String,
    /// The port of the debug pages.
    pub port: u16,
}

impl Peers {
    /// How many of the other control planes' proxies have applied each of these, and how many proxies they have. One that
    /// does not answer counts for nothing.
    pub(super) async fn applied(&self, mesh: &Mesh, entries: &[&Entry]) -> Elsewhere {
        let mut query = String::new();
        for entry in entries {
            let ConfigKey { kind, namespace, name } = &entry.note.key;
            let separator = if query.is_empty() { '?' } else { '&' };
            // Writing to a String does not fail.
            let _ = write!(query, "{separator}resource={kind}/{namespace}/{name}@{}", entry.note.generation);
        }
        let answers = join_all(self.addresses(mesh).into_iter().map(|ip| self.ask(ip, &query))).await;
        let mut elsewhere = Elsewhere::default();
        for answer in answers.into_iter().flatten() {
            elsewhere.proxies += answer.proxies;
            for (entry, count) in entries.iter().zip(answer.applied) {
                *elsewhere.applied.entry(entry.note.key.clone()).or_default() += count;
            }
        }
        elsewhere
    }

    /// The addresses of the other pods.
    fn addresses(&self, mesh: &Mesh) -> Vec<IpAddr> {
        let others = mesh.workloads().filter(|w| {
            w.alive
                && *w.meta.namespace == *self.namespace
                && *w.meta.name != *self.pod
                && w.labels.get("app").is_some_and(|app| &**app == "istiod")
        });
        others.filter_map(|w| w.addresses.first()?.parse().ok()).collect()
    }

    async fn ask(&self, ip: IpAddr, query: &str) -> Option<Distribution> {
        let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        let uri = format!("http://{host}:{}{PAGE}{query}", self.port);
        match tokio::time::timeout(LIMIT, issuers::get(&uri, None)).await {
            Ok(Ok(body)) => serde_json::from_slice(&body).ok(),
            Ok(Err(error)) => {
                tracing::debug!(%ip, error = %format_args!("{error:#}"), "another control plane does not answer");
                None
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use lateen_mesh::Kind;

    use super::*;

    #[test]
    fn resources_are_named_with_their_generation() {
        let key = ConfigKey::new(Kind::VirtualService, "default", "reviews");
        assert_eq!(resource("VirtualService/default/reviews@3"), Some((key, 3)));
        for nonsense in
            ["", "VirtualService/default/reviews", "Pod/default/a@1", "VirtualService/a@1", "Gateway/a/b@x"]
        {
            assert_eq!(resource(nonsense), None, "{nonsense}");
        }
        let (ledger, registry) = (Ledger::default(), Registry::default());
        let answer = Distribution::answer("resource=Gateway/a/b@1&x=y", &ledger, &registry);
        assert_eq!(answer, Distribution { proxies: 0, applied: vec![0] });
    }
}
