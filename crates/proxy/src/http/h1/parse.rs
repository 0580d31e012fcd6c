//! Heads of HTTP/1 messages (RFC 9112), strict where laxness would let two parties disagree about where a message ends.

use super::H1Error;
use super::body::BodyKind;
use crate::http::{Headers, RequestHead, ResponseHead, Scheme};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use std::mem::MaybeUninit;

/// Limits of a head.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes.
    pub bytes: usize,
    /// Most headers.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 60 << 10, headers: 100 }
    }
}

/// The most headers that any limit may allow.
const MOST_HEADERS: usize = 256;

/// A request's head and what its framing headers say.
#[derive(Debug)]
pub struct ParsedRequest {
    /// The head, without hop-by-hop headers.
    pub head: RequestHead,
    /// HTTP/1.1 (or 1.0).
    pub http11: bool,
    /// The connection may serve another request.
    pub keep_alive: bool,
    /// How the body is framed.
    pub body: BodyKind,
    /// The client waits for 100 Continue.
    pub expect_continue: bool,
    /// The protocol that the client wants to upgrade to, in lower case.
    pub upgrade: Option<Bytes>,
    /// Bytes of the head.
    pub wire_len: usize,
}

/// A response's head and what its framing headers say.
#[derive(Debug)]
pub struct ParsedResponse {
    /// The head, without hop-by-hop headers.
    pub head: ResponseHead,
    /// The connection may serve another request, unless its end is the body's end.
    pub keep_alive: bool,
    /// How the body is framed, before HEAD and status are considered.
    pub body: BodyKind,
    /// The protocol that was switched to.
    pub upgrade: Option<Bytes>,
    /// Bytes of the head.
    pub wire_len: usize,
}

type Spans = SmallVec<[[u32; 4]; 32]>;

fn spans(base: usize, headers: &[httparse::Header<'_>]) -> Spans {
    let offset = |part: &[u8]| (part.as_ptr() as usize - base) as u32;
    headers
        .iter()
        .map(|header| {
            let (name, value) = (header.name.as_bytes(), header.value);
            let (n, v) = (offset(name), if value.is_empty() { 0 } else { offset(value) });
            [n, n + name.len() as u32, v, v + value.len() as u32]
        })
        .collect()
}

/// What the hop-by-hop headers of a message said.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    coded: bool,
    close: bool,
    keep_alive: bool,
    wants_upgrade: bool,
    upgrade: Option<Bytes>,
    expect_continue: bool,
    host: Option<Bytes>,
    /// Headers that `connection` names: they end here as well.
    named: SmallVec<[Bytes; 2]>,
}

impl Framing {
    fn length(&mut self, value: &[u8]) -> Result<(), H1Error> {
        const BAD: H1Error = H1Error::Malformed("invalid content-length");
        // A list of equal lengths (RFC 9110, 8.6) is refused as well: nobody needs it, and parsers differ.
        if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
            return Err(BAD);
        }
        let length = value.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        match self.length.replace(length) {
            Some(other) if other != length => Err(BAD),
            _ => Ok(()),
        }
    }

    fn connection(&mut self, buffer: &Bytes, value: &[u8]) {
        for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.wants_upgrade = true;
            } else if !token.is_empty() && self.named.len() < 16 {
                self.named.push(Bytes::from(buffer.slice_ref(token).to_ascii_lowercase()));
            }
        }
    }

    /// Takes a header that concerns the connection; false: it is end-to-end.
    fn take(&mut self, buffer: &Bytes, name: &[u8], value: &[u8], request: bool) -> Result<bool, H1Error> {
        match name {
            b"content-length" => {
                let first = self.length.is_none();
                self.length(value)?;
                return Ok(!first);
            }
            b"transfer-encoding" => {
                if self.coded {
                    return Err(H1Error::Malformed("repeated transfer-encoding"));
                }
                self.coded = true;
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
                if !self.chunked && !value.eq_ignore_ascii_case(b"identity") {
                    return Err(H1Error::UnsupportedCoding);
                }
            }
            b"connection" => self.connection(buffer, value),
            b"keep-alive" | b"proxy-connection" => {}
            b"upgrade" => self.upgrade = Some(Bytes::from(value.to_ascii_lowercase())),
            b"host" if request => {
                if self.host.replace(buffer.slice_ref(value)).is_some() {
                    return Err(H1Error::Malformed("repeated host"));
                }
            }
            b"expect" if request && value.eq_ignore_ascii_case(b"100-continue") => {
                self.expect_continue = true
            }
            // The one legal value of TE towards the next hop (RFC 9113, 8.2.2).
            b"te" if request => return Ok(value.eq_ignore_ascii_case(b"trailers")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn body(&self) -> Result<BodyKind, H1Error> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(H1Error::Malformed("both content-length and transfer-encoding")),
            (true, None) => Ok(BodyKind::Chunked),
            (false, Some(length)) => Ok(BodyKind::Length(length)),
            (false, None) => Ok(BodyKind::None),
        }
    }
}

