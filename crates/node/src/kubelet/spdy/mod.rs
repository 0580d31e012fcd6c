//! Port-forward as kubectl speaks it since 1.31: SPDY/3.1 inside of a WebSocket.
//!
//! For each connection the client opens two streams with the same `requestid`: one for errors, one for data.

mod frame;
mod headers;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::port_forward::connect;
use crate::pod::PodContext;
use frame::Frame;

/// The WebSocket's sub-protocol.
pub(super) const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// Streams that a client may have open at a time.
const STREAMS: usize = 512;
const CHUNK: usize = 16 << 10;

/// Serves a client until it goes.
pub(super) async fn serve(socket: WebSocket, ctx: Arc<PodContext>) {
    let (mut sink, mut messages) = socket.split();
    let (out, mut queue) = mpsc::channel::<Bytes>(32);
    let writer = tokio::spawn(async move {
        while let Some(frame) = queue.recv().await {
            if sink.send(Message::Binary(frame)).await.is_err() {
                return;
            }
        }
        // The client may have closed first.
        let _ = sink.send(Message::Close(None)).await;
    });
    let mut session = Session::new(ctx, out);
    let mut buffer = BytesMut::new();
    while let Some(Ok(message)) = messages.next().await {
        match message {
            Message::Binary(bytes) => buffer.extend_from_slice(&bytes),
            Message::Close(_) => break,
            _ => continue,
        }
        if let Err(problem) = session.take_frames(&mut buffer).await {
            tracing::debug!(problem, "port-forward ended");
            break;
        }
    }
    session.connections.shutdown().await;
    drop(session);
    // The writer ends with its last sender.
    let _ = writer.await;
}

/// The two streams of a connection, as far as they are open.
#[derive(Default)]
struct Pair {
    error: Option<u32>,
    data: Option<u32>,
}

struct Session {
    ctx: Arc<PodContext>,
    out: mpsc::Sender<Bytes>,
    headers: headers::Reader,
    replied: bool,
    /// Connections of which one stream is open, by `requestid`.
    pairs: HashMap<String, Pair>,
    /// Where the bytes of data streams go; an entry goes with the client's side of its stream.
    inputs: HashMap<u32, mpsc::Sender<Bytes>>,
    connections: JoinSet<()>,
}

impl Session {
    fn new(ctx: Arc<PodContext>, out: mpsc::Sender<Bytes>) -> Self {
        Self {
            ctx,
            out,
            headers: headers::Reader::new(),
            replied: false,
            pairs: HashMap::new(),
            inputs: HashMap::new(),
            connections: JoinSet::new(),
        }
    }

    async fn take_frames(&mut self, buffer: &mut BytesMut) -> Result<(), &'static str> {
        while let Some(frame) = frame::take(buffer)? {
            match frame {
                Frame::Open { stream, headers } => self.open(stream, &headers).await?,
                Frame::Data { stream, bytes, last } => {
                    if let Some(input) = self.inputs.get(&stream)
                        && !bytes.is_empty()
                        && input.send(bytes).await.is_err()
                    {
                        self.inputs.remove(&stream);
                    }
                    if last {
                        self.inputs.remove(&stream);
                    }
                }
                Frame::Reset { stream } => drop(self.inputs.remove(&stream)),
                Frame::Ping { id } => self.send(frame::pong(id)).await?,
                Frame::GoAway | Frame::Other => {}
            }
        }
        Ok(())
    }

    async fn send(&self, frame: Bytes) -> Result<(), &'static str> {
        self.out.send(frame).await.map_err(|_| "the client is gone")
    }

    async fn open(&mut self, stream: u32, block: &[u8]) -> Result<(), &'static str> {
        let headers = self.headers.read(block).ok_or("headers cannot be read")?;
        let header =
            |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        while self.connections.try_join_next().is_some() {}
        let port = header("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
        let (Some(port), Some(kind), true) = (port, header("streamtype"), self.has_room()) else {
            return self.send(frame::reset(stream)).await;
        };
        let first = !std::mem::replace(&mut self.replied, true);
        self.send(frame::reply(stream, &headers::empty(first))).await?;
        let request = header("requestid").unwrap_or_default().to_owned();
        let pair = self.pairs.entry(request.clone()).or_default();
        match kind {
            "error" => pair.error = Some(stream),
            "data" => {
                pair.data = Some(stream);
            }
            _ => return Err("a stream is neither for data nor for errors"),
        }
        if let Pair { error: Some(error), data: Some(data) } = *pair {
            self.pairs.remove(&request);
            let (input, received) = mpsc::channel(16);
            self.inputs.insert(data, input);
            let connection = Connection { error, data, out: self.out.clone() };
            self.connections.spawn(connection.run(self.ctx.clone(), port, received));
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.pairs.len() + self.connections.len() < STREAMS
    }
}

/// One connection to a port of the pod.
struct Connection {
    error: u32,
    data: u32,
    out: mpsc::Sender<Bytes>,
}

impl Connection {
    async fn run(self, ctx: Arc<PodContext>, port: u16, mut received: mpsc::Receiver<Bytes>) {
        let problem = match connect(&ctx, port).await {
            Err(problem) => problem,
            Ok(mut stream) => {
                let (mut read, mut write) = stream.split();
                let inward = async {
                    while let Some(bytes) = received.recv().await {
                        if write.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                    // The application may have closed first.
                    let _ = write.shutdown().await;
                };
                let outward = async {
                    let mut chunk = vec![0; CHUNK];
                    while let Ok(length @ 1..) = read.read(&mut chunk).await {
                        if self.out.send(frame::data(self.data, &chunk[..length], false)).await.is_err() {
                            return;
                        }
                    }
                };
                // The application's end is the end; the client's is passed on to it.
                tokio::pin!(outward);
                tokio::select! {
                    () = &mut outward => {}
                    () = inward => outward.await,
                }
                String::new()
            }
        };
        // A client that is gone needs no ends.
        for (stream, text) in [(self.data, ""), (self.error, problem.as_str())] {
            let _ = self.out.send(frame::data(stream, text.as_bytes(), true)).await;
        }
    }
}
