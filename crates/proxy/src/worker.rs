//! Workers: one thread with one current-thread runtime each, with pools and balancers of its own.

use crate::config::{ClusterSlot, Listener, Store};
use crate::listener;
use crate::upstream::LocalCluster;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::sync::mpsc;

/// What a worker is told.
#[derive(Debug)]
enum Command {
    /// Accept on this socket for the listener of that name.
    Accept(Arc<str>, SocketAddr, TcpListener),
    /// Close the listener's socket of that address.
    Close(Arc<str>, SocketAddr),
    /// Look whether connections are to end.
    Drain,
    /// End at once.
    Stop,
}

/// A worker's own state; never leaves its thread.
#[derive(Debug)]
pub struct Worker {
    /// Its number: the index of statistics shards.
    pub index: usize,
    /// The configuration in force.
    pub store: Arc<Store>,
    /// Wakes connections, so that they look whether they are to end.
    connections: RefCell<HashMap<u64, Waker>>,
    next_connection: Cell<u64>,
    clusters: RefCell<HashMap<u64, Rc<LocalCluster>>>,
    random: Cell<u64>,
    date: RefCell<(u64, bytes::Bytes)>,
    /// Spans that wait to be sent.
    pub(crate) spans: crate::trace::Waiting,
}

impl Worker {
    fn new(index: usize, store: Arc<Store>) -> Rc<Self> {
        Rc::new(Worker {
            index,
            store,
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            clusters: RefCell::default(),
            random: Cell::new(rand::random::<u64>() | 1),
            date: RefCell::default(),
            spans: crate::trace::Waiting::default(),
        })
    }

    /// A random number: xorshift64*, good enough for balancing and percentages.
    pub fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 1
    }

    /// A random number of 64 bits: two of the others, whose highest bit is always zero.
    pub fn random64(&self) -> u64 {
        self.random() << 32 ^ self.random()
    }

    /// This worker's side of a cluster; none: the cluster is not in force.
    pub fn cluster(&self, slot: &Arc<ClusterSlot>) -> Option<Rc<LocalCluster>> {
        let config = slot.load();
        let Some(config) = config.as_ref() else {
            self.clusters.borrow_mut().remove(&slot.id);
            return None;
        };
        let mut clusters = self.clusters.borrow_mut();
        let old = clusters.get(&slot.id);
        if let Some(old) = old.filter(|old| Arc::ptr_eq(&old.config, config)) {
            return Some(old.clone());
        }
        let local = Rc::new(LocalCluster::new(slot.clone(), config.clone(), old, self.index));
        clusters.insert(slot.id, local.clone());
        Some(local)
    }

    /// The `date` header's value for this moment.
    pub fn date(&self, now: std::time::SystemTime) -> bytes::Bytes {
        let second = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, crate::http::date::format(second).into());
        }
        date.1.clone()
    }

    /// Has the current task woken whenever connections are to look for their end, until the guard is dropped.
    pub async fn watch(self: &Rc<Self>) -> Watch {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let id = self.next_connection.get();
        self.next_connection.set(id + 1);
        self.connections.borrow_mut().insert(id, waker);
        Watch { worker: self.clone(), id }
    }

    fn wake_connections(&self) {
        self.connections.borrow().values().for_each(Waker::wake_by_ref);
    }

    fn sweep(&self) {
        self.clusters.borrow_mut().retain(|_, cluster| cluster.sweep());
    }
}

/// A connection that is woken when it is to look for its end.
#[derive(Debug)]
pub struct Watch {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(&self.id);
    }
}

/// A listener's socket that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener:?}: cannot bind {address}: {error}")]
pub struct BindError {
    /// The listener.
    pub listener: Arc<str>,
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub error: io::Error,
}

/// A listener's sockets.
#[derive(Debug)]
struct Bound {
    /// The address that they really have.
    actual: SocketAddr,
    transparent: bool,
}

/// All workers, and the sockets that they accept on.
#[derive(Debug)]
pub struct Workers {
    store: Arc<Store>,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    bound: Mutex<HashMap<(Arc<str>, SocketAddr), Bound>>,
    handed: Mutex<HashMap<SocketAddr, TcpListener>>,
}