fn read_headers(head: BytesMut, spans: &Spans, request: bool) -> Result<(Bytes, Headers, Framing), H1Error> {
    let mut head = head;
    for [start, end, ..] in spans {
        head[*start as usize..*end as usize].make_ascii_lowercase();
    }
    let buffer = head.freeze();
    let mut framing = Framing::default();
    let mut headers = Headers::over(buffer.clone(), spans.len() + 12);
    for [n0, n1, v0, v1] in spans.iter().copied() {
        let (name, value) = (&buffer[n0 as usize..n1 as usize], &buffer[v0 as usize..v1 as usize]);
        let keep_length = name == b"content-length" && framing.length.is_none();
        let te_trailers = name == b"te";
        let taken = framing.take(&buffer, name, value, request)?;
        if keep_length || (te_trailers && taken) || (!taken && !te_trailers) {
            headers.push_span((n0, n1), (v0, v1));
        }
    }
    for name in &framing.named {
        headers.retain(|n, _| n != &name[..] || n == b"te");
    }
    Ok((buffer, headers, framing))
}

/// Parses a request's head at the start of `buf`. None: more bytes are needed.
pub fn request(buf: &mut BytesMut, limits: Limits) -> Result<Option<ParsedRequest>, H1Error> {
    let mut storage = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed
        .parse_with_uninit_headers(buf, &mut storage[..limits.headers.min(MOST_HEADERS)])
        .map_err(parse_error)?;
    let httparse::Status::Complete(length) = status else {
        return if buf.len() >= limits.bytes { Err(H1Error::TooLarge) } else { Ok(None) };
    };
    if length > limits.bytes {
        return Err(H1Error::TooLarge);
    }
    let base = buf.as_ptr() as usize;
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(H1Error::Malformed("invalid request line"));
    };
    let method =
        http::Method::from_bytes(method.as_bytes()).map_err(|_| H1Error::Malformed("invalid method"))?;
    let target = (target.as_ptr() as usize - base, target.len());
    let http11 = parsed.version == Some(1);
    let spans = spans(base, parsed.headers);
    let (buffer, headers, framing) = read_headers(buf.split_to(length), &spans, true)?;
    let target = buffer.slice(target.0..target.0 + target.1);
    let body = framing.body()?;
    if framing.coded && !http11 {
        return Err(H1Error::Malformed("transfer-encoding in HTTP/1.0"));
    }
    let (authority, path) = authority_and_path(&method, target, framing.host, http11)?;
    Ok(Some(ParsedRequest {
        head: RequestHead { method, authority, path, scheme: Scheme::Http, headers },
        http11,
        keep_alive: if http11 { !framing.close } else { framing.keep_alive && !framing.close },
        body,
        expect_continue: framing.expect_continue && http11,
        upgrade: framing.upgrade.filter(|_| framing.wants_upgrade && http11),
        wire_len: length,
    }))
}

