//! Files that logs go to, each written by one thread that takes batches of lines from a bounded queue.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Batches that may wait to be written: with the largest batch, 4 MiB.
const QUEUE: usize = 64;
/// Between two tries to queue a request for an acknowledgement.
const RETRY: Duration = Duration::from_millis(2);

/// One file.
#[derive(Debug)]
pub struct Sink {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

/// What the writing thread is told.
#[derive(Debug)]
enum Message {
    /// Write these lines; their number.
    Lines(Vec<u8>, u64),
    /// Say when everything before this is written.
    Sync(SyncSender<()>),
}

/// What became of lines, and how often the file was written.
#[derive(Debug, Default)]
pub struct Counts {
    /// Batches that were queued.
    pub batches: AtomicU64,
    /// Batches that were written.
    pub written: AtomicU64,
    /// Batches that could not be written.
    pub failed: AtomicU64,
    /// Lines lost, because too much waited or the file could not be written.
    pub dropped: AtomicU64,
}

impl Sink {
    /// A sink over something to write to; its thread ends when the sink is dropped.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(target: impl Write + Send + 'static) -> io::Result<Sink> {
        let (queue, messages) = sync_channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let writer = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || run(&messages, &writer, target))?;
        Ok(Sink { queue, counts })
    }

    /// Queues a batch of lines without waiting; gives it back when too much waits already: a slow disk must not stop
    /// traffic.
    ///
    /// # Errors
    /// The batch, when the queue is full.
    pub fn queue(&self, batch: Vec<u8>, lines: u64) -> Result<(), Vec<u8>> {
        match self.queue.try_send(Message::Lines(batch, lines)) {
            Ok(()) => {
                self.counts.batches.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(TrySendError::Full(Message::Lines(batch, _))) => Err(batch),
            Err(_) => {
                self.lost(lines);
                Ok(())
            }
        }
    }

    /// Counts lines that are lost.
    pub fn lost(&self, lines: u64) {
        self.counts.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// What became of lines so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Waits until everything queued so far is written, at most until `deadline`; whether it is.
    fn sync(&self, deadline: Instant) -> bool {
        let (written, wait) = sync_channel(1);
        let mut message = Message::Sync(written);
        loop {
            match self.queue.try_send(message) {
                Ok(()) => {
                    return wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok();
                }
                Err(TrySendError::Full(back)) if Instant::now() < deadline => message = back,
                Err(_) => return false,
            }
            std::thread::sleep(RETRY);
        }
    }
}

/// Writes batches until the sink is gone.
fn run(messages: &Receiver<Message>, counts: &Counts, mut target: impl Write) {
    for message in messages {
        match message {
            // A log that cannot be written must not end the proxy.
            Message::Lines(batch, lines) => match target.write_all(&batch).and_then(|()| target.flush()) {
                Ok(()) => drop(counts.written.fetch_add(1, Ordering::Relaxed)),
                Err(_) => {
                    counts.failed.fetch_add(1, Ordering::Relaxed);
                    counts.dropped.fetch_add(lines, Ordering::Relaxed);
                }
            },
            // Whoever asked may have given up meanwhile.
            Message::Sync(written) => drop(written.send(())),
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

    fn all(&self) -> Vec<Arc<Sink>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Waits until everything queued so far is written, at most for so long; whether it is.
    pub fn sync(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        // Every sink, whatever became of those before.
        self.all().iter().map(|sink| sink.sync(deadline)).min().unwrap_or(true)
    }

    /// The sum of a counter over all sinks.
    pub fn sum(&self, of: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        self.all().iter().map(|sink| of(sink.counts()).load(Ordering::Relaxed)).sum()
    }
}

fn open_file(path: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
