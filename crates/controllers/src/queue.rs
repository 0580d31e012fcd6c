//! A work queue: each key is in it once, is worked on by one worker at a time, and can come back later.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::Key;

/// First and longest delay before a key that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(30));

#[derive(Default)]
struct Inner {
    ready: VecDeque<Key>,
    queued: BTreeSet<Key>,
    /// Keys that are being worked on, and whether they changed meanwhile.
    working: HashMap<Key, bool>,
    later: BTreeSet<(Instant, Key)>,
    /// When each key of `later` is due; the last wish counts.
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Queue {
    /// Asks for work on a key.
    pub(crate) fn add(&self, key: Key) {
        self.lock().enqueue(key);
        self.changed.notify_one();
    }

    /// Asks for work on a key, if there is one.
    pub(crate) fn add_some(&self, key: Option<Key>) {
        if let Some(key) = key {
            self.add(key);
        }
    }

    /// Takes the next key; it must be handed back to [`Self::done`].
    pub(crate) async fn next(&self) -> Key {
        loop {
            let changed = self.changed.notified();
            let wake = {
                let mut inner = self.lock();
                inner.promote(Instant::now());
                if let Some(key) = inner.ready.pop_front() {
                    inner.queued.remove(&key);
                    inner.working.insert(key.clone(), false);
                    if !inner.ready.is_empty() {
                        // One notification may stand for several additions.
                        self.changed.notify_one();
                    }
                    return key;
                }
                inner.later.first().map(|(at, _)| *at)
            };
            match wake {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Ends the work on a key; after a failure it comes back with growing delay, else after `again` if given.
    pub(crate) fn done(&self, key: Key, succeeded: bool, again: Option<Duration>) {
        let mut inner = self.lock();
        let changed = inner.working.remove(&key).unwrap_or(false);
        inner.unschedule(&key);
        let delay = if succeeded {
            inner.failures.remove(&key);
            again
        } else {
            let failures = inner.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            let factor = 1_u32.checked_shl(*failures - 1).unwrap_or(u32::MAX);
            Some(RETRY.0.saturating_mul(factor).min(RETRY.1))
        };
        if changed && succeeded {
            inner.enqueue(key);
        } else if let Some(delay) = delay {
            inner.schedule(key, Instant::now() + delay);
        }
        drop(inner);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn enqueue(&mut self, key: Key) {
        if let Some(changed) = self.working.get_mut(&key) {
            *changed = true;
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn schedule(&mut self, key: Key, at: Instant) {
        self.due.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    fn unschedule(&mut self, key: &Key) {
        if let Some(entry) = self.due.remove_entry(key) {
            self.later.remove(&(entry.1, entry.0));
        }
    }

    fn promote(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.due.remove(&key);
                self.enqueue(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    #[tokio::test]
    async fn a_key_is_queued_once_and_comes_back_if_it_changed_during_work() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        let a = queue.next().await;
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(queue.next().await, key("b"), "a is being worked on");
        queue.done(a, true, None);
        assert_eq!(queue.next().await, key("a"));
        queue.done(key("a"), true, None);
        queue.done(key("b"), true, None);
        assert!(queue.lock().ready.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_come_back_with_growing_delay() {
        let queue = Queue::default();
        queue.add(key("a"));
        let mut delays = Vec::new();
        for _ in 0..4 {
            let before = Instant::now();
            let a = queue.next().await;
            delays.push(before.elapsed().as_millis());
            queue.done(a, false, None);
        }
        assert!(delays.windows(2).all(|pair| pair[0] < pair[1]), "{delays:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_comes_back_when_it_asked_to() {
        let queue = Queue::default();
        queue.add(key("a"));
        let a = queue.next().await;
        queue.done(a, true, Some(Duration::from_secs(7)));
        let before = Instant::now();
        assert_eq!(queue.next().await, key("a"));
        assert!(before.elapsed() >= Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_wish_to_come_back_counts() {
        let queue = Queue::default();
        for seconds in [600, 3] {
            queue.add(key("a"));
            let a = queue.next().await;
            queue.done(a, true, Some(Duration::from_secs(seconds)));
        }
        let before = Instant::now();
        let a = queue.next().await;
        assert_eq!(before.elapsed().as_secs(), 3);
        queue.done(a, true, None);
        assert!(queue.lock().later.is_empty());
    }
}