fn parse_error(error: httparse::Error) -> H1Error {
    match error {
        httparse::Error::TooManyHeaders => H1Error::TooLarge,
        httparse::Error::HeaderName => H1Error::Malformed("invalid header name"),
        httparse::Error::HeaderValue => H1Error::Malformed("invalid header value"),
        httparse::Error::NewLine => H1Error::Malformed("invalid line end"),
        httparse::Error::Status => H1Error::Malformed("invalid status"),
        httparse::Error::Version => H1Error::Malformed("invalid version"),
        httparse::Error::Token => H1Error::Malformed("invalid request line"),
    }
}

/// The forms of a request target (RFC 9112, 3.2): an absolute form's authority wins over Host.
fn authority_and_path(
    method: &http::Method,
    target: Bytes,
    host: Option<Bytes>,
    http11: bool,
) -> Result<(Bytes, Bytes), H1Error> {
    if host.is_none() && http11 {
        return Err(H1Error::Malformed("missing host"));
    }
    let host = host.unwrap_or_default();
    if !host.iter().all(|byte| is_authority_byte(*byte)) {
        return Err(H1Error::Malformed("invalid host"));
    }
    if *method == http::Method::CONNECT {
        return Ok((target, Bytes::new()));
    }
    if target.first() == Some(&b'/') || (&target[..] == b"*" && *method == http::Method::OPTIONS) {
        return Ok((host, target));
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme else { return Err(H1Error::Malformed("invalid request target")) };
    let rest = target.slice(scheme.len()..);
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = (rest.slice(..end), rest.slice(end..));
    if authority.is_empty() || !authority.iter().all(|byte| is_authority_byte(*byte)) {
        return Err(H1Error::Malformed("invalid request target"));
    }
    match path.first() {
        Some(b'/') => Ok((authority, path)),
        None => Ok((authority, Bytes::from_static(b"/"))),
        Some(_) => Ok((authority, Bytes::from([b"/", &path[..]].concat()))),
    }
}

/// Bytes that a host, port or user information may hold (RFC 3986, 3.2).
pub fn is_authority_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@[]".contains(&byte)
}

/// Parses a response's head at the start of `buf`. None: more bytes are needed.
pub fn response(buf: &mut BytesMut, limits: Limits) -> Result<Option<ParsedResponse>, H1Error> {
    let mut storage = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, buf, &mut storage)
        .map_err(parse_error)?;
    let httparse::Status::Complete(length) = status else {
        return if buf.len() >= limits.bytes { Err(H1Error::TooLarge) } else { Ok(None) };
    };
    let Some(code) = parsed.code.filter(|code| (100..=999).contains(code)) else {
        return Err(H1Error::Malformed("invalid status"));
    };
    let http11 = parsed.version == Some(1);
    let spans = spans(buf.as_ptr() as usize, parsed.headers);
    let (_, headers, framing) = read_headers(buf.split_to(length), &spans, false)?;
    let body = match framing.body()? {
        BodyKind::None => BodyKind::UntilClose,
        other => other,
    };
    let keep_alive = if http11 { !framing.close } else { framing.keep_alive };
    Ok(Some(ParsedResponse {
        head: ResponseHead { status: code, headers },
        keep_alive,
        body,
        upgrade: framing.upgrade.filter(|_| code == 101),
        wire_len: length,
    }))
}

/// Statuses whose responses never have a body (RFC 9110, 6.4.1).
pub fn no_body(code: u16) -> bool {
    matches!(code, 100..=199 | 204 | 304)
}

