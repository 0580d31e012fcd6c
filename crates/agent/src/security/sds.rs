//! The secret discovery service on the workload's unix socket (Envoy, "Secret discovery service"), delta and state of
//! the world, for Lateen's proxy and for Envoy.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lateen_xds::TypeUrl;
use lateen_xds::grpc::{self, GrpcBody};
use lateen_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use lateen_xds::server::{Event, Limits, Next, Protocol, RequestError, Session};
use prost::Message;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tonic::codec::{Codec, Streaming};
use tonic::{Code, Status};

use super::secrets::{Secrets, Snapshot};
use super::socket;

const SERVICE: &str = "/envoy.service.secret.v3.SecretDiscoveryService/";
/// Streams of one connection: Envoy opens one a secret.
const MAX_STREAMS: u32 = 128;
/// A request that is larger is refused.
const MAX_REQUEST: usize = 64 << 10;
/// Names of one stream.
const MAX_NAMES: usize = 512;
/// What the proxy may send ahead of our reading.
const WINDOW: u32 = 64 << 10;

/// Serves secrets for ever.
pub(super) async fn serve(listener: UnixListener, secrets: Arc<Secrets>) {
    socket::serve(listener, |stream| connection(stream, Arc::clone(&secrets))).await;
}

async fn connection(stream: UnixStream, secrets: Arc<Secrets>) {
    let service = service_fn(move |request| {
        let response = route(request, &secrets);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "the proxy's connection ended");
    }
}

fn route(request: Request<Incoming>, secrets: &Arc<Secrets>) -> Response<GrpcBody> {
    match request.uri().path().strip_prefix(SERVICE) {
        Some("DeltaSecrets") => stream::<DeltaDiscoveryRequest>(request, Protocol::Delta, secrets),
        Some("StreamSecrets") => stream::<DiscoveryRequest>(request, Protocol::StateOfTheWorld, secrets),
        _ => grpc::refusal(&Status::new(Code::Unimplemented, "only streams of secrets are served here")),
    }
}

fn stream<Q: Discovery + Message + Default + 'static>(
    request: Request<Incoming>,
    protocol: Protocol,
    secrets: &Arc<Secrets>,
) -> Response<GrpcBody> {
    let decoder = tonic_prost::ProstCodec::<(), Q>::default().decoder();
    let requests = Streaming::new_request(decoder, request.into_body(), None, Some(MAX_REQUEST));
    let (sender, body) = GrpcBody::stream();
    let secrets = Arc::clone(secrets);
    tokio::spawn(async move {
        if let Err(status) = Stream::new(protocol, &secrets).serve(requests, &sender).await {
            tracing::debug!(reason = status.message(), "stream of secrets ended");
            // The proxy may be gone already.
            let _ = sender.send(Err(status)).await;
        }
    });
    grpc::response(body)
}

/// A request of either protocol. A name for which there is no secret yet is held back: the protocol would take it
/// for one that does not exist.
trait Discovery: Send + Sized {
    /// Names that the client newly wants, taken out when `absent` says so.
    fn hold_back(&mut self, waiting: &mut BTreeSet<String>, absent: &dyn Fn(&str) -> bool);
    /// Asks for names that were held back.
    fn of_names(names: Vec<String>, session: &Session<Snapshot>) -> Self;
    fn apply(&self, session: &mut Session<Snapshot>) -> Result<Option<Event>, RequestError>;
}

impl Discovery for DeltaDiscoveryRequest {
    fn hold_back(&mut self, waiting: &mut BTreeSet<String>, absent: &dyn Fn(&str) -> bool) {
        for name in &self.resource_names_unsubscribe {
            waiting.remove(name);
        }
        let held = self.resource_names_subscribe.extract_if(.., |name| absent(name));
        waiting.extend(held);
    }

    fn of_names(names: Vec<String>, _: &Session<Snapshot>) -> Self {
        let type_url = TypeUrl::Secret.as_str().to_owned();
        DeltaDiscoveryRequest { type_url, resource_names_subscribe: names, ..Default::default() }
    }

