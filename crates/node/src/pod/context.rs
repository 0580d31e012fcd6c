//! What the parts of a pod share.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Facts, Objects, Record, Severity, pod_status};
use crate::image::ImageResolver;
use crate::network::{Addresses, Bridge, NODE_IP, PodNetwork};
use crate::process::Spawner;

/// The node's directories.
#[derive(Debug, Clone)]
pub(crate) struct Dirs {
    root: PathBuf,
}

impl Dirs {
    /// Below the node's state directory.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where the host's file system is mounted read-only.
    pub fn host(&self) -> PathBuf {
        self.root.join("run/host")
    }

    /// Where containers mount their roots, each in its own namespace.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("run/root")
    }

    /// The node's own small programs.
    pub fn bin(&self) -> PathBuf {
        self.root.join("run/bin")
    }

    /// All pods' directories.
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// One pod's directory.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// What stands for a persistent volume claim.
    pub fn claim(&self, namespace: &str, name: &str) -> PathBuf {
        self.root.join("claims").join(namespace).join(name)
    }
}

/// Which users this namespace knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Users(Vec<(u32, u32)>);

impl Users {
    /// Of this process.
    pub fn current() -> Self {
        Self::parse(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
    }

    fn parse(map: &str) -> Self {
        let range = |line: &str| {
            let mut fields = line.split_whitespace().map(str::parse::<u32>);
            let (first, _, count) = (fields.next()?.ok()?, fields.next()?, fields.next()?.ok()?);
            Some((first, count))
        };
        Self(map.lines().filter_map(range).collect())
    }

    /// Whether a process may become this user.
    pub fn knows(&self, id: u32) -> bool {
        self.0.iter().any(|(first, count)| id.checked_sub(*first).is_some_and(|offset| offset < *count))
    }
}

/// The node, as pods see it.
pub(crate) struct Runtime {
    /// Starts processes.
    pub spawner: Spawner,
    /// Joins pods to the network.
    pub bridge: Bridge,
    /// Pods' addresses.
    pub addresses: Addresses,
    /// Programs for images.
    pub images: Arc<dyn ImageResolver>,
    /// The cluster.
    pub objects: Arc<dyn Objects>,
    /// Directories.
    pub dirs: Dirs,
    /// Users that containers can run as.
    pub users: Users,
}

/// One pod's shared state.
pub(crate) struct PodContext {
    /// The node.
    pub runtime: Arc<Runtime>,
    /// The pod as the API has it; labels and annotations may change.
    pub pod: watch::Receiver<Arc<Pod>>,
    /// Ends the application's containers.
    pub stop: CancellationToken,
    /// Ends sidecars, after the application.
    pub stop_sidecars: CancellationToken,
    network: Mutex<Option<Arc<PodNetwork>>>,
    ip: OnceLock<Ipv4Addr>,
    records: Mutex<BTreeMap<String, Record>>,
    changed: watch::Sender<u64>,
    deadline: Mutex<Option<Instant>>,
    failed: OnceLock<(&'static str, String)>,
    started: Timestamp,
}

impl PodContext {
    /// A pod that has not been started.
    pub fn new(
        runtime: Arc<Runtime>,
        pod: watch::Receiver<Arc<Pod>>,
        records: BTreeMap<String, Record>,
    ) -> Self {
        let stop_sidecars = CancellationToken::new();
        Self {
            runtime,
            pod,
            stop: stop_sidecars.child_token(),
            stop_sidecars,
            network: Mutex::new(None),
            ip: OnceLock::new(),
            records: Mutex::new(records),
            changed: watch::Sender::new(0),
            deadline: Mutex::new(None),
            failed: OnceLock::new(),
            started: Timestamp::now(),
        }
    }

    /// The pod as it is now.
    pub fn pod(&self) -> Arc<Pod> {
        self.pod.borrow().clone()
    }

    /// Its directory.
    pub fn dir(&self) -> PathBuf {
        self.runtime.dirs.pod(self.pod().metadata.uid.as_deref().unwrap_or("no-uid"))
    }

    /// A container's log directory.
    pub fn log_dir(&self, container: &str) -> PathBuf {
        self.dir().join("logs").join(container)
    }

    /// Whether the pod uses the node's network.
    pub fn host_network(&self) -> bool {
        self.pod().spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
    }

    /// Its network, while it has one.
    pub fn network(&self) -> Option<Arc<PodNetwork>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the pod its network, once.
    pub fn enter_network(&self, network: PodNetwork) {
        // The address stays known after the network has gone.
        let _ = self.ip.set(network.ip);
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(network));
    }

    /// Takes the network away, and gives the address back.
    pub fn leave_network(&self) {
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(network) = network {
            self.runtime.addresses.release(network.ip);
        }
    }

    /// Its address.
    pub fn ip(&self) -> Option<Ipv4Addr> {
        if self.host_network() { Some(NODE_IP) } else { self.ip.get().copied() }
    }

    /// Reads what is known of containers.
    pub fn records(&self) -> BTreeMap<String, Record> {
        self.lock().clone()
    }

    /// One container's record.
    pub fn record(&self, container: &str) -> Option<Record> {
        self.lock().get(container).cloned()
    }

    /// Changes a container's record and tells whoever watches.
    pub fn update(&self, container: &str, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.lock().get_mut(container) {
            change(record);
        }
        self.touch();
    }

    /// Tells of a change.
    pub fn touch(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Tells when anything changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When what still runs is killed, once the pod is ending. The earliest wish counts.
    pub fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the deadline unless an earlier one is set.
    pub fn end_by(&self, when: Instant) {
        let mut deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *deadline = Some(deadline.map_or(when, |old| old.min(when)));
    }

    /// The node ends the pod as failed; the first reason counts.
    pub fn fail(&self, reason: &'static str, message: &str) {
        // A second reason is dropped.
        let _ = self.failed.set((reason, message.to_owned()));
    }

    /// Whether the node ended the pod as failed.
    pub fn has_failed(&self) -> bool {
        self.failed.get().is_some()
    }

    /// The pod's status now. Conditions keep the times that they have in `published`, which the pod as watched may
    /// not show yet.
    pub fn status(&self, published: &PodStatus) -> PodStatus {
        let mut pod = (*self.pod()).clone();
        let known = pod.status.get_or_insert_default();
        let before = known.start_time.as_ref().map(|t| t.0);
        let mut conditions = published.conditions.clone().unwrap_or_default();
        for condition in known.conditions.take().into_iter().flatten() {
            if conditions.iter().all(|c| c.type_ != condition.type_) {
                conditions.push(condition);
            }
        }
        known.conditions = Some(conditions);
        let start = Some(before.unwrap_or(self.started));
        let facts = Facts { ip: self.ip(), start, failed: self.failed.get().cloned() };
        pod_status(&pod, &self.records(), &facts, Timestamp::now())
    }

    /// Reports an event on the pod.
    pub fn event(&self, severity: Severity, reason: &'static str, message: impl Into<String>) {
        self.runtime.objects.event(&self.pod(), None, severity, reason, message.into());
    }

    /// Reports an event on a container.
    pub fn container_event(
        &self,
        container: &Container,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.runtime.objects.event(&self.pod(), Some(&container.name), severity, reason, message.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rootless_namespace_knows_root_only() {
        let users = Users::parse("         0       1000          1\n");
        assert!(users.knows(0) && !users.knows(1337));
        let all = Users::parse("         0          0 4294967295\n");
        assert!(all.knows(1337));
        let subordinate = Users::parse("0 1000 1\n1 100000 65536\n");
        assert!(subordinate.knows(1337) && !subordinate.knows(70000));
    }
}
