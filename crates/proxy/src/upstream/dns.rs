//! Clusters that are found by DNS: names are looked up again and again, and endpoints swapped when the answer changes.

use super::connect::resolve;
use crate::config::{Cluster, Discovery, DnsDiscovery, Endpoint, EndpointSet, EndpointSlot, Store};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// A cluster that is being looked up.
struct Lookup {
    wanted: DnsDiscovery,
    slot: Arc<EndpointSlot>,
    task: JoinHandle<()>,
}

/// Keeps the endpoints of all DNS clusters current, for as long as the store lives.
pub async fn run(store: Arc<Store>) {
    let mut changes = store.dns_changes();
    let mut lookups: HashMap<Arc<str>, Lookup> = HashMap::new();
    loop {
        update(&store, &mut lookups);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn wanted(cluster: &Cluster) -> Option<(&DnsDiscovery, bool)> {
    match &cluster.discovery {
        Discovery::StrictDns(dns) => Some((dns, false)),
        Discovery::LogicalDns(dns) => Some((dns, true)),
        Discovery::Static | Discovery::Eds | Discovery::OriginalDst { .. } => None,
    }
}

/// Starts look-ups of new clusters, and ends those of clusters that are gone or changed.
fn update(store: &Store, lookups: &mut HashMap<Arc<str>, Lookup>) {
    let clusters = store.clusters();
    lookups.retain(|name, lookup| {
        let current = clusters.get(name).and_then(|slot| slot.load().clone());
        let keep = current.as_deref().is_some_and(|cluster| {
            Arc::ptr_eq(&cluster.endpoints, &lookup.slot)
                && wanted(cluster).is_some_and(|(dns, _)| *dns == lookup.wanted)
        });
        if !keep {
            lookup.task.abort();
        }
        keep
    });
    for (name, slot) in clusters.iter() {
        let Some(cluster) = slot.load().clone() else { continue };
        let Some((dns, first_only)) = wanted(&cluster).filter(|_| !lookups.contains_key(name)) else {
            continue;
        };
        let (wanted, slot) = (dns.clone(), cluster.endpoints.clone());
        let task = tokio::task::spawn_local(look_up(name.clone(), wanted.clone(), slot.clone(), first_only));
        lookups.insert(name.clone(), Lookup { wanted, slot, task });
    }
}

async fn look_up(cluster: Arc<str>, dns: DnsDiscovery, slot: Arc<EndpointSlot>, first_only: bool) {
    let mut last: Option<Vec<(usize, SocketAddr)>> = None;
    loop {
        let (mut found, mut failed) = (Vec::new(), false);
        for (at, target) in dns.targets.iter().enumerate() {
            match resolve(&target.host, target.port, dns.family).await {
                Ok(addresses) => {
                    let count = if first_only { 1 } else { usize::MAX };
                    found.extend(addresses.into_iter().take(count).map(|address| (at, address)));
                }
                Err(error) => {
                    tracing::debug!(%cluster, host = %target.host, %error, "cannot resolve");
                    failed = true;
                    // What was known of this name stays.
                    found.extend(last.iter().flatten().filter(|(of, _)| *of == at).copied());
                }
            }
        }
        if last.as_ref() != Some(&found) || (failed && !slot.is_known()) {
            slot.store(set_of(&dns, &found));
            last = Some(found);
        }
        tokio::time::sleep(dns.refresh).await;
    }
}

fn set_of(dns: &DnsDiscovery, found: &[(usize, SocketAddr)]) -> EndpointSet {
    let endpoint = |(at, address): &(usize, SocketAddr)| {
        let target = &dns.targets[*at];
        let hostname = target.template.hostname.clone().or_else(|| Some(target.host.clone()));
        Arc::new(Endpoint { address: *address, hostname, state: Arc::default(), ..target.template.clone() })
    };
    EndpointSet { endpoints: found.iter().map(endpoint).collect(), ..EndpointSet::default() }
}
