use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lateen_generate::{Generator, Proxy};
use lateen_mesh::{Change, Changes, Mesh, Resource, World};
use tokio::sync::{mpsc, watch};

use crate::metrics::Metrics;
use crate::source::{SourceId, Update};
use crate::status::{Ledger, Note};
use crate::view::View;

/// How many updates are taken into one snapshot at most; more wait for the next.
const BATCH: usize = 10_000;

/// How many updates may wait while a snapshot is built. Sources that are ahead of that wait.
const QUEUE: usize = 4_096;

/// The mesh as the control plane sees it now: the latest snapshot, and what each proxy may see of it.
#[derive(Debug)]
pub struct Hub {
    generator: Mutex<Generator>,
    published: watch::Sender<Published>,
    metrics: Arc<Metrics>,
    /// Which generation of each resource is part of it since when.
    pub(crate) ledger: Ledger,
}

/// A snapshot that was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Counts published snapshots; 0 until the sources have delivered their first lists.
    pub number: u64,
    /// The version as proxies see it.
    pub version: Arc<str>,
    /// When the first change in it arrived.
    pub since: Instant,
}

impl Hub {
    /// A hub without anything published.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        let mesh = Arc::new(Mesh::default());
        let published = Published { number: 0, version: version_text(0), since: Instant::now() };
        Arc::new(Hub {
            generator: Mutex::new(Generator::new(mesh)),
            published: watch::Sender::new(published),
            metrics,
            ledger: Ledger::default(),
        })
    }

    /// Follows publications.
    pub fn subscribe(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Whether the sources have delivered their first lists.
    pub fn is_ready(&self) -> bool {
        self.published.borrow().number > 0
    }

    /// The latest snapshot.
    pub fn mesh(&self) -> Arc<Mesh> {
        Arc::clone(self.generator().mesh())
    }

    /// Everything that a proxy may see at the latest snapshot.
    pub fn view(&self, proxy: &Proxy) -> View {
        View(self.generator().resources(proxy))
    }

    /// What is laid over a proxy's bootstrap, encoded.
    pub fn bootstrap(&self, proxy: &Proxy) -> Vec<u8> {
        self.generator().bootstrap(proxy)
    }

    fn generator(&self) -> MutexGuard<'_, Generator> {
        self.generator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, mesh: Arc<Mesh>, changes: &Changes, since: Instant) {
        let number = {
            let mut generator = self.generator();
            generator.step(Arc::clone(&mesh), changes);
            self.published.borrow().number + 1
        };
        self.metrics.on_snapshot(&mesh, changes);
        self.ledger.published(number);
        // Subscribers look at the generator after this: it must have made its step by now.
        self.published.send_replace(Published { number, version: version_text(number), since });
    }
}

/// A version as Istio writes it: the time, and a counter.
fn version_text(number: u64) -> Arc<str> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}/{number}", now.as_secs()).into()
}

/// The queue into the hub's task.
pub fn queue() -> (mpsc::Sender<Update>, mpsc::Receiver<Update>) {
    mpsc::channel(QUEUE)
}

/// Applies updates to the world and publishes a snapshot for each batch, until every source is gone.
///
/// A batch is whatever arrived while the last one was worked on: an idle control plane publishes at once, a busy
/// one merges. Nothing is published before every source of `expected` has delivered its first list.
pub async fn run(hub: Arc<Hub>, mut updates: mpsc::Receiver<Update>, expected: Vec<SourceId>) {
    let mut world = World::new();
    let mut waiting: Vec<SourceId> = expected;
    let mut batch = Vec::new();
    let mut since: Option<Instant> = None;
    while updates.recv_many(&mut batch, BATCH).await > 0 {
        let received = Instant::now();
        for update in batch.drain(..) {
            let change = match update {
                Update::Upsert(resource) => {
                    Note::taken(&resource).into_iter().for_each(|note| hub.ledger.note(note));
                    apply(&hub.metrics, &mut world, resource)
                }
                Update::Refused(note) => {
                    hub.ledger.note(note);
                    Change::None
                }
                Update::Remove(key) => {
                    hub.ledger.remove(&key);
                    hub.metrics.on_event(key.kind, "delete");
                    world.remove(&key)
                }
                Update::Listed(source) => {
                    waiting.retain(|id| *id != source);
                    Change::None
                }
            };
            if change != Change::None {
                since.get_or_insert(received);
            }
        }
        let first = hub.published.borrow().number == 0;
        if !waiting.is_empty() {
            continue;
        }
        if since.is_none() && !first {
            hub.ledger.published(hub.published.borrow().number);
            continue;
        }
        let (mesh, changes) = world.snapshot();
        let started = since.take().unwrap_or(received);
        if changes.is_empty() && !first {
            hub.ledger.published(hub.published.borrow().number);
            continue;
        }
        hub.publish(mesh, &changes, started);
        tracing::info!(
            resources = changes.keys.len(),
            services = changes.endpoints.len(),
            proxies = hub.metrics.connected(),
            took_ms = format_args!("{:.2}", started.elapsed().as_secs_f64() * 1e3),
            "push"
        );
    }
}

fn apply(metrics: &Metrics, world: &mut World, resource: Resource) -> Change {
    metrics.on_event(crate::source::kind_of(&resource), "add");
    world.upsert(resource)
}
