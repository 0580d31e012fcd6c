//! Puts updates in force, each resource by itself; what needs others first waits ("warms").

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lateen_xds::TypeUrl;
use lateen_xds::client::{Client, Received, Rejection, Update};
use lateen_xds::pb::envoy::config::cluster::v3::Cluster as XdsCluster;
use lateen_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message;
use tokio::time::Instant;

use super::files::Wanted;
use super::interest::Interest;
use super::listeners::Listeners;
use super::routes::Routes;
use super::secrets;
use crate::admin::Dump;
use crate::config::Cluster;
use crate::convert::{self, Context};
use crate::stats::ServerStats;
use crate::tls::{Held, SecretSlot, Source};

/// Called after each change of listeners.
pub(crate) type OnListeners = Arc<dyn Fn() + Send + Sync>;

/// A cluster that waits for its endpoints and secrets.
struct Warming {
    cluster: Cluster,
    endpoints_until: Option<Instant>,
    secrets: Vec<Arc<SecretSlot>>,
    secrets_until: Option<Instant>,
}

impl Warming {
    fn is_due(&self, now: Instant) -> bool {
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        (self.cluster.endpoints.is_known() || over(self.endpoints_until))
            && (self.secrets.iter().all(|slot| slot.is_settled()) || over(self.secrets_until))
    }
}

/// Puts updates in force.
pub(crate) struct Applier {
    pub(super) context: Arc<Context>,
    pub(super) stats: Arc<ServerStats>,
    pub(super) dump: Arc<Dump>,
    pub(super) listeners: Listeners,
    pub(super) routes: Routes,
    pub(super) interest: Interest,
    /// Files that hold resources.
    files: Wanted,
    /// The files of clusters' endpoints, with the service's name there, by cluster.
    endpoint_files: BTreeMap<String, (PathBuf, Arc<str>)>,
    /// Clusters that wait for their endpoints, and until when.
    warming: BTreeMap<String, Warming>,
    /// Secrets that were asked for on this stream.
    held: Held,
    /// Whether the first clusters have all been put in force: listeners wait for that.
    clusters_ready: bool,
    /// Whether clusters come from the control plane at all.
    wants_clusters: bool,
    on_listeners: OnListeners,
}

/// The moment at which a wait ends; zero means that it does not.
pub(super) fn deadline(wait: Duration) -> Option<Instant> {
    (!wait.is_zero()).then(|| Instant::now() + wait)
}

impl Applier {
    pub(crate) fn new(
        context: Arc<Context>,
        stats: Arc<ServerStats>,
        dump: Arc<Dump>,
        wants_clusters: bool,
        on_listeners: OnListeners,
    ) -> Self {
        Applier {
            context,
            stats,
            dump,
            listeners: Listeners::default(),
            routes: Routes::default(),
            interest: Interest::default(),
            files: Wanted::new(),
            endpoint_files: BTreeMap::new(),
            warming: BTreeMap::new(),
            held: Held::default(),
            clusters_ready: !wants_clusters,
            wants_clusters,
            on_listeners,
        }
    }

    /// Puts an update in force and says what of it cannot be used.
    pub(crate) fn apply(&mut self, update: &Update) -> Vec<Rejection> {
        let mut rejected = Vec::new();
        match update.type_url {
            TypeUrl::Cluster => self.clusters(update, &mut rejected),
            TypeUrl::Endpoints => self.endpoints(update, &mut rejected),
            TypeUrl::Listener => self.listeners(update, &mut rejected),
            TypeUrl::Route => self.routes(update, &mut rejected),
            TypeUrl::VirtualHost => self.virtual_hosts(update, &mut rejected),
            TypeUrl::Secret => secrets::apply(update, &self.held, &mut rejected),
            TypeUrl::ExtensionConfig | TypeUrl::NameTable => {
                let reason = format!("{} is not supported", update.type_url);
                rejected.extend(update.resources.iter().map(|resource| reject(&resource.name, &reason)));
            }
        }
        self.count(update, &rejected);
        // Secrets are told by their places, which hold no text of keys.
        if update.type_url != TypeUrl::Secret {
            self.dump.update(update, &rejected);
        }
        self.settle();
        rejected
    }

    /// Looks whether something that warms has waited long enough.
    pub(crate) fn tick(&mut self) {
        self.settle();
    }

    /// Tells of secrets that come, whatever stream they come by.
    pub(crate) fn arrivals(&self) -> tokio::sync::watch::Receiver<u64> {
        self.context.secrets.arrivals()
    }

    /// Tells the client what is wanted now.
    pub(crate) fn subscribe(&mut self, client: &mut Client) {
        client.subscribe(TypeUrl::Secret, self.held.refresh(&self.context.secrets, &Source::Ads));
        client.subscribe(TypeUrl::Endpoints, self.interest.endpoints());
        client.subscribe(TypeUrl::Route, self.interest.routes());
        client.subscribe(TypeUrl::VirtualHost, self.routes.patterns());
    }

