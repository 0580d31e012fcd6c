//! The durable log of the store: a redb file that one thread writes in batches.
//!
//! A commit hands the change to the operating system before the client hears of it, so that a killed process loses
//! nothing; the device itself is synced once a second, not once a write, because a laptop's mesh writes hundreds
//! of objects while it starts.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use tokio::sync::oneshot;

use super::entry::{Entry, Key};
use super::{OpenError, ShardName};

const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The page cache: everything is in memory anyway.
const CACHE_BYTES: usize = 512 * 1024;
/// Writes that may wait for the thread.
const QUEUE: usize = 4096;
/// Writes in one transaction.
const BATCH: usize = 256;
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Resolves to whether the write is on disk.
pub type Ticket = oneshot::Receiver<bool>;

struct Op {
    key: String,
    revision: u64,
    /// None deletes.
    body: Option<Bytes>,
    done: oneshot::Sender<bool>,
}

/// What a file held.
pub struct Loaded {
    /// The last revision.
    pub revision: u64,
    /// Every object.
    pub entries: Vec<(ShardName, Key, Entry)>,
}

/// The writer's handle; the thread ends when it is dropped.
pub struct Disk {
    queue: Option<SyncSender<Op>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Disk {
    /// Opens or makes the file and reads it.
    pub fn open(path: &Path) -> Result<(Self, Loaded), OpenError> {
        let shown = path.display().to_string();
        let io = |source| OpenError::Io { path: shown.clone(), source };
        let content = |message: String| OpenError::Content { path: shown.clone(), message };
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let sync_file = file.try_clone().map_err(io)?;
        let dirty = Arc::new(AtomicBool::new(false));
        let inner = FileBackend::new(file).map_err(|e| content(e.to_string()))?;
        let backend = Lazy { inner, dirty: dirty.clone() };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create_with_backend(backend).map_err(|e| content(e.to_string()))?;
        let loaded = load(&database).map_err(|e| content(e.to_string()))?;
        let (queue, ops) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("store".into());
        let thread = thread.spawn(move || write_all(&database, &ops, &sync_file, &dirty)).map_err(io)?;
        Ok((Self { queue: Some(queue), thread: Some(thread) }, loaded))
    }

    /// Queues an object to be written.
    pub fn put(&self, shard: &str, key: &Key, entry: &Entry) -> Ticket {
        self.queue(shard, key, entry.revision, Some(entry.body().clone()))
    }

    /// Queues an object to be removed.
    pub fn delete(&self, shard: &str, key: &Key, revision: u64) -> Ticket {
        self.queue(shard, key, revision, None)
    }

    fn queue(&self, shard: &str, key: &Key, revision: u64, body: Option<Bytes>) -> Ticket {
        let (done, ticket) = oneshot::channel();
        let key = format!("{shard}/{}/{}", key.namespace, key.name);
        if let Some(queue) = &self.queue {
            // A closed queue drops `done`, which the ticket reports as a failed write.
            let _ = queue.send(Op { key, revision, body, done });
        }
        ticket
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn load(database: &Database) -> Result<Loaded, redb::Error> {
    let write = database.begin_write()?;
    write.open_table(OBJECTS)?;
    write.open_table(META)?;
    write.commit()?;
    let read = database.begin_read()?;
    let revision = read.open_table(META)?.get("revision")?.map_or(1, |v| v.value());
    let mut entries = Vec::new();
    let mut shards: std::collections::HashMap<String, ShardName> = std::collections::HashMap::new();
    for row in read.open_table(OBJECTS)?.iter()? {
        let (key, value) = row?;
        let mut parts = key.value().rsplitn(3, '/');
        let (Some(name), Some(namespace), Some(shard)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let Some((revision, body)) = value.value().split_first_chunk::<8>() else {
            continue;
        };
        let fields = crate::registry::field_reader(shard);
        let entry = Entry::from_body(u64::from_le_bytes(*revision), Bytes::copy_from_slice(body), fields);
        let Some(entry) = entry else {
            tracing::warn!(key = key.value(), "the state file holds an object that is no JSON: left out");
            continue;
        };
        let shard = shards.entry(shard.to_owned()).or_insert_with(|| shard.into()).clone();
        entries.push((shard, Key::new(namespace, name), entry));
    }
    Ok(Loaded { revision, entries })
}

fn write_all(database: &Database, ops: &Receiver<Op>, file: &File, dirty: &AtomicBool) {
    let mut synced = Instant::now();
    loop {
        match ops.recv_timeout(SYNC_INTERVAL) {
            Ok(first) => {
                let mut batch = vec![first];
                batch.extend(ops.try_iter().take(BATCH));
                let result = write_batch(database, &batch);
                if let Err(error) = &result {
                    tracing::error!(%error, "cannot write the state file");
                }
                for op in batch {
                    // A client that went away waits for nothing.
                    let _ = op.done.send(result.is_ok());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if synced.elapsed() >= SYNC_INTERVAL && dirty.swap(false, Ordering::Relaxed) {
            sync(file);
            synced = Instant::now();
        }
    }
    sync(file);
}

fn sync(file: &File) {
    if let Err(error) = file.sync_data() {
        tracing::error!(%error, "cannot sync the state file");
    }
}

fn write_batch(database: &Database, batch: &[Op]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut objects = write.open_table(OBJECTS)?;
        let mut row = Vec::new();
        for op in batch {
            match &op.body {
                Some(body) => {
                    row.clear();
                    row.extend_from_slice(&op.revision.to_le_bytes());
                    row.extend_from_slice(body);
                    objects.insert(op.key.as_str(), row.as_slice())?;
                }
                None => {
                    objects.remove(op.key.as_str())?;
                }
            }
        }
        let latest = batch.iter().map(|op| op.revision).max().unwrap_or_default();
        write.open_table(META)?.insert("revision", latest)?;
    }
    write.commit()?;
    Ok(())
}

/// A file whose syncs are left to the writer's timer.
#[derive(Debug)]
struct Lazy {
    inner: FileBackend,
    dirty: Arc<AtomicBool>,
}

impl StorageBackend for Lazy {
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.dirty.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.inner.close()
    }
}
