//! A worker's own lines, which wait in its own memory: writing a line takes no lock and tells nobody, except for the
//! first line after a silence and for a batch that is full.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Sink;

/// A batch of this size is handed over at once.
const FULL: usize = 32 << 10;
/// Lines are dropped when the queue is full and so much waits here as well.
const LIMIT: usize = 256 << 10;
/// Longest time that a line waits to be handed over.
const FLUSH: Duration = Duration::from_millis(100);

thread_local! {
    static LOCAL: RefCell<Local> = RefCell::default();
}

#[derive(Default)]
struct Local {
    buffers: Vec<Buffer>,
    /// Wakes the task that hands over what waits; none: this thread has no such task.
    flusher: Option<Rc<Notify>>,
}

/// Lines of one thread for one file.
struct Buffer {
    sink: Arc<Sink>,
    bytes: Vec<u8>,
    lines: u64,
    /// Size of the last batch, as a guess for the next.
    last: usize,
}

impl Buffer {
    fn hand_over(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        self.last = self.bytes.len();
        if let Err(batch) = self.sink.queue(std::mem::take(&mut self.bytes), self.lines) {
            self.bytes = batch;
        } else {
            self.lines = 0;
        }
    }

    /// Makes room for a line; whether there is any.
    fn make_room(&mut self) -> bool {
        if self.bytes.len() >= LIMIT {
            self.hand_over();
        }
        if self.bytes.capacity() == 0 {
            self.bytes.reserve((self.last + self.last / 4).clamp(512, FULL + (FULL >> 2)));
        }
        self.bytes.len() < LIMIT
    }
}

/// Writes a line to a file's buffer of this thread. It is dropped, and counted, when too much waits already.
pub(super) fn line(sink: &Arc<Sink>, write: impl FnOnce(&mut Vec<u8>)) {
    LOCAL.with_borrow_mut(|local| {
        let found = local.buffers.iter().position(|buffer| Arc::ptr_eq(&buffer.sink, sink));
        let at = found.unwrap_or_else(|| {
            local.buffers.push(Buffer { sink: sink.clone(), bytes: Vec::new(), lines: 0, last: 0 });
            local.buffers.len() - 1
        });
        let buffer = &mut local.buffers[at];
        if !buffer.make_room() {
            return sink.lost(1);
        }
        let first = buffer.bytes.is_empty();
        write(&mut buffer.bytes);
        buffer.lines += 1;
        match &local.flusher {
            None => {
                // A thread that nothing would flush later.
                buffer.hand_over();
                sink.lost(buffer.lines);
                local.buffers.swap_remove(at);
            }
            // Full, and the queue was not: else the flusher tries again.
            Some(_) if (FULL..LIMIT / 2).contains(&buffer.bytes.len()) => buffer.hand_over(),
            Some(flusher) if first => flusher.notify_one(),
            Some(_) => {}
        }
    });
}

/// Hands over what waits on this thread; whether everything could be.
pub(crate) fn flush() -> bool {
    LOCAL.with_borrow_mut(|local| {
        local.buffers.iter_mut().for_each(Buffer::hand_over);
        let done = local.buffers.iter().all(|buffer| buffer.bytes.is_empty());
        // Files that no log names any more.
        local.buffers.retain(|buffer| !buffer.bytes.is_empty() || Arc::strong_count(&buffer.sink) > 1);
        done
    })
}

/// Hands over this thread's lines soon after they are written, for as long as it is polled.
pub(crate) async fn flush_regularly() {
    let wake = Rc::new(Notify::new());
    LOCAL.with_borrow_mut(|local| local.flusher = Some(wake.clone()));
    let _reset = Reset;
    loop {
        wake.notified().await;
        // Collect for a moment: one hand-over for many lines.
        tokio::time::sleep(FLUSH).await;
        while !flush() {
            tokio::time::sleep(FLUSH).await;
        }
    }
}

/// Without the task, lines must not wait for it.
struct Reset;

impl Drop for Reset {
    fn drop(&mut self) {
        // The thread may be ending, and its variables gone.
        let _ = LOCAL.try_with(|local| local.borrow_mut().flusher = None);
    }
}
