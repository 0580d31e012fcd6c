//! Keeping a store up to date by a watch.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::store::{Change, Key, Store};

/// Watches all objects of a kind; tells of each change after the store has it. Never returns: a broken watch is
/// resumed, and a kind that the API does not serve is asked for again at leisure.
pub(crate) async fn follow<K>(client: Client, store: Arc<Store<K>>, tell: impl Fn(&Change<K>))
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let objects = lateen_watch::typed::<K>(lateen_watch::all::<K>(client), watcher::Config::default());
    let mut events = pin!(objects.backoff(Reconnect::default()));
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(Key::of(&object));
                store.apply(object).iter().for_each(&tell);
            }
            Ok(Event::InitDone) => {
                store.retain(&std::mem::take(&mut listed)).iter().for_each(&tell);
                store.set_synced();
            }
            Ok(Event::Apply(object)) => store.apply(object).iter().for_each(&tell),
            Ok(Event::Delete(object)) => store.remove(&object).iter().for_each(&tell),
            Err(error) if is_not_served(&error) => {
                tracing::debug!(kind = %K::kind(&()), "the API does not serve this kind");
                store.set_synced();
            }
            Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch was interrupted; resuming"),
        }
    }
}

fn is_not_served(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

/// From 20 ms up to 2 s: an API server on the same machine is back soon.
struct Reconnect {
    next: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

impl Reconnect {
    const FIRST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(2);
}

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.next;
        self.next = (delay * 2).min(Self::LONGEST);
        Some(delay)
    }
}

impl Backoff for Reconnect {
    fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}
