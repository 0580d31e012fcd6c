//! Heads to and from the `http` crate's types. A received header map becomes one buffer with spans into it.

use crate::http::{Headers, RequestHead, ResponseHead, Scheme};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, uri};

/// Headers of a received message.
pub fn headers_from(map: &HeaderMap) -> Headers {
    let length = map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let mut buffer = BytesMut::with_capacity(length);
    for (name, value) in map {
        buffer.put_slice(name.as_str().as_bytes());
        buffer.put_slice(value.as_bytes());
    }
    let (mut headers, mut at) = (Headers::over(buffer.freeze(), map.len() + 12), 0u32);
    for (name, value) in map {
        let middle = at + name.as_str().len() as u32;
        let end = middle + value.len() as u32;
        headers.push_span((at, middle), (middle, end));
        at = end;
    }
    headers
}

/// Headers of a message to be sent. What cannot stand in HTTP/2 is left out: it was for one connection only.
pub fn map_from(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter() {
        if matches!(
            name,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
        ) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// A received request's head.
pub fn request_head(parts: http::request::Parts) -> RequestHead {
    let mut headers = headers_from(&parts.headers);
    let host = parts.headers.get(http::header::HOST).map(|value| Bytes::copy_from_slice(value.as_bytes()));
    if host.is_some() {
        headers.remove("host");
    }
    let uri = parts.uri.into_parts();
    let authority = uri.authority.map(|authority| Bytes::copy_from_slice(authority.as_str().as_bytes()));
    let path = match &uri.path_and_query {
        Some(path) => Bytes::copy_from_slice(path.as_str().as_bytes()),
        None => Bytes::new(),
    };
    RequestHead {
        method: parts.method,
        authority: authority.or(host).unwrap_or_default(),
        path,
        scheme: if uri.scheme == Some(uri::Scheme::HTTPS) { Scheme::Https } else { Scheme::Http },
        headers,
    }
}

/// A request to be sent; none when authority or path cannot stand in HTTP/2.
pub fn request_from(head: &RequestHead) -> Option<Request<()>> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(match head.scheme {
        Scheme::Http => uri::Scheme::HTTP,
        Scheme::Https => uri::Scheme::HTTPS,
    });
    parts.authority = Some(uri::Authority::from_maybe_shared(head.authority.clone()).ok()?);
    parts.path_and_query = Some(uri::PathAndQuery::from_maybe_shared(head.path.clone()).ok()?);
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = map_from(&head.headers);
    Some(request)
}

/// A received response's head.
pub fn response_head(parts: &http::response::Parts) -> ResponseHead {
    ResponseHead { status: parts.status.as_u16(), headers: headers_from(&parts.headers) }
}

/// A response to be sent.
pub fn response_from(head: &ResponseHead) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(head.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    *response.headers_mut() = map_from(&head.headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_both_ways_in_order_and_repeated() {
        let mut headers = Headers::new();
        headers.append_static("x-a", "1");
        headers.append_static("x-b", "2");
        headers.append_static("x-a", "3");
        headers.append_static("connection", "close");
        let back = headers_from(&map_from(&headers));
        assert_eq!(back.joined("x-a").as_deref(), Some(&b"1,3"[..]));
        assert_eq!(back.len(), 3);
    }
}