/// Parses a trailer section (after the last chunk). None: more bytes are needed.
pub fn trailers(buf: &mut BytesMut, limits: Limits) -> Result<Option<Headers>, H1Error> {
    let mut storage = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(buf, &mut storage).map_err(parse_error)? {
        httparse::Status::Partial if buf.len() >= limits.bytes => Err(H1Error::TooLarge),
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete((length, parsed)) => {
            let spans = spans(buf.as_ptr() as usize, parsed);
            let mut head = buf.split_to(length);
            for [start, end, ..] in &spans {
                head[*start as usize..*end as usize].make_ascii_lowercase();
            }
            let buffer = head.freeze();
            let mut headers = Headers::over(buffer.clone(), spans.len());
            for [n0, n1, v0, v1] in spans {
                // Framing and routing are not to be changed after the fact (RFC 9110, 6.5.1).
                let name = &buffer[n0 as usize..n1 as usize];
                if !matches!(
                    name,
                    b"content-length" | b"transfer-encoding" | b"host" | b"connection" | b"upgrade"
                ) {
                    headers.push_span((n0, n1), (v0, v1));
                }
            }
            Ok(Some(headers))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<ParsedRequest>, H1Error> {
        request(&mut BytesMut::from(text), Limits::default())
    }

    fn refused(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_head_is_read_with_lower_case_names_and_without_hop_by_hop_headers() {
        let parsed = parse("GET /a?b HTTP/1.1\r\nHost: x:80\r\nUser-Agent: U\r\nConnection: Foo\r\nFoo: 1\r\nKeep-Alive: 5\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!((&parsed.head.authority[..], &parsed.head.path[..]), (&b"x:80"[..], &b"/a?b"[..]));
        let names: Vec<_> =
            parsed.head.headers.iter().map(|(n, _)| String::from_utf8_lossy(n).into_owned()).collect();
        assert_eq!(names, ["user-agent"]);
        assert!(parsed.keep_alive);
    }

    #[test]
    fn an_absolute_target_gives_the_authority() {
        let parsed = parse("GET http://a.com?x HTTP/1.1\r\nHost: b\r\n\r\n").unwrap().unwrap();
        assert_eq!((&parsed.head.authority[..], &parsed.head.path[..]), (&b"a.com"[..], &b"/?x"[..]));
    }

    #[test]
    fn an_incomplete_head_waits_for_more() {
        assert!(parse("GET / HTTP/1.1\r\nHost: x\r\n").unwrap().is_none());
    }

    #[test]
    fn framing_that_two_parties_could_read_differently_is_refused() {
        let with = |headers: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n");
        refused(&with("Content-Length: 3\r\nTransfer-Encoding: chunked"));
        refused(&with("Content-Length: 3\r\nContent-Length: 4"));
        refused(&with("Content-Length: 3, 3"));
        refused(&with("Content-Length: +3"));
        refused(&with("Content-Length: -1"));
        refused(&with("Content-Length: 99999999999999999999"));
        refused(&with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"));
        refused(&with("Transfer-Encoding: gzip, chunked"));
        refused(&with("Transfer-Encoding : chunked"));
        refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    #[test]
    fn malformed_heads_are_refused() {
        refused("GET / HTTP/1.1\r\n\r\n");
        refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        refused("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n");
        refused("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n");
        refused("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n");
        refused("GET / HTTP/9.1\r\nHost: a\r\n\r\n");
        refused("G@T\t/ HTTP/1.1\r\nHost: a\r\n\r\n");
        refused("GET a HTTP/1.1\r\nHost: a\r\n\r\n");
        refused("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n");
    }

    #[test]
    fn oversized_heads_are_refused() {
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(70_000));
        assert!(matches!(parse(&long), Err(H1Error::TooLarge)));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(200));
        assert!(matches!(parse(&many), Err(H1Error::TooLarge)));
    }

    #[test]
    fn a_response_without_framing_ends_with_the_connection() {
        let parsed =
            response(&mut BytesMut::from("HTTP/1.1 200 OK\r\n\r\n"), Limits::default()).unwrap().unwrap();
        assert_eq!(parsed.body, BodyKind::UntilClose);
    }

    #[test]
    fn upgrades_need_the_connection_header_too() {
        let parsed = parse(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
        );
        assert_eq!(parsed.unwrap().unwrap().upgrade.as_deref(), Some(&b"websocket"[..]));
        let parsed = parse("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(parsed.unwrap().unwrap().upgrade, None);
    }
}
