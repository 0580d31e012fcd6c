use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result};
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use lateen_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::measure::nanos;
use crate::{Size, world};

/// Runs the proxies: says `ready NANOSECONDS` when all of them have the whole mesh, then `push TIME` for each
/// response that arrives.
pub async fn run(address: SocketAddr, size: Size) -> Result<()> {
    let start = Instant::now();
    let (events, mut received) = mpsc::unbounded_channel();
    let mut proxies = JoinSet::new();
    for number in 0..size.proxies {
        proxies.spawn(proxy(address, number, size, events.clone()));
    }
    let mut ready = 0;
    let mut out = std::io::stdout();
    loop {
        let event = tokio::select! {
            event = received.recv() => event.context("no proxies")?,
            ended = proxies.join_next() => return ended.context("no proxies")??,
        };
        match event {
            Event::Ready => {
                ready += 1;
                if ready == size.proxies {
                    writeln!(out, "ready {}", start.elapsed().as_nanos())?;
                }
            }
            Event::Push(at) => writeln!(out, "push {at}")?,
        }
        out.flush()?;
    }
}

enum Event {
    Ready,
    Push(u64),
}

async fn proxy(
    address: SocketAddr,
    number: usize,
    size: Size,
    events: mpsc::UnboundedSender<Event>,
) -> Result<()> {
    let client = AggregatedDiscoveryServiceClient::connect(format!("http://{address}")).await?;
    let mut client = client.max_decoding_message_size(256 << 20);
    let (requests, receiver) = mpsc::channel(16);
    let node = Node {
        id: format!(
            "sidecar~{}~{}.default~default.svc.cluster.local",
            world::pod_ip(number, 1),
            world::pod_name(number, 1)
        ),
        user_agent_name: if size.envoy { "envoy" } else { "lateen" }.into(),
        ..Node::default()
    };
    let mut proxy = Proxy { node: Some(node), requests, names: Default::default() };
    proxy.subscribe(TypeUrl::Cluster, Vec::new()).await?;
    let mut responses = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await?.into_inner();
    let mut is_ready = false;
    while let Some(response) = responses.message().await? {
        if is_ready {
            events.send(Event::Push(nanos()))?;
        }
        proxy.take(response, size).await?;
        if !is_ready && proxy.is_complete(size) {
            is_ready = true;
            events.send(Event::Ready)?;
        }
    }
    Ok(())
}

struct Proxy {
    node: Option<Node>,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    /// Names that it holds, by type.
    names: [HashSet<String>; TypeUrl::ALL.len()],
}

impl Proxy {
    async fn subscribe(&mut self, type_url: TypeUrl, names: Vec<String>) -> Result<()> {
        let request = DeltaDiscoveryRequest {
            node: self.node.take(),
            type_url: type_url.as_str().into(),
            resource_names_subscribe: names,
            ..Default::default()
        };
        Ok(self.requests.send(request).await?)
    }

    async fn take(&mut self, response: DeltaDiscoveryResponse, size: Size) -> Result<()> {
        let type_url = TypeUrl::parse(&response.type_url).context("a type that was not asked for")?;
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..Default::default()
        };
        self.requests.send(ack).await?;
        let held = &mut self.names[type_url.index()];
        let first = held.is_empty();
        let new: Vec<String> =
            response.resources.into_iter().map(|r| r.name).filter(|name| held.insert(name.clone())).collect();
        match type_url {
            TypeUrl::Cluster => {
                let endpoints = new.into_iter().filter(|name| name.starts_with("outbound|")).collect();
                self.subscribe(TypeUrl::Endpoints, endpoints).await?;
                if held_all(&self.names[TypeUrl::Cluster.index()], size) {
                    self.subscribe(TypeUrl::Listener, Vec::new()).await?;
                }
            }
            TypeUrl::Listener if first => {
                self.subscribe(TypeUrl::Route, vec!["80".into()]).await?;
                if !size.envoy {
                    self.subscribe(TypeUrl::VirtualHost, vec!["80/*".into()]).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_complete(&self, size: Size) -> bool {
        let count = |type_url: TypeUrl| self.names[type_url.index()].len();
        held_all(&self.names[TypeUrl::Cluster.index()], size)
            && count(TypeUrl::Endpoints) >= 3 * size.services
            && count(TypeUrl::Listener) > 0
            && count(TypeUrl::Route) > 0
            && (size.envoy || count(TypeUrl::VirtualHost) >= size.services)
    }
}

fn held_all(clusters: &HashSet<String>, size: Size) -> bool {
    clusters.iter().filter(|name| name.starts_with("outbound|")).count() >= 3 * size.services
}
