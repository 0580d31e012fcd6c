//! Channels of a WebSocket.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;

pub(crate) const STDIN: u8 = 0;
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const RESIZE: u8 = 4;
/// v5: the channel named in the next byte is closed.
const CLOSE: u8 = 255;

const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Agrees on a sub-protocol.
pub(crate) fn negotiate(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.protocols(PROTOCOLS)
}

/// What comes from the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Data of a channel.
    Data(u8, Bytes),
    /// A channel has ended.
    Closed(u8),
}

/// The client's end.
pub(crate) struct Reader(SplitStream<WebSocket>);

impl Reader {
    /// The next message; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<Incoming> {
        loop {
            match self.0.next().await? {
                Ok(Message::Binary(bytes)) => {
                    if let Some(incoming) = parse(bytes) {
                        return Some(incoming);
                    }
                }
                Ok(Message::Text(text)) => {
                    if let Some(incoming) = parse(Bytes::from(text)) {
                        return Some(incoming);
                    }
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

fn parse(mut bytes: Bytes) -> Option<Incoming> {
    let channel = *bytes.first()?;
    let data = bytes.split_off(1);
    if channel == CLOSE {
        Some(Incoming::Closed(*data.first()?))
    } else {
        Some(Incoming::Data(channel, data))
    }
}

/// Splits a socket; what is sent on the channel goes out in order, and the socket is closed after the last sender.
pub(crate) fn split(socket: WebSocket) -> (Reader, mpsc::Sender<(u8, Bytes)>, tokio::task::JoinHandle<()>) {
    let (sink, stream) = socket.split();
    let (sender, queue) = mpsc::channel(32);
    (Reader(stream), sender, tokio::spawn(write(sink, queue)))
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut queue: mpsc::Receiver<(u8, Bytes)>) {
    while let Some((channel, data)) = queue.recv().await {
        let mut message = Vec::with_capacity(data.len() + 1);
        message.push(channel);
        message.extend_from_slice(&data);
        if sink.send(Message::Binary(message.into())).await.is_err() {
            return;
        }
    }
    // The client may have closed first.
    let done = CloseFrame { code: close_code::NORMAL, reason: Utf8Bytes::default() };
    let _ = sink.send(Message::Close(Some(done))).await;
}

/// The `Status` with which exec ends on the error channel.
pub(crate) fn exit_status(code: i32) -> Bytes {
    let status = if code == 0 {
        serde_json::json!({"metadata": {}, "status": "Success"})
    } else {
        serde_json::json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        })
    };
    status.to_string().into()
}

/// The `Status` of a program that could not be run.
pub(crate) fn failure_status(problem: &str) -> Bytes {
    serde_json::json!({"metadata": {}, "status": "Failure", "message": problem, "reason": "InternalError", "code": 500})
        .to_string()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_begin_with_their_channel() {
        assert_eq!(
            parse(Bytes::from_static(b"\x00ls")),
            Some(Incoming::Data(STDIN, Bytes::from_static(b"ls")))
        );
        assert_eq!(parse(Bytes::from_static(b"\xff\x00")), Some(Incoming::Closed(STDIN)));
        assert_eq!(parse(Bytes::new()), None);
        assert_eq!(parse(Bytes::from_static(b"\xff")), None);
    }
}
