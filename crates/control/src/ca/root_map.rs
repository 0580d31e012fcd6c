//! ConfigMap `istio-ca-root-cert` in every namespace: what pods mount to trust the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::{Authorities, objects};

const NAME: &str = "istio-ca-root-cert";
const KEY: &str = "root-cert.pem";

/// Namespaces without workloads of the mesh (Istio leaves them alone as well).
const IGNORED: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// Writes at a time.
const AT_ONCE: usize = 8;
/// Time between attempts to write what the API did not take.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps the ConfigMap in every namespace, whoever changes or deletes it, for ever.
pub async fn keep(client: Client, mut authorities: Authorities) {
    let config = watcher::Config::default().any_semantic();
    let namespaces =
        lateen_watch::typed(lateen_watch::all::<Namespace>(client.clone()), config.clone()).default_backoff();
    let maps = lateen_watch::all::<ConfigMap>(client.clone());
    let maps = lateen_watch::typed(maps, config.fields(&format!("metadata.name={NAME}"))).default_backoff();
    let (mut namespaces, mut maps) = (pin!(namespaces), pin!(maps));
    let mut known = Known::default();
    loop {
        tokio::select! {
            Some(event) = namespaces.next() => match event {
                Ok(event) => known.namespace(event),
                Err(error) => tracing::debug!(%error, "cannot watch namespaces"),
            },
            Some(event) = maps.next() => match event {
                Ok(event) => known.map(event),
                Err(error) => tracing::debug!(%error, "cannot watch ConfigMaps"),
            },
            () = authorities.changed() => {}
            () = tokio::time::sleep(AGAIN), if known.failed => {}
        }
        if !known.listed() {
            continue;
        }
        if let Some(standing) = authorities.standing() {
            known.write(&client, &standing.trust_pem).await;
        }
    }
}

/// What the API holds.
#[derive(Default)]
struct Known {
    namespaces: BTreeSet<String>,
    namespaces_listed: bool,
    contents: BTreeMap<String, String>,
    maps_listed: bool,
    listing: BTreeSet<String>,
    listing_maps: BTreeMap<String, String>,
    failed: bool,
}

impl Known {
    fn listed(&self) -> bool {
        self.namespaces_listed && self.maps_listed
    }

    fn namespace(&mut self, event: Event<Namespace>) {
        let usable = |namespace: &Namespace| {
            namespace.metadata.deletion_timestamp.is_none() && !IGNORED.contains(&&*namespace.name_any())
        };
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(namespace) if usable(&namespace) => {
                self.listing.insert(namespace.name_any());
            }
            Event::InitApply(_) => {}
            Event::InitDone => {
                self.namespaces = std::mem::take(&mut self.listing);
                self.namespaces_listed = true;
            }
            Event::Apply(namespace) if usable(&namespace) => {
                self.namespaces.insert(namespace.name_any());
            }
            Event::Apply(namespace) | Event::Delete(namespace) => {
                self.namespaces.remove(&namespace.name_any());
                self.contents.remove(&namespace.name_any());
            }
        }
    }

    fn map(&mut self, event: Event<ConfigMap>) {
        let content =
            |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get(KEY)).cloned().unwrap_or_default();
        // An API may not know the field selector.
        let ours = |map: &ConfigMap| map.metadata.name.as_deref() == Some(NAME);
        let namespace = |map: &ConfigMap| map.metadata.namespace.clone().unwrap_or_default();
        match event {
            Event::Init => self.listing_maps.clear(),
            Event::InitApply(map) if ours(&map) => {
                self.listing_maps.insert(namespace(&map), content(&map));
            }
            Event::InitDone => {
                self.contents = std::mem::take(&mut self.listing_maps);
                self.maps_listed = true;
            }
            Event::Apply(map) if ours(&map) => {
                self.contents.insert(namespace(&map), content(&map));
            }
            Event::Delete(map) if ours(&map) => {
                self.contents.remove(&namespace(&map));
            }
            Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) => {}
        }
    }

    /// Writes the ConfigMap wherever it is not as it should be.
    async fn write(&mut self, client: &Client, pem: &Arc<str>) {
        let due: Vec<String> = self
            .namespaces
            .iter()
            .filter(|namespace| self.contents.get(*namespace).is_none_or(|content| *content != **pem))
            .cloned()
            .collect();
        self.failed = false;
        let writes = futures::stream::iter(due).map(|namespace| async move {
            let api = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": namespace, "labels": {"istio.io/config": "true"}},
                "data": {KEY: &**pem},
            });
            let result = objects::keep(&api, NAME, &map).await;
            (namespace, result)
        });
        let mut writes = pin!(writes.buffer_unordered(AT_ONCE));
        while let Some((namespace, result)) = writes.next().await {
            match result {
                // The watch says the same a moment later; until then it need not be written again.
                Ok(()) => drop(self.contents.insert(namespace, pem.to_string())),
                Err(error) => {
                    self.failed = true;
                    tracing::warn!(namespace, name = NAME, %error, "the mesh's root cannot be written");
                }
            }
        }
    }
}
