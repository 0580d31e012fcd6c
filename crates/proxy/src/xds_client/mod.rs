//! The control plane's end of the proxy: a stream that is opened again whenever it breaks, and what it brings.

mod apply;
mod connect;
mod files;
mod interest;
mod listeners;
mod routes;
mod secrets;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lateen_xds::client::{Client, Flavour, Request, Update};
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::{TypeUrl, pb};
use pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

pub(crate) use apply::Applier;
pub(crate) use connect::{Dialer, Target};
pub(crate) use secrets::Sds;

use files::{Changed, Files, count_failure};

use crate::bootstrap::Ads;
use crate::stats::ServerStats;

/// First wait before a new connection; doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait before a new connection.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A stream that lived this long counts as good: the next wait is the first again.
const GOOD: Duration = Duration::from_secs(30);
/// Largest message that the control plane may send.
const LARGEST_MESSAGE: usize = 256 << 20;
/// Longest silence between two looks at what warms.
const TICK: Duration = Duration::from_millis(200);

/// Keeps resources that come from files in force, for ever; for a proxy without a control plane.
pub(crate) async fn run_files(mut applier: Applier, stats: Arc<ServerStats>) {
    let mut files = Files::new();
    loop {
        files.want(&applier.files());
        tokio::select! {
            changed = files.changed() => handle_file(&mut files, &mut applier, &stats, changed),
            () = tokio::time::sleep(TICK) => applier.tick(),
        }
    }
}

fn handle_file(files: &mut Files, applier: &mut Applier, stats: &ServerStats, changed: Changed) {
    count_failure(stats, &changed);
    if let Some((client, update)) = files.update(changed) {
        handle(client, applier, &update);
        // Nobody hears the answers.
        drop(client.take_requests());
    }
}

