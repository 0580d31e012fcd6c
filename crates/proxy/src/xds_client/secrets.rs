//! Secrets: what an update brings, and the streams and files that bring secrets beside the control plane's stream.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use lateen_xds::TypeUrl;
use lateen_xds::client::{Client, Flavour, Received, Rejection, Update};
use lateen_xds::json::Pool;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use lateen_xds::pb::envoy::service::discovery::v3::DiscoveryResponse;
use lateen_xds::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::apply::{decode, reject};
use super::connect::{Dialer, Target};
use super::{FIRST_WAIT, GOOD, Incoming, LONGEST_WAIT, Outgoing, jitter};
use crate::convert::{self, Context};
use crate::tls::{Held, SecretSlot, Source};

/// Largest message of secrets.
const LARGEST_MESSAGE: usize = 16 << 20;
/// Time between two looks at a file.
const LOOK: Duration = Duration::from_secs(1);

/// Puts the secrets of an update in force, and says which cannot be used.
pub(super) fn apply(update: &Update, held: &Held, rejected: &mut Vec<Rejection>) {
    for resource in &update.resources {
        // Nothing uses one that is not held; a server may still send it.
        let Some(slot) = held.get(&resource.name) else { continue };
        if let Err(reason) = put(slot, resource) {
            slot.set_rejected(&resource.version, &reason);
            rejected.push(reject(&resource.name, &reason));
        }
    }
    // As Envoy: what is in use stays in use.
    update.removed.iter().filter_map(|name| held.get(name)).for_each(|slot| slot.set_missing());
}

fn put(slot: &SecretSlot, resource: &Received) -> Result<(), String> {
    let message: Secret = decode(resource)?;
    if message.name != resource.name {
        return Err(format!("name: is `{}` in the secret", message.name));
    }
    let secret = convert::secret(&message).map_err(|error| error.to_string())?;
    slot.set(secret, &resource.version);
    Ok(())
}

/// Sources of secrets beside the control plane's stream.
pub(crate) struct Sds {
    pub(crate) context: Arc<Context>,
    pub(crate) node: Node,
    pub(crate) dialer: Dialer,
    /// Where the bootstrap's clusters lead.
    pub(crate) clusters: BTreeMap<String, Vec<Target>>,
}

