use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lateen_generate::Proxy;
use lateen_identity::SpiffeId;
use lateen_xds::server::Session;

use crate::view::View;

/// The open streams, for the debug pages.
#[derive(Debug, Default)]
pub struct Registry {
    next: AtomicU64,
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

/// Whose stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// A proxy's.
    Proxy,
    /// An agent's that follows the table of names and nothing else: its proxy has a stream of its own, which stands for
    /// both.
    Names,
}

/// One open stream.
#[derive(Debug)]
pub struct Connection {
    /// `<node id>-<number>`, as Istio names connections.
    pub id: String,
    number: u64,
    /// The proxy behind it.
    pub proxy: Proxy,
    /// The identity that the client has proved, which is that of its node: who may be given secrets. None on the
    /// plaintext port.
    pub identity: Option<SpiffeId>,
    /// Version of the proxy, as its node tells (`ISTIO_VERSION`); empty when it does not.
    pub istio_version: String,
    /// When it was opened.
    pub connected: SystemTime,
    session: Mutex<Session<View>>,
    /// The last publication that the proxy has applied as a whole.
    applied: AtomicU64,
}

impl Connection {
    /// The proxy has applied this publication, if it took everything that it was sent.
    pub(super) fn settle(&self, number: u64) {
        if self.session().is_applied() {
            self.applied.store(number, Ordering::Relaxed);
        }
    }

    /// The protocol state. Never held across an await.
    pub fn session(&self) -> MutexGuard<'_, Session<View>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Adds a stream; an agent's is not shown.
    pub(super) fn add(
        &self,
        proxy: Proxy,
        identity: Option<SpiffeId>,
        istio_version: String,
        (client, session): (Client, Session<View>),
    ) -> Arc<Connection> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{}-{number}", proxy.id);
        let connected = SystemTime::now();
        let connection = Arc::new(Connection {
            id,
            number,
            proxy,
            identity,
            istio_version,
            connected,
            session: Mutex::new(session),
            applied: AtomicU64::new(0),
        });
        if client == Client::Proxy {
            self.lock().insert(number, Arc::clone(&connection));
        }
        connection
    }

    /// Takes a stream out.
    pub(super) fn remove(&self, connection: &Connection) {
        self.lock().remove(&connection.number);
    }

    /// Every open stream, oldest first.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.lock().values().cloned().collect()
    }

    /// How many proxies have applied a publication, and how many there are.
    pub fn applied(&self, number: u64) -> (usize, usize) {
        let connections = self.lock();
        let applied = connections.values().filter(|c| c.applied.load(Ordering::Relaxed) >= number);
        (applied.count(), connections.len())
    }

    /// The newest stream of a proxy, by node id, `pod.namespace` or connection id.
    pub fn find(&self, proxy: &str) -> Option<Arc<Connection>> {
        let matches = |c: &&Arc<Connection>| {
            let short = format!("{}.{}", c.proxy.name, c.proxy.namespace);
            *c.proxy.id == *proxy || short == proxy || c.id == proxy
        };
        self.lock().values().rev().find(matches).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
