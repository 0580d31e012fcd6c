//! Gives freed memory back to the system while a process is idle.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

/// Longer than mimalloc holds freed memory for the next allocation (its `purge_delay`, 1 s).
const EVERY: Duration = Duration::from_secs(2);
/// More than mimalloc shares a page for: freeing it gives the whole page back.
const LARGE: usize = 1 << 20;

/// Starts a thread that keeps the allocator giving back. mimalloc looks for memory to return only when a page is freed:
/// a process that has read its configuration and then waits would keep what reading it took.
pub fn give_back_when_idle() {
    let give_back = || {
        loop {
            thread::sleep(EVERY);
            // Never written: the memory itself is not touched.
            drop(black_box(Vec::<u8>::with_capacity(LARGE)));
        }
    };
    // Without the thread the process works as well, and is larger.
    let _ = thread::Builder::new().name("give-back".into()).stack_size(64 << 10).spawn(give_back);
}
