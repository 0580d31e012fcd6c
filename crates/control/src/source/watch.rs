use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use lateen_watch::Untyped;
use tokio::sync::mpsc;

use super::{SourceId, Update};
use crate::status::Note;
use lateen_mesh::ConfigKey;

/// Waits between attempts to reach the API: short at first, so that a restart is noticed at once.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What to do with an object that the API delivered.
pub(super) enum Taken {
    /// It is an object of the mesh.
    Upsert(Box<lateen_mesh::Resource>),
    /// It is there, but cannot be read: what it was before stays.
    Keep,
    /// The same, for a resource whose status tells about it.
    Refused(Box<Note>),
    /// It is nothing to the mesh.
    Ignore,
}

/// How one kind is watched.
pub(super) struct Watch {
    pub id: SourceId,
    /// The same kind in each version that the API may serve, the best first.
    pub apis: Vec<Api<Untyped>>,
    pub config: watcher::Config,
    /// Whether the API may do without the kind (a CRD that is not installed).
    pub optional: bool,
}

/// Makes of an object what it is to the mesh.
pub(super) type Take = Box<dyn Fn(Untyped) -> Taken + Send + Sync>;

impl Watch {
    /// Watches until the receiver is gone. Outages are waited out; what was there before is kept until the API says
    /// otherwise.
    pub(super) async fn run(self, updates: mpsc::Sender<Update>, take: Take) {
        let Watch { id, apis, config, optional } = self;
        let mut known = Known { id, keys: HashSet::new(), listing: None };
        let mut wait = FIRST_WAIT;
        let mut last_error = String::new();
        for api in apis.iter().cycle() {
            let mut events = lateen_watch::untyped(api.clone(), config.clone());
            while let Some(event) = events.next().await {
                let error = match event {
                    Ok(event) => {
                        if !last_error.is_empty() {
                            tracing::info!(kind = %id, "watching again");
                        }
                        wait = FIRST_WAIT;
                        last_error.clear();
                        if known.handle(event, &take, &updates).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    Err(error) => error,
                };
                let missing = optional && is_not_found(&error);
                let text = error.to_string();
                if text != last_error {
                    if missing {
                        tracing::info!(kind = %id, "the API does not serve this kind (yet)");
                    } else {
                        tracing::warn!(kind = %id, error = %text, "cannot watch; the last state is kept");
                    }
                    last_error = text;
                }
                if missing && updates.send(Update::Listed(id)).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = updates.closed() => return,
                }
                wait = (wait * 2).min(LONGEST_WAIT);
                if missing {
                    break;
                }
            }
        }
    }
}

fn is_not_found(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 404,
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

/// The objects of a kind that were delivered, so that those missing in a new list can be removed.
struct Known {
    id: SourceId,
    keys: HashSet<ConfigKey>,
    listing: Option<HashSet<ConfigKey>>,
}

/// The hub is gone.
struct Gone;

impl Known {
    async fn handle(
        &mut self,
        event: Event<Untyped>,
        take: &Take,
        updates: &mpsc::Sender<Update>,
    ) -> Result<(), Gone> {
        match event {
            Event::Init => self.listing = Some(HashSet::new()),
            Event::InitApply(object) => {
                let key = self.key(&object);
                if let Some(update) = self.taken(take(object), &key)
                    && let Some(listing) = &mut self.listing
                {
                    listing.insert(key);
                    send(updates, update).await?;
                }
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                for key in self.keys.difference(&listed) {
                    send(updates, Some(Update::Remove(key.clone()))).await?;
                }
                self.keys = listed;
                send(updates, Some(Update::Listed(self.id))).await?;
            }
            Event::Apply(object) => {
                let key = self.key(&object);
                match self.taken(take(object), &key) {
                    Some(update) => {
                        self.keys.insert(key);
                        send(updates, update).await?;
                    }
                    None if self.keys.remove(&key) => send(updates, Some(Update::Remove(key))).await?,
                    None => {}
                }
            }
            Event::Delete(object) => {
                let key = self.key(&object);
                self.keys.remove(&key);
                send(updates, Some(Update::Remove(key))).await?;
            }
        }
        Ok(())
    }

    /// `None` for an object that is nothing to the mesh; otherwise the update to send, if any.
    fn taken(&self, taken: Taken, key: &ConfigKey) -> Option<Option<Update>> {
        match taken {
            Taken::Upsert(resource) => Some(Some(Update::Upsert(*resource))),
            Taken::Refused(note) => Some(Some(Update::Refused(*note))),
            Taken::Keep if self.keys.contains(key) => Some(None),
            Taken::Keep | Taken::Ignore => None,
        }
    }

    fn key(&self, object: &Untyped) -> ConfigKey {
        ConfigKey::new(self.id, object.namespace().unwrap_or_default(), object.name_any())
    }
}

async fn send(updates: &mpsc::Sender<Update>, update: Option<Update>) -> Result<(), Gone> {
    match update {
        Some(update) => updates.send(update).await.map_err(|_| Gone),
        None => Ok(()),
    }
}
