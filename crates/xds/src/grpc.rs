//! gRPC's framing over HTTP/2: what a server sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::server::Response;

/// Octets before a gRPC message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// A gRPC response stream: messages, then the status in the trailers.
///
/// Messages are shared bytes and are not copied here. The channel holds one message: what the connection cannot
/// take yet is not built yet.
#[derive(Debug)]
pub struct GrpcBody {
    messages: Option<mpsc::Receiver<Result<Bytes, Status>>>,
}

impl GrpcBody {
    /// A stream and the end that feeds it.
    pub fn stream() -> (mpsc::Sender<Result<Bytes, Status>>, GrpcBody) {
        let (sender, messages) = mpsc::channel(1);
        (sender, GrpcBody { messages: Some(messages) })
    }

    /// One message (framed), and then success.
    pub fn single(message: Bytes) -> GrpcBody {
        let (sender, body) = GrpcBody::stream();
        // The channel is new and has room for one.
        let _ = sender.try_send(Ok(message));
        body
    }

    /// No message at all (the status stands in the head).
    pub fn empty() -> GrpcBody {
        GrpcBody { messages: None }
    }
}

impl http_body::Body for GrpcBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(None) };
        let status = match std::task::ready!(messages.poll_recv(context)) {
            Some(Ok(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
            Some(Err(status)) => status,
            None => Status::new(Code::Ok, ""),
        };
        self.messages = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none()
    }
}

/// gRPC's answer with this body.
pub fn response(body: GrpcBody) -> http::Response<GrpcBody> {
    let mut response = http::Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// An answer without a message: the status stands in its head.
pub fn refusal(status: &Status) -> http::Response<GrpcBody> {
    let mut refusal = response(GrpcBody::empty());
    refusal.headers_mut().extend(trailers(status));
    refusal
}

/// The status as HTTP headers.
pub fn trailers(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", HeaderValue::from(status.code() as i32));
    if !status.message().is_empty() {
        let message: String =
            status.message().chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).collect();
        // gRPC wants percent encoding; '%' is the only printable character that needs it.
        if let Ok(value) = HeaderValue::from_str(&message.replace('%', "%25")) {
            map.insert("grpc-message", value);
        }
    }
    map
}

/// A response as one framed message.
pub fn frame(response: &Response) -> Bytes {
    let mut message: BytesMut = response.encode(PREFIX);
    let len = u32::try_from(message.len() - PREFIX).unwrap_or(u32::MAX);
    let mut prefix = &mut message[..PREFIX];
    prefix.put_u8(0);
    prefix.put_u32(len);
    message.freeze()
}

/// A message with its frame.
pub fn framed(message: &impl prost::Message) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + message.encoded_len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

/// The one message of a unary call or its answer, out of its frame.
///
/// # Errors
/// When there is not exactly one message, or it is compressed, which nobody here asks for.
pub fn unframed<M: prost::Message + Default>(mut bytes: Bytes) -> Result<M, Status> {
    if bytes.len() < PREFIX {
        return Err(Status::invalid_argument("there is no message"));
    }
    if bytes.get_u8() != 0 {
        return Err(Status::unimplemented("compressed messages are not supported"));
    }
    let length = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
    if length != bytes.len() {
        return Err(Status::invalid_argument("there must be exactly one message"));
    }
    M::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
}