    fn clusters(&mut self, update: &Update, rejected: &mut Vec<Rejection>) {
        for resource in &update.resources {
            let converted = decode::<XdsCluster>(resource).and_then(|message| {
                let converted =
                    convert::cluster(&message, &self.context).map_err(|error| error.to_string())?;
                Ok((message.name, converted))
            });
            match converted {
                Ok((name, converted)) if name == resource.name => {
                    self.wants_endpoints(&name, &converted);
                    let warming = Warming {
                        cluster: converted.cluster,
                        endpoints_until: converted.waits_for_endpoints.map_or(Some(Instant::now()), deadline),
                        secrets_until: deadline(convert::longest_wait(&converted.waits_for_secrets)),
                        secrets: converted.waits_for_secrets.into_iter().map(|(slot, _)| slot).collect(),
                    };
                    self.warming.insert(name, warming);
                }
                Ok((name, _)) => {
                    rejected.push(reject(&resource.name, &format!("name: is `{name}` in the cluster")))
                }
                Err(reason) => rejected.push(reject(&resource.name, &reason)),
            }
        }
        for name in &update.removed {
            self.warming.remove(name);
            self.interest.cluster(name, None);
            self.endpoint_files.remove(name);
            add(&self.stats.clusters.removed, 1);
        }
        self.context.store.remove_clusters(update.removed.iter().map(String::as_str));
    }

    /// Notes where a cluster's endpoints come from.
    pub(crate) fn wants_endpoints(&mut self, name: &str, converted: &convert::ConvertedCluster) {
        let mut service = converted.waits_for_endpoints.map(|_| converted.cluster.endpoints.name.clone());
        self.endpoint_files.remove(name);
        if let Some(path) = &converted.endpoints_file
            && let Some(service) = service.take()
        {
            self.endpoint_files.insert(name.to_owned(), (path.clone(), service));
        }
        self.interest.cluster(name, service);
    }

    /// Notes the route configurations that a listener takes.
    pub(crate) fn wants_routes(&mut self, name: &str, converted: &convert::ConvertedListener) {
        let routes = converted.waits_for_routes.iter().map(|(name, _)| name.clone()).collect();
        self.interest.listener(name, routes);
    }

    /// Counters of the process.
    pub(crate) fn stats(&self) -> Arc<ServerStats> {
        self.stats.clone()
    }

    /// Resources as they came.
    pub(crate) fn dump(&self) -> Arc<Dump> {
        self.dump.clone()
    }

    /// Whether resources come from files.
    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty() || !self.endpoint_files.is_empty()
    }

    /// All resources of a type come from a file.
    pub(crate) fn read_all_from(&mut self, kind: TypeUrl, path: PathBuf) {
        self.files.insert((kind, path), None);
    }

    /// The files that hold resources, with the names that are wanted of each.
    pub(super) fn files(&self) -> Wanted {
        let mut files = self.files.clone();
        for (path, service) in self.endpoint_files.values() {
            let names =
                files.entry((TypeUrl::Endpoints, path.clone())).or_insert_with(|| Some(BTreeSet::new()));
            names.get_or_insert_default().insert(service.to_string());
        }
        files
    }

    fn endpoints(&mut self, update: &Update, rejected: &mut Vec<Rejection>) {
        for resource in &update.resources {
            let set = decode::<ClusterLoadAssignment>(resource)
                .and_then(|message| convert::endpoints(&message).map_err(|error| error.to_string()));
            match set {
                Ok(set) => self.context.store.put_endpoints(&resource.name, set),
                Err(reason) => rejected.push(reject(&resource.name, &reason)),
            }
        }
        for name in &update.removed {
            // A cluster that is still there has no endpoints then.
            self.context.store.put_endpoints(name, Default::default());
        }
    }

    /// Puts in force whatever has what it needs, or has waited long enough.
    fn settle(&mut self) {
        let now = Instant::now();
        let due: Vec<String> = self
            .warming
            .iter()
            .filter(|(_, warming)| warming.is_due(now))
            .map(|(name, _)| name.clone())
            .collect();
        let clusters: Vec<Cluster> =
            due.iter().filter_map(|name| self.warming.remove(name)).map(|warming| warming.cluster).collect();
        if !clusters.is_empty() {
            let table = self.context.store.clusters();
            let new = clusters.iter().filter(|cluster| !table.contains_key(&cluster.name)).count();
            add(&self.stats.clusters.added, new);
            add(&self.stats.clusters.modified, clusters.len() - new);
            self.context.store.put_clusters(clusters);
        }
        self.stats.clusters_warming.store(self.warming.len() as u64, Ordering::Relaxed);
        let seen = self.stats.xds[0].attempts.load(Ordering::Relaxed) > 0;
        self.clusters_ready |= seen && self.warming.is_empty();
        if self.clusters_ready || !self.wants_clusters {
            if self.settle_listeners(now) {
                (self.on_listeners)();
            }
            self.tell_live();
        }
    }

    fn count(&self, update: &Update, rejected: &[Rejection]) {
        let service = match update.type_url {
            TypeUrl::Cluster => 0,
            TypeUrl::Listener => 1,
            TypeUrl::Route | TypeUrl::VirtualHost => 2,
            TypeUrl::Endpoints => 3,
            TypeUrl::Secret | TypeUrl::ExtensionConfig | TypeUrl::NameTable => return,
        };
        let stats = &self.stats.xds[service];
        add(&stats.attempts, 1);
        add(if rejected.is_empty() { &stats.successes } else { &stats.rejected }, 1);
    }
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// Names a resource that cannot be used.
pub(super) fn reject(name: &str, reason: &str) -> Rejection {
    Rejection { name: name.to_owned(), reason: reason.to_owned() }
}

/// Decodes a resource; the error is for a NACK.
pub(super) fn decode<M: Message + Default>(resource: &Received) -> Result<M, String> {
    let any = resource.resource.as_ref().ok_or("the resource is empty")?;
    M::decode(any.value.as_slice()).map_err(|error| format!("cannot be decoded: {error}"))
}

/// Names as a set.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a Arc<str>>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}
