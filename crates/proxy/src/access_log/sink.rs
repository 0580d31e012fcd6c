//! Files that logs go to, each written by one thread.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that wait to be written before lines are dropped: a slow disk must not stop traffic.
const LIMIT: usize = 4 << 20;
/// Longest time that a line waits to be written.
const FLUSH: Duration = Duration::from_millis(100);
/// Waiting bytes that wake the writer at once.
const WAKE: usize = 64 << 10;

/// One file.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    closed: bool,
}

impl Sink {
    /// A sink over something to write to; its thread ends when the sink is dropped.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(target: impl Write + Send + 'static) -> io::Result<Sink> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(target))?;
        Ok(Sink { shared })
    }

    /// Queues a line. It is dropped, and counted, when too much waits already.
    pub fn write(&self, line: &[u8]) {
        let mut pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.bytes.len() + line.len() > LIMIT {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = pending.bytes.len();
        pending.bytes.extend_from_slice(line);
        // The first line wakes a writer that sleeps without a limit, a large batch one that collects.
        if before == 0 || (before < WAKE && pending.bytes.len() >= WAKE) {
            self.shared.wake.notify_one();
        }
    }

    /// Lines that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn run(&self, mut target: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            while pending.bytes.is_empty() && !pending.closed {
                pending = self.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            // Collect for a moment: one system call for many lines.
            if pending.bytes.len() < WAKE && !pending.closed {
                (pending, _) = self.wake.wait_timeout(pending, FLUSH).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut batch, &mut pending.bytes);
            let closed = pending.closed;
            drop(pending);
            // A log that cannot be written must not end the proxy.
            if target.write_all(&batch).and_then(|()| target.flush()).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            batch.clear();
            batch.shrink_to(WAKE);
            if closed {
                return;
            }
        }
    }
}

/// Open sinks by path, shared by all logs that name the same file.
#[derive(Debug, Default)]
pub struct Sinks(Mutex<HashMap<String, Arc<Sink>>>);

impl Sinks {
    /// The sink of a path. `/dev/stdout` and `/dev/stderr` are the process's own streams.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(&self, path: &str) -> io::Result<Arc<Sink>> {
        let mut sinks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sink) = sinks.get(path) {
            return Ok(Arc::clone(sink));
        }
        let sink = Arc::new(match path {
            "/dev/stdout" => Sink::start(io::stdout())?,
            "/dev/stderr" => Sink::start(io::stderr())?,
            path => Sink::start(open_file(path)?)?,
        });
        sinks.insert(path.to_owned(), Arc::clone(&sink));
        Ok(sink)
    }

    /// Lines dropped by all sinks.
    pub fn dropped(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(|sink| sink.dropped()).sum()
    }
}

fn open_file(path: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
