//! Following a kind of resource.

use std::time::Duration;

use futures::TryStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Takes what a watch brings.
pub(crate) trait Sink<K>: Send + 'static {
    /// All there is; what is not in it is gone.
    fn replace(&mut self, all: Vec<K>);
    /// New or changed.
    fn upsert(&mut self, object: K);
    /// Gone.
    fn remove(&mut self, object: K);
}

/// Lists and watches until the task is dropped; errors are tried again, soon at first.
pub(crate) async fn follow<K>(client: Client, mut sink: impl Sink<K>)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static,
{
    let mut stream = lateen_watch::typed::<K>(lateen_watch::all::<K>(client), watcher::Config::default());
    let mut retry = FIRST_RETRY;
    let mut listed = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(Some(event)) => {
                retry = FIRST_RETRY;
                match event {
                    Event::Init => listed.clear(),
                    Event::InitApply(object) => listed.push(object),
                    Event::InitDone => sink.replace(std::mem::take(&mut listed)),
                    Event::Apply(object) => sink.upsert(object),
                    Event::Delete(object) => sink.remove(object),
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "watch interrupted");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(MAX_RETRY);
            }
        }
    }
}