impl Workers {
    /// Starts as many workers as the store has shards. `handed` are sockets that were bound elsewhere, by address.
    ///
    /// # Errors
    /// A thread or runtime could not be made.
    pub fn start(store: Arc<Store>, handed: Vec<(SocketAddr, TcpListener)>) -> io::Result<Self> {
        let (mut commands, mut threads) = (Vec::new(), Vec::new());
        for index in 0..store.workers() {
            let (sender, receiver) = mpsc::unbounded_channel();
            let store = store.clone();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().event_interval(61).build()?;
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let worker = Worker::new(index, store);
                let tasks = tokio::task::LocalSet::new();
                tasks.block_on(&runtime, run(worker, receiver));
                // Requests that end with their tasks log as well.
                drop(tasks);
                crate::access_log::flush();
            })?;
            commands.push(sender);
            threads.push(thread);
        }
        let (threads, handed) = (Mutex::new(threads), Mutex::new(handed.into_iter().collect()));
        Ok(Workers { store, commands, threads, bound: Mutex::default(), handed })
    }

    /// Brings sockets in line with the listeners in force, and lets drained connections end. Call it after every
    /// change of listeners.
    pub fn sync_listeners(&self) -> Vec<BindError> {
        let table = self.store.listeners();
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |name: &Arc<str>, address: &SocketAddr| {
            let active = table.by_name.get(name);
            active.filter(|active| table.serves(active) && active.config.addresses.contains(address))
        };
        bound.retain(|(name, address), sockets| {
            let keep =
                wanted(name, address).is_some_and(|active| active.config.transparent == sockets.transparent);
            if !keep {
                self.tell(|| Command::Close(name.clone(), *address));
            }
            keep
        });
        let mut errors = Vec::new();
        for (name, active) in &table.by_name {
            for address in active.config.addresses.iter().filter(|address| wanted(name, address).is_some()) {
                if bound.contains_key(&(name.clone(), *address)) {
                    continue;
                }
                match self.bind(&active.config, *address) {
                    Ok(actual) => {
                        let transparent = active.config.transparent;
                        bound.insert((name.clone(), *address), Bound { actual, transparent });
                    }
                    Err(error) => {
                        errors.push(BindError { listener: name.clone(), address: *address, error });
                    }
                }
            }
        }
        self.tell(|| Command::Drain);
        errors
    }

    /// Lets connections look whether they are to end.
    pub fn wake_connections(&self) {
        self.tell(|| Command::Drain);
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.commands {
            // A worker that has ended needs to be told nothing.
            let _ = worker.send(command());
        }
    }

    fn bind(&self, listener: &Listener, address: SocketAddr) -> io::Result<SocketAddr> {
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        let mut actual = address;
        let mut sockets = Vec::new();
        if let Some(first) = handed {
            first.set_nonblocking(true)?;
            if listener.transparent {
                listener::make_transparent(&socket2::SockRef::from(&first), address.is_ipv4())?;
            }
            actual = first.local_addr()?;
            // One accept queue for all: a socket that was bound elsewhere may not have SO_REUSEPORT.
            for _ in 1..self.commands.len() {
                sockets.push(first.try_clone()?);
            }
            sockets.push(first);
        } else {
            for _ in 0..self.commands.len() {
                let socket = listener::bind(actual, listener.backlog, listener.transparent)?;
                actual = socket.local_addr()?;
                sockets.push(socket);
            }
        }
        for (worker, socket) in self.commands.iter().zip(sockets) {
            let _ = worker.send(Command::Accept(listener.name.clone(), address, socket));
        }
        Ok(actual)
    }

    /// The addresses that a listener's sockets really have (where it asked for port 0).
    pub fn bound_addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.iter().filter(|((name, _), _)| &**name == listener).map(|(_, sockets)| sockets.actual).collect()
    }

    /// Ends all workers at once and waits for their threads.
    pub fn stop(&self) {
        self.tell(|| Command::Stop);
        for thread in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

async fn run(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut accepting: HashMap<(Arc<str>, SocketAddr), tokio::task::JoinHandle<()>> = HashMap::new();
    let sweeper = worker.clone();
    tokio::task::spawn_local(async move {
        let mut closed = 0;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sweeper.sweep();
            let now_closed = sweeper.store.close_drained();
            if std::mem::replace(&mut closed, now_closed) != now_closed {
                sweeper.wake_connections();
            }
        }
    });
    tokio::task::spawn_local(crate::access_log::flush_regularly());
    if worker.index == 0 {
        tokio::task::spawn_local(crate::upstream::dns::run(worker.store.clone()));
        if let Some(new) = worker.store.new_keys() {
            tokio::task::spawn_local(crate::filters::jwt::remote::run(worker.clone(), new));
        }
        tokio::task::spawn_local(crate::upstream::run_health_checks(worker.store.clone()));
    }
    while let Some(command) = commands.recv().await {
        match command {
            Command::Accept(name, address, socket) => {
                let task = tokio::task::spawn_local(listener::accept(worker.clone(), name.clone(), socket));
                if let Some(old) = accepting.insert((name, address), task) {
                    old.abort();
                }
            }
            Command::Close(name, address) => {
                if let Some(task) = accepting.remove(&(name, address)) {
                    task.abort();
                }
                worker.wake_connections();
            }
            Command::Drain => worker.wake_connections(),
            Command::Stop => return,
        }
    }
}
