//! Resources as they came, for `/config_dump`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use lateen_xds::TypeUrl;
use lateen_xds::client::{Rejection, Update};

/// A resource as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// Its version.
    pub(crate) version: String,
    /// The last message that was accepted.
    pub(crate) body: Bytes,
    /// When it was accepted.
    pub(crate) updated: Option<SystemTime>,
    /// Why the last one was rejected.
    pub(crate) error: Option<Failure>,
}

/// A rejected message.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) version: String,
    pub(crate) reason: String,
    pub(crate) when: SystemTime,
}

type Table = BTreeMap<TypeUrl, BTreeMap<String, Entry>>;

/// All resources of the control plane by type and name.
#[derive(Debug, Default)]
pub(crate) struct Dump(Mutex<Table>);

impl Dump {
    /// Remembers what an update brought.
    pub(crate) fn update(&self, update: &Update, rejected: &[Rejection]) {
        let now = SystemTime::now();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = table.entry(update.type_url).or_default();
        for name in &update.removed {
            entries.remove(name);
        }
        for resource in &update.resources {
            let entry = entries.entry(resource.name.clone()).or_default();
            let version = resource.version.clone();
            match rejected.iter().find(|rejection| rejection.name == resource.name) {
                Some(rejection) => {
                    entry.error = Some(Failure { version, reason: rejection.reason.clone(), when: now });
                }
                None => {
                    let body = resource.resource.as_ref().map(|any| Bytes::copy_from_slice(&any.value));
                    *entry =
                        Entry { version, body: body.unwrap_or_default(), updated: Some(now), error: None };
                }
            }
        }
    }

    /// The resources of a type.
    pub(crate) fn entries(&self, type_url: TypeUrl) -> Vec<(String, Entry)> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .get(&type_url)
            .into_iter()
            .flatten()
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect()
    }

    /// Whether a resource came from the control plane.
    pub(crate) fn contains(&self, type_url: TypeUrl, name: &str) -> bool {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&type_url).is_some_and(|entries| entries.contains_key(name))
    }
}
