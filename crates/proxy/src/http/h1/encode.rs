//! Writing HTTP/1 heads.

use super::body::{BodyKind, Encoder};
use super::parse::no_body;
use crate::http::{Headers, RequestHead, ResponseHead};
use bytes::{BufMut, BytesMut};

fn put_headers(headers: &Headers, out: &mut BytesMut) {
    for (name, value) in headers.iter() {
        out.put_slice(name);
        out.put_slice(b": ");
        out.put_slice(value);
        out.put_slice(b"\r\n");
    }
}

/// Writes a request's head and tells how its body goes. `content-length` stands among the headers where it is known.
pub fn write_request_head(
    head: &RequestHead,
    body: BodyKind,
    upgrade: Option<&[u8]>,
    out: &mut BytesMut,
) -> Encoder {
    out.reserve(head.headers.wire_len() + head.path.len() + head.authority.len() + 96);
    out.put_slice(head.method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(&head.path);
    out.put_slice(b" HTTP/1.1\r\nhost: ");
    out.put_slice(&head.authority);
    out.put_slice(b"\r\n");
    put_headers(&head.headers, out);
    if let Some(protocol) = upgrade {
        out.put_slice(b"connection: upgrade\r\nupgrade: ");
        out.put_slice(protocol);
        out.put_slice(b"\r\n");
    }
    let encoder = match body {
        BodyKind::None => Encoder::None,
        BodyKind::Length(_) => Encoder::Raw,
        BodyKind::Chunked | BodyKind::UntilClose => {
            out.put_slice(b"transfer-encoding: chunked\r\n");
            Encoder::Chunked
        }
    };
    out.put_slice(b"\r\n");
    encoder
}

/// How a response is to be written.
#[derive(Clone, Copy, Debug)]
pub struct ResponseStyle<'a> {
    /// The request was a HEAD.
    pub to_head: bool,
    /// The client speaks HTTP/1.1 (and knows chunks).
    pub http11: bool,
    /// The connection stays open afterwards.
    pub keep_alive: bool,
    /// There is no body.
    pub end: bool,
    /// The protocol that is switched to.
    pub upgrade: Option<&'a [u8]>,
}

/// Writes a response's head; tells how its body goes and whether the connection can stay open.
pub fn write_response_head(
    head: &ResponseHead,
    style: ResponseStyle<'_>,
    out: &mut BytesMut,
) -> (Encoder, bool) {
    out.reserve(head.headers.wire_len() + 96);
    put_status_line(head.status, out);
    put_headers(&head.headers, out);
    let sized = head.headers.contains("content-length");
    let mut keep_alive = style.keep_alive;
    let encoder = if let Some(protocol) = style.upgrade {
        out.put_slice(b"connection: upgrade\r\nupgrade: ");
        out.put_slice(protocol);
        out.put_slice(b"\r\n");
        Encoder::Raw
    } else if no_body(head.status) || style.to_head {
        Encoder::None
    } else if style.end {
        if !sized {
            out.put_slice(b"content-length: 0\r\n");
        }
        Encoder::None
    } else if sized {
        Encoder::Raw
    } else if style.http11 {
        out.put_slice(b"transfer-encoding: chunked\r\n");
        Encoder::Chunked
    } else {
        keep_alive = false;
        Encoder::Raw
    };
    if style.upgrade.is_none() && head.status >= 200 {
        if !keep_alive {
            out.put_slice(b"connection: close\r\n");
        } else if !style.http11 {
            out.put_slice(b"connection: keep-alive\r\n");
        }
    }
    out.put_slice(b"\r\n");
    (encoder, keep_alive)
}

fn put_status_line(status: u16, out: &mut BytesMut) {
    if status == 200 {
        out.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(itoa::Buffer::new().format(status).as_bytes());
    out.put_slice(b" ");
    let reason = http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    out.put_slice(reason.unwrap_or("Unknown").as_bytes());
    out.put_slice(b"\r\n");
}