impl Sds {
    /// Opens a stream or watches a file for each source that something uses; never ends.
    pub(crate) async fn run(self) {
        let sds = Arc::new(self);
        let mut changes = sds.context.secrets.changes();
        let mut running = HashSet::new();
        loop {
            changes.mark_unchanged();
            for slot in sds.context.secrets.all() {
                if !running.insert(slot.source.clone()) {
                    continue;
                }
                let sds = sds.clone();
                match slot.source.clone() {
                    Source::Static | Source::Ads => {}
                    Source::Path(path) => drop(tokio::spawn(async move { sds.watch(&path).await })),
                    source @ Source::Cluster { .. } => {
                        drop(tokio::spawn(async move { sds.follow(&source).await }));
                    }
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps a stream to a cluster open for as long as secrets of it are in use.
    async fn follow(&self, source: &Source) {
        let Source::Cluster { name, delta } = source else { return };
        let flavour = if *delta { Flavour::Delta } else { Flavour::StateOfTheWorld };
        let mut client = Client::new(self.node.clone(), flavour);
        let (mut held, mut wait) = (Held::default(), FIRST_WAIT);
        let mut changes = self.context.secrets.changes();
        loop {
            changes.mark_unchanged();
            if held.refresh(&self.context.secrets, source).is_empty() {
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let began = tokio::time::Instant::now();
            let ended = self.stream(name, source, &mut client, &mut held).await;
            if began.elapsed() >= GOOD {
                wait = FIRST_WAIT;
            }
            match ended {
                Ok(()) => {
                    tracing::debug!(cluster = %name, "the stream of secrets was closed; opening it again")
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(cluster = %name, error, "no secrets come; trying again in {wait:?}");
                }
            }
            tokio::time::sleep(jitter(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One stream for all names.
    async fn stream(
        &self,
        cluster: &str,
        source: &Source,
        client: &mut Client,
        held: &mut Held,
    ) -> anyhow::Result<()> {
        let targets = self.clusters.get(cluster);
        let targets = targets.with_context(|| {
            format!("secrets come from the cluster {cluster}, which is no plain-text static cluster of the bootstrap")
        })?;
        let channel = self.dialer.connect(targets).await?;
        let mut changes = self.context.secrets.changes();
        client.connected();
        client.subscribe(TypeUrl::Secret, held.refresh(&self.context.secrets, source));
        let (mut incoming, outgoing) = open(client, channel).await?;
        loop {
            tokio::select! {
                next = incoming.next(client) => match next? {
                    None => return Ok(()),
                    Some(None) => tracing::debug!("a response of a type that was not asked for"),
                    Some(Some(update)) => {
                        let mut rejected = Vec::new();
                        apply(&update, held, &mut rejected);
                        for Rejection { name, reason } in &rejected {
                            tracing::warn!(name, reason, "a secret is rejected; the last good one stays");
                        }
                        client.settle(&update, &rejected);
                    }
                },
                changed = changes.changed() => changed?,
            }
            client.subscribe(TypeUrl::Secret, held.refresh(&self.context.secrets, source));
            outgoing.send(client.take_requests()).await;
        }
    }

    /// Reads a file of secrets again whenever it changes.
    async fn watch(&self, path: &str) {
        let source = Source::Path(path.into());
        let (mut held, mut seen) = (Held::default(), None);
        let mut changes = self.context.secrets.changes();
        loop {
            changes.mark_unchanged();
            let before = held.len();
            held.refresh(&self.context.secrets, &source);
            let now = modified(path);
            if now != seen || held.len() != before {
                seen = now;
                if let Err(error) = read(path, &held) {
                    let error = format!("{error:#}");
                    tracing::warn!(path, error, "a file of secrets cannot be used; what was there stays");
                }
            }
            // What changes is looked at soon, what is new at once.
            let _ = tokio::time::timeout(LOOK, changes.changed()).await;
        }
    }
}

fn modified(path: &str) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads a `DiscoveryResponse` (YAML, JSON, or encoded when the name ends in `.pb`) of secrets.
fn read(path: &str, held: &Held) -> anyhow::Result<()> {
    let bytes = std::fs::read(path)?;
    let response = if path.ends_with(".pb") {
        DiscoveryResponse::decode(bytes.as_slice())?
    } else {
        Pool::load()?.read(std::str::from_utf8(&bytes)?)?
    };
    for any in response.resources {
        let message = Secret::decode(any.value.as_slice())?;
        let Some(slot) = held.get(&message.name) else { continue };
        match convert::secret(&message) {
            Ok(secret) => slot.set(secret, &response.version_info),
            Err(error) => {
                slot.set_rejected(&response.version_info, &error.to_string());
                tracing::warn!(name = message.name, %error, path, "a secret is rejected; the last good one stays");
            }
        }
    }
    Ok(())
}

async fn open(
    client: &mut Client,
    channel: tonic::transport::Channel,
) -> anyhow::Result<(Incoming, Outgoing)> {
    let mut service = SecretDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    // The first requests must stand in the queue before the call: some servers answer nothing before they see one.
    let first = client.take_requests();
    let depth = first.len() + 64;
    Ok(match client.flavour() {
        Flavour::Delta => {
            let (sender, receiver) = mpsc::channel(depth);
            let outgoing = Outgoing::Delta(sender);
            outgoing.send(first).await;
            let call = service.delta_secrets(ReceiverStream::new(receiver)).await?;
            (Incoming::Delta(call.into_inner()), outgoing)
        }
        Flavour::StateOfTheWorld => {
            let (sender, receiver) = mpsc::channel(depth);
            let outgoing = Outgoing::StateOfTheWorld(sender);
            outgoing.send(first).await;
            let call = service.stream_secrets(ReceiverStream::new(receiver)).await?;
            (Incoming::StateOfTheWorld(call.into_inner()), outgoing)
        }
    })
}