/// Keeps a stream to the control plane open for ever.
pub(crate) async fn run(ads: Ads, node: Node, dialer: Dialer, mut applier: Applier, stats: Arc<ServerStats>) {
    let mut client = Client::new(node, ads.flavour);
    if ads.wants_clusters {
        client.subscribe_all(TypeUrl::Cluster);
    }
    if ads.wants_listeners {
        client.subscribe_all(TypeUrl::Listener);
    }
    let (mut wait, mut files) = (FIRST_WAIT, Files::new());
    loop {
        let began = tokio::time::Instant::now();
        let ended = stream(&ads, &dialer, &mut client, &mut applier, &mut files, &stats).await;
        stats.connected.store(false, Ordering::Relaxed);
        if began.elapsed() >= GOOD {
            wait = FIRST_WAIT;
        }
        match ended {
            Ok(()) => tracing::info!("the control plane closed the stream; connecting again"),
            Err(error) => {
                tracing::warn!(%error, "the control plane cannot be reached; trying again in {wait:?}")
            }
        }
        // What warms, and files, must not wait for the control plane to come back.
        let until = tokio::time::Instant::now() + jitter(wait);
        while tokio::time::Instant::now() < until {
            files.want(&applier.files());
            let tick = TICK.min(until.duration_since(tokio::time::Instant::now()));
            tokio::select! {
                changed = files.changed() => handle_file(&mut files, &mut applier, &stats, changed),
                () = tokio::time::sleep(tick) => applier.tick(),
            }
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Between half and all of a wait, so that proxies do not come back all at once.
fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

enum Incoming {
    Delta(Streaming<pb::envoy::service::discovery::v3::DeltaDiscoveryResponse>),
    StateOfTheWorld(Streaming<pb::envoy::service::discovery::v3::DiscoveryResponse>),
}

impl Incoming {
    /// The next update; `None` at the end of the stream.
    async fn next(&mut self, client: &mut Client) -> Result<Option<Option<Update>>, tonic::Status> {
        Ok(match self {
            Incoming::Delta(stream) => stream.message().await?.map(|response| client.receive_delta(response)),
            Incoming::StateOfTheWorld(stream) => {
                stream.message().await?.map(|response| client.receive(response))
            }
        })
    }
}

enum Outgoing {
    Delta(mpsc::Sender<pb::envoy::service::discovery::v3::DeltaDiscoveryRequest>),
    StateOfTheWorld(mpsc::Sender<pb::envoy::service::discovery::v3::DiscoveryRequest>),
}

impl Outgoing {
    async fn send(&self, requests: Vec<Request>) {
        for request in requests {
            // A closed stream is noticed by its other half.
            match (self, request) {
                (Outgoing::Delta(sender), Request::Delta(request)) => drop(sender.send(*request).await),
                (Outgoing::StateOfTheWorld(sender), Request::StateOfTheWorld(request)) => {
                    drop(sender.send(*request).await);
                }
                _ => {}
            }
        }
    }
}

async fn stream(
    ads: &Ads,
    dialer: &Dialer,
    client: &mut Client,
    applier: &mut Applier,
    files: &mut Files,
    stats: &ServerStats,
) -> anyhow::Result<()> {
    let channel = dialer.connect(&ads.hosts).await?;
    client.connected();
    // The first requests must stand in the queue before the call: some servers answer nothing before they see one.
    let first = client.take_requests();
    let (mut incoming, outgoing) = open(ads, channel, first).await?;
    stats.connected.store(true, Ordering::Relaxed);
    let mut tick = tokio::time::interval(TICK);
    let mut arrivals = applier.arrivals();
    loop {
        files.want(&applier.files());
        tokio::select! {
            next = incoming.next(client) => match next? {
                None => return Ok(()),
                Some(None) => tracing::debug!("a response of a type that was not asked for"),
                Some(Some(update)) => handle(client, applier, &update),
            },
            changed = files.changed() => handle_file(files, applier, stats, changed),
            _ = tick.tick() => applier.tick(),
            // Secrets that come over streams of their own.
            _ = arrivals.changed() => applier.tick(),
        }
        applier.subscribe(client);
        outgoing.send(client.take_requests()).await;
    }
}

fn handle(client: &mut Client, applier: &mut Applier, update: &Update) {
    let rejected = applier.apply(update);
    for rejection in &rejected {
        let (name, reason) = (&rejection.name, &rejection.reason);
        tracing::warn!(kind = %update.type_url, name, reason, "a resource is rejected; the last good one stays");
    }
    client.settle(update, &rejected);
}

async fn open(ads: &Ads, channel: Channel, first: Vec<Request>) -> anyhow::Result<(Incoming, Outgoing)> {
    let mut service =
        AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    let depth = first.len() + 64;
    Ok(match ads.flavour {
        Flavour::Delta => {
            let (sender, receiver) = mpsc::channel(depth);
            let outgoing = Outgoing::Delta(sender);
            outgoing.send(first).await;
            let call = with_metadata(ReceiverStream::new(receiver), ads)?;
            (Incoming::Delta(service.delta_aggregated_resources(call).await?.into_inner()), outgoing)
        }
        Flavour::StateOfTheWorld => {
            let (sender, receiver) = mpsc::channel(depth);
            let outgoing = Outgoing::StateOfTheWorld(sender);
            outgoing.send(first).await;
            let call = with_metadata(ReceiverStream::new(receiver), ads)?;
            (
                Incoming::StateOfTheWorld(service.stream_aggregated_resources(call).await?.into_inner()),
                outgoing,
            )
        }
    })
}

fn with_metadata<S>(stream: S, ads: &Ads) -> anyhow::Result<tonic::Request<S>> {
    let mut call = tonic::Request::new(stream);
    for (key, value) in &ads.initial_metadata {
        let key = tonic::metadata::AsciiMetadataKey::from_bytes(key.as_bytes())?;
        call.metadata_mut().insert(key, value.parse()?);
    }
    Ok(call)
}
