use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lateen_generate::{Flavour, Proxy};
use lateen_xds::TypeUrl;
use lateen_xds::grpc::{frame, framed};
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::service::discovery::v3::DiscoveryResponse;
use lateen_xds::pb::google::protobuf::Any;
use lateen_xds::pb::google::protobuf::value::Kind;
use lateen_xds::server::{Event, Limits, Next, Protocol, Session};
use prost::Name as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::access::Access;
use super::debug::Asker;
use super::discovery::Discovery;
use super::registry::{Client, Connection};
use super::withheld::{SECRET, Withheld};
use crate::Context;
use crate::hub::Published;

/// Size of a delta response in octets. With at most two of them in memory for each stream, a push to all proxies
/// at once stays small.
const MESSAGE_BYTES: usize = 64 << 10;

/// The type of the table of names.
const NAMES: &str = TypeUrl::NameTable.as_str();

pub(super) type Sender = mpsc::Sender<Result<Bytes, Status>>;

/// Serves one stream until the client, an error or a shutdown ends it.
pub(super) async fn run<Q: Discovery>(
    requests: Streaming<Q>,
    sender: Sender,
    protocol: Protocol,
    context: Arc<Context>,
    access: Access,
    shutdown: CancellationToken,
) {
    let outcome = tokio::select! {
        outcome = serve(requests, &sender, protocol, &context, access) => outcome,
        () = shutdown.cancelled() => Err(Status::new(Code::Unavailable, "the control plane is shutting down")),
    };
    if let Err(status) = outcome {
        tracing::debug!(code = ?status.code(), reason = status.message(), "xDS stream ended");
        // The client may be gone already; then nobody is to be told.
        let _ = sender.send(Err(status)).await;
    }
}

async fn serve<Q: Discovery>(
    mut requests: Streaming<Q>,
    sender: &Sender,
    protocol: Protocol,
    context: &Arc<Context>,
    access: Access,
) -> Result<(), Status> {
    let caller = access.caller(&context.metrics.refusals).await?;
    let Some(first) = requests.message().await? else { return Ok(()) };
    if super::debug::is_debug(first.asked().0) {
        let asker = Asker { caller: caller.as_ref(), system: access.system() };
        return super::debug::serve(requests, first, sender, protocol, context, &asker).await;
    }
    let node = first.node().ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
    let mut proxy = Proxy::from_node(node).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let identity = access.identity(caller, &proxy, &context.metrics.refusals)?;
    // Who proved its identity has a certificate of the mesh, and may have the Secrets of its namespace.
    proxy.authenticated = identity.is_some();
    drop(access);
    let istio_version = metadata(node, "ISTIO_VERSION");
    let mut published = context.hub.subscribe();
    // Nothing is served before the first lists are in: a proxy must not take an empty mesh for the whole.
    let seen =
        published.wait_for(|p| p.number > 0).await.map_err(|_| Status::unavailable("shutting down"))?.clone();
    if first.wants_bootstrap() {
        // Whoever is gone needs no answer.
        let _ = sender.send(Ok(bootstrap(&context.hub.bootstrap(&proxy), &seen.version))).await;
        return Ok(());
    }
    let limits = Limits { message_bytes: MESSAGE_BYTES, ..Limits::default() };
    let resends_endpoints = proxy.flavour == Flavour::Envoy;
    let session = Session::new(
        protocol,
        limits,
        resends_endpoints,
        context.hub.view(&proxy),
        Arc::clone(&seen.version),
    );
    let client = if first.asked().0 == NAMES { Client::Names } else { Client::Proxy };
    let connection = context.registry.add(proxy, identity, istio_version, (client, session));
    if client == Client::Proxy {
        context.metrics.on_connect();
        tracing::info!(node = %connection.proxy.id, connection = connection.id, ?protocol, "proxy connected");
    }
    let since = Some(seen.since.max(Instant::now()));
    let (target, withheld) = (seen.number, Withheld::default());
    let mut stream = Stream { connection, context, published, target, since, withheld };
    let outcome = stream.serve(requests, first, sender).await;
    if client == Client::Proxy {
        context.registry.remove(&stream.connection);
        context.metrics.on_disconnect();
        tracing::info!(connection = stream.connection.id, "proxy disconnected");
    }
    outcome
}