    fn apply(&self, session: &mut Session<Snapshot>) -> Result<Option<Event>, RequestError> {
        session.on_delta(self)
    }
}

impl Discovery for DiscoveryRequest {
    fn hold_back(&mut self, waiting: &mut BTreeSet<String>, absent: &dyn Fn(&str) -> bool) {
        // Each request lists all names.
        *waiting = self.resource_names.extract_if(.., |name| absent(name)).collect();
    }

    fn of_names(mut names: Vec<String>, session: &Session<Snapshot>) -> Self {
        session.visit_subscribed(TypeUrl::Secret, &mut |secret| names.push(secret.name.to_string()));
        DiscoveryRequest {
            type_url: TypeUrl::Secret.as_str().to_owned(),
            response_nonce: session.status(TypeUrl::Secret).sent_nonce.to_string(),
            resource_names: names,
            ..Default::default()
        }
    }

    fn apply(&self, session: &mut Session<Snapshot>) -> Result<Option<Event>, RequestError> {
        session.on_sotw(self)
    }
}

type Sender = mpsc::Sender<Result<Bytes, Status>>;

struct Stream<'a> {
    secrets: &'a Secrets,
    session: Session<Snapshot>,
    now: watch::Receiver<Snapshot>,
    waiting: BTreeSet<String>,
}

impl<'a> Stream<'a> {
    fn new(protocol: Protocol, secrets: &'a Secrets) -> Self {
        let mut now = secrets.subscribe();
        let snapshot = now.borrow_and_update().clone();
        let limits = Limits { names: MAX_NAMES, ..Limits::default() };
        let version = snapshot.number.to_string().into();
        let session = Session::new(protocol, limits, false, snapshot, version);
        Stream { secrets, session, now, waiting: BTreeSet::new() }
    }

    async fn serve<Q: Discovery>(
        &mut self,
        mut requests: Streaming<Q>,
        sender: &Sender,
    ) -> Result<(), Status> {
        loop {
            while let Next::Send(response) = self.session.next(Instant::now()) {
                let message = grpc::frame(&response);
                if sender.send(Ok(message)).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                request = requests.message() => match request? {
                    Some(request) => self.request(request)?,
                    None => return Ok(()),
                },
                changed = self.now.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.retarget::<Q>()?;
                }
                () = sender.closed() => return Ok(()),
            }
        }
    }

    fn request<Q: Discovery>(&mut self, mut request: Q) -> Result<(), Status> {
        let snapshot = self.session.target().clone();
        let secrets = self.secrets;
        request.hold_back(&mut self.waiting, &|name| {
            let absent = !snapshot.has(name);
            if absent {
                secrets.ask(name);
            }
            absent
        });
        if self.waiting.len() > MAX_NAMES {
            return Err(Status::resource_exhausted(format!("more than {MAX_NAMES} names")));
        }
        self.apply(&request)
    }

    fn apply(&mut self, request: &impl Discovery) -> Result<(), Status> {
        let event = request.apply(&mut self.session);
        match event.map_err(|error| Status::resource_exhausted(error.to_string()))? {
            Some(Event::Nack(nack)) => {
                let names: Vec<&str> = nack.resources.iter().map(|name| &**name).collect();
                tracing::warn!(
                    secrets = names.join(", "),
                    reason = nack.message,
                    "the proxy refuses secrets"
                );
            }
            Some(Event::Ack(_) | Event::Stale(_)) | None => {}
        }
        Ok(())
    }

    fn retarget<Q: Discovery>(&mut self) -> Result<(), Status> {
        let snapshot = self.now.borrow_and_update().clone();
        let version = snapshot.number.to_string().into();
        let come: Vec<String> = self.waiting.extract_if(.., |name| snapshot.has(name)).collect();
        self.session.retarget(snapshot, version);
        if !come.is_empty() {
            let request = Q::of_names(come, &self.session);
            self.apply(&request)?;
        }
        Ok(())
    }
}
