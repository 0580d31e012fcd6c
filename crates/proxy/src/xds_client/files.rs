//! Resources that come from files (`path_config_source`): a file is looked at from time to time and read when it
//! changed; what cannot be read leaves the last good resources in force.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use lateen_xds::TypeUrl;
use lateen_xds::client::{Client, Flavour, Update};
use lateen_xds::json::Pool;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::service::discovery::v3::DiscoveryResponse;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Largest file.
const LARGEST: u64 = 64 << 20;

/// A file and the type of its resources.
pub(crate) type Key = (TypeUrl, PathBuf);

/// Names that are wanted of each file; none: all that it holds.
pub(crate) type Wanted = BTreeMap<Key, Option<BTreeSet<String>>>;

/// What became of a file.
pub(super) struct Changed {
    key: Key,
    content: Result<DiscoveryResponse, String>,
}

/// A file that is watched.
struct Watch {
    names: Option<BTreeSet<String>>,
    /// Knows what came and went.
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All files that are watched.
pub(super) struct Files {
    watches: BTreeMap<Key, Watch>,
    sender: mpsc::Sender<Changed>,
    receiver: mpsc::Receiver<Changed>,
}

impl Files {
    pub(super) fn new() -> Files {
        let (sender, receiver) = mpsc::channel(16);
        Files { watches: BTreeMap::new(), sender, receiver }
    }

    /// Watches these files from now on.
    pub(super) fn want(&mut self, wanted: &Wanted) {
        self.watches.retain(|key, watch| wanted.get(key).is_some_and(|names| *names == watch.names));
        for (key, names) in wanted {
            if self.watches.contains_key(key) {
                continue;
            }
            let mut client = Client::new(Node::default(), Flavour::StateOfTheWorld);
            match names {
                Some(names) => client.subscribe(key.0, names.clone()),
                None => client.subscribe_all(key.0),
            }
            let task = tokio::spawn(watch(key.clone(), self.sender.clone()));
            self.watches.insert(key.clone(), Watch { names: names.clone(), client, task });
        }
    }

    /// The next file that changed.
    pub(super) async fn changed(&mut self) -> Changed {
        match self.receiver.recv().await {
            Some(changed) => changed,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// What a change brings, with the client that is to hear the verdict; none: the file cannot be used, or is not
    /// wanted any more.
    pub(super) fn update(&mut self, changed: Changed) -> Option<(&mut Client, Update)> {
        let watch = self.watches.get_mut(&changed.key)?;
        let path = changed.key.1.display();
        match changed.content {
            Ok(response) => {
                let mut update = watch.client.receive(response)?;
                if let Some(names) = &watch.names {
                    update.resources.retain(|resource| names.contains(&resource.name));
                }
                Some((&mut watch.client, update))
            }
            Err(reason) => {
                tracing::warn!(%path, %reason, "a configuration file cannot be used; the last good one stays");
                None
            }
        }
    }
}

/// Tells of every change of a file, the first look included.
async fn watch(key: Key, changes: mpsc::Sender<Changed>) {
    let mut last = None;
    loop {
        let now = stamp(&key.1).await;
        if last.as_ref() != Some(&now) {
            let content = match &now {
                Ok(_) => {
                    let (kind, path) = key.clone();
                    let read = tokio::task::spawn_blocking(move || read(kind, &path)).await;
                    read.unwrap_or_else(|error| Err(error.to_string()))
                }
                Err(kind) => Err(kind.to_string()),
            };
            last = Some(now);
            if changes.send(Changed { key: key.clone(), content }).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What changes with a file: another file in its place, a later time, another size.
async fn stamp(path: &Path) -> Result<(u64, i64, i64, u64), io::ErrorKind> {
    let metadata = tokio::fs::metadata(path).await.map_err(|error| error.kind())?;
    Ok((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
}

/// Reads a file that holds a `DiscoveryResponse`: JSON or YAML, or encoded when it ends in `.pb`.
fn read(kind: TypeUrl, path: &Path) -> Result<DiscoveryResponse, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > LARGEST {
        return Err(format!("{size} bytes are more than {LARGEST}"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut response = if path.extension().is_some_and(|extension| extension == "pb") {
        DiscoveryResponse::decode(bytes.as_slice()).map_err(|error| error.to_string())?
    } else {
        let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
        Pool::load().and_then(|pool| pool.read(text)).map_err(|error| error.to_string())?
    };
    if !response.type_url.is_empty() && response.type_url != kind.as_str() {
        return Err(format!("type_url: is {}, not {}", response.type_url, kind.as_str()));
    }
    for (index, resource) in response.resources.iter().enumerate() {
        let wrapped = resource.type_url.ends_with("/envoy.service.discovery.v3.Resource");
        if !wrapped && resource.type_url != kind.as_str() {
            return Err(format!("resources[{index}]: is {}, not {}", resource.type_url, kind.as_str()));
        }
    }
    kind.as_str().clone_into(&mut response.type_url);
    if response.version_info.is_empty() {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        response.version_info = hasher.finish().to_string();
    }
    Ok(response)
}

/// Counts a file that cannot be used against its discovery service.
pub(super) fn count_failure(stats: &crate::stats::ServerStats, changed: &Changed) {
    if changed.content.is_ok() {
        return;
    }
    let service = match changed.key.0 {
        TypeUrl::Cluster => 0,
        TypeUrl::Listener => 1,
        _ => 3,
    };
    stats.xds[service].attempts.fetch_add(1, Ordering::Relaxed);
    stats.xds[service].rejected.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(name: &str, text: &str) -> Result<DiscoveryResponse, String> {
        let path = std::env::temp_dir().join(format!("lateen-files-{}-{name}.yaml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let read = read(TypeUrl::Cluster, &path);
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn a_file_holds_a_response_of_its_type() {
        let cluster = "{\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}";
        let read = response("good", &format!("resources: [{cluster}]")).unwrap();
        assert_eq!((read.resources.len(), read.type_url.as_str()), (1, TypeUrl::Cluster.as_str()));
        assert!(!read.version_info.is_empty());
        let listener = "{\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: a}";
        let error = response("other", &format!("resources: [{cluster}, {listener}]")).unwrap_err();
        assert!(error.starts_with("resources[1]: is type.googleapis.com/envoy.config.listener.v3.Listener"));
        assert!(response("broken", "resources: [").is_err());
    }
}