/// The answer to who asks for a bootstrap (Istio, `BOOTSTRAP_XDS_AGENT`).
fn bootstrap(body: &[u8], version: &str) -> Bytes {
    let type_url = Bootstrap::type_url();
    framed(&DiscoveryResponse {
        version_info: version.to_owned(),
        resources: vec![Any { type_url: type_url.clone(), value: body.to_vec() }],
        type_url,
        nonce: version.to_owned(),
        ..DiscoveryResponse::default()
    })
}

fn metadata(node: &Node, key: &str) -> String {
    let value = node.metadata.as_ref().and_then(|m| m.fields.get(key)).and_then(|v| v.kind.as_ref());
    match value {
        Some(Kind::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

struct Stream<'a> {
    connection: Arc<Connection>,
    context: &'a Context,
    published: watch::Receiver<Published>,
    /// The publication that the proxy is led to.
    target: u64,
    /// When the oldest change arrived that the proxy has not acknowledged.
    since: Option<Instant>,
    withheld: Withheld,
}

impl Stream<'_> {
    async fn serve<Q: Discovery>(
        &mut self,
        mut requests: Streaming<Q>,
        first: Q,
        sender: &Sender,
    ) -> Result<(), Status> {
        self.request(&first)?;
        loop {
            // Room first, then the response: nothing is built that cannot be sent.
            let permit = loop {
                tokio::select! {
                    permit = sender.reserve() => match permit {
                        Ok(permit) => break permit,
                        Err(_) => return Ok(()),
                    },
                    request = requests.message() => match request? {
                        Some(request) => self.request(&request)?,
                        None => return Ok(()),
                    },
                }
            };
            loop {
                if self.published.has_changed().unwrap_or(false) {
                    self.retarget();
                }
                let now = Instant::now();
                let next = self.connection.session().next(now);
                let until = match next {
                    Next::Send(response) => {
                        let message = frame(&response);
                        tracing::debug!(
                            node = %self.connection.proxy.id,
                            kind = response.type_url.short(),
                            resources = response.resources.len(),
                            removed = response.removed.len(),
                            bytes = message.len(),
                            version = &*response.version,
                            "push"
                        );
                        self.context.metrics.on_push(response.type_url, now.elapsed());
                        permit.send(Ok(message));
                        break;
                    }
                    Next::WaitUntil(until) => Some(until),
                    Next::Idle => None,
                };
                tokio::select! {
                    request = requests.message() => match request? {
                        Some(request) => self.request(&request)?,
                        None => return Ok(()),
                    },
                    changed = self.published.changed() => {
                        changed.map_err(|_| Status::unavailable("the control plane is shutting down"))?;
                        self.retarget();
                    }
                    () = wait(until) => {}
                    () = sender.closed() => return Ok(()),
                }
            }
        }
    }

    fn request<Q: Discovery>(&mut self, request: &Q) -> Result<(), Status> {
        if let (SECRET, names) = request.asked() {
            self.withheld.look(names, &self.connection, self.context);
        }
        let mut session = self.connection.session();
        let event = request.apply(&mut session).map_err(|e| Status::resource_exhausted(e.to_string()))?;
        match event {
            Some(Event::Nack(nack)) => {
                self.context.metrics.on_reject(nack.type_url);
                let resources: Vec<&str> = nack.resources.iter().map(|name| &**name).collect();
                tracing::warn!(
                    node = %self.connection.proxy.id,
                    kind = nack.type_url.short(),
                    resources = resources.join(", "),
                    of = nack.total,
                    refused = &*nack.version,
                    last_good = &*nack.last_good,
                    reason = nack.message,
                    "proxy refused configuration; it keeps the last good one"
                );
            }
            Some(Event::Ack(_)) if session.is_settled() => {
                if let Some(since) = self.since.take() {
                    self.context.metrics.on_converged(since.elapsed());
                }
            }
            _ => {}
        }
        drop(session);
        self.connection.settle(self.target);
        Ok(())
    }

    /// Leads the proxy to the latest snapshot.
    fn retarget(&mut self) {
        let published = self.published.borrow_and_update().clone();
        let view = self.context.hub.view(&self.connection.proxy);
        let due = self.connection.session().retarget(view, published.version);
        self.target = published.number;
        self.connection.settle(self.target);
        if due > 0 {
            self.since.get_or_insert(published.since);
            tracing::debug!(node = %self.connection.proxy.id, due, "resources are due");
        }
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
