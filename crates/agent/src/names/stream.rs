//! NDS: the table of names, kept up to date.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt;
use lateen_xds::TypeUrl;
use lateen_xds::client::{Client, Flavour, Rejection, Request as Due, Update};
use lateen_xds::grpc;
use lateen_xds::istio::NameTable;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message;
use tokio::sync::mpsc;
use tonic::codec::{Codec, Streaming};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::table::Names;
use crate::security::{Backoff, Control};

const STREAM: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Largest message in octets: a whole table of some hundred thousand names.
const MAX_TABLE: usize = 32 << 20;
/// Waits between attempts.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Follows the control plane's table for ever. The last one stays while the control plane is away.
pub(super) async fn follow(control: Arc<Control>, node: Node, names: Arc<Names>) {
    let mut client = Client::new(node, Flavour::Delta);
    client.subscribe_all(TypeUrl::NameTable);
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let ended = match stream(&control, &mut client, &names, &mut backoff).await {
            Ok(()) => "the control plane ended the stream".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        tracing::debug!(reason = ended, has_table = names.is_ready(), "no news of names for now");
        tokio::time::sleep(backoff.wait()).await;
    }
}

async fn stream(control: &Control, client: &mut Client, names: &Names, backoff: &mut Backoff) -> Result<()> {
    // Room for the first request and the answer to what comes: more is never due.
    let (requests, body) = mpsc::channel(4);
    let request = Request::post(STREAM)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Requests(body).map_err(|never| match never {}).boxed_unsync())?;
    client.connected();
    send(client, &requests).await?;
    let (head, body) = control.send(request).await?.into_parts();
    if !head.status.is_success() {
        bail!("{} answers {}", control.address(), head.status);
    }
    if let Some(status) = Status::from_header_map(&head.headers).filter(|s| s.code() != Code::Ok) {
        bail!("{} refuses: {}", control.address(), status.message());
    }
    let decoder = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default().decoder();
    let mut responses = Streaming::new_response(decoder, body, head.status, None, Some(MAX_TABLE));
    while let Some(response) = responses.message().await? {
        backoff.reset();
        let Some(update) = client.receive_delta(response) else { continue };
        let rejected = apply(&update, names);
        client.settle(&update, &rejected);
        send(client, &requests).await?;
    }
    Ok(())
}

async fn send(client: &mut Client, requests: &mpsc::Sender<Bytes>) -> Result<()> {
    for due in client.take_requests() {
        if let Due::Delta(request) = due {
            requests.send(grpc::framed(&*request)).await?;
        }
    }
    Ok(())
}

/// Takes tables: one for each host from our own control plane, one for all from others'.
fn apply(update: &Update, names: &Names) -> Vec<Rejection> {
    let mut rejected = Vec::new();
    names.remove(&update.removed);
    for resource in &update.resources {
        let Some(any) = &resource.resource else { continue };
        match NameTable::decode(any.value.as_slice()) {
            Ok(table) => names.put(&resource.name, &table),
            Err(error) => {
                rejected.push(Rejection { name: resource.name.clone(), reason: error.to_string() });
            }
        }
    }
    rejected
}

/// The stream's requests, framed, as they come.
struct Requests(mpsc::Receiver<Bytes>);

impl http_body::Body for Requests {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(ready!(self.0.poll_recv(task)).map(|message| Ok(Frame::data(message))))
    }
}
