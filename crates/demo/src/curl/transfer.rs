//! One transfer.

use std::io::Write as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    USER_AGENT,
};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::write_out::{self, Facts};
use super::{Curl, Failure};

/// The most redirects that are followed, as curl has it.
const MAX_REDIRECTS: u32 = 50;
/// What curl says it is.
const AGENT: &str = "curl/8.16.0";

/// Transfers a URL, redirects included, and writes what is asked for.
pub async fn transfer(curl: &Curl, url: &str) -> Result<(), Failure> {
    let started = Instant::now();
    let mut facts = Facts { url: url.to_owned(), ..Facts::default() };
    let exchange = exchange(curl, url, started, &mut facts);
    let result = match curl.max_time.and_then(|s| Duration::try_from_secs_f64(s).ok()) {
        Some(limit) => tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(Failure::Timeout(started.elapsed().as_millis()))),
        None => exchange.await,
    };
    facts.total = started.elapsed();
    if let Some(format) = &curl.write_out {
        print!("{}", write_out::render(format, &facts));
        std::io::stdout().flush().map_err(Failure::File)?;
    }
    result
}

async fn exchange(curl: &Curl, url: &str, started: Instant, facts: &mut Facts) -> Result<(), Failure> {
    let mut uri = parse(url)?;
    let mut method = method(curl)?;
    let mut body = body(curl)?;
    if curl.get {
        uri = with_query(&uri, &body)?;
        body = Bytes::new();
    }
    loop {
        let stream = connect(curl, &uri, facts).await?;
        facts.connect = started.elapsed();
        let request = request(curl, &uri, &method, body.clone())?;
        let response = if is_https(&uri) {
            let stream = super::tls::secure(curl, uri.host().unwrap_or_default(), stream).await?;
            send(curl, stream, request).await?
        } else {
            send(curl, stream, request).await?
        };
        facts.first_byte = started.elapsed();
        facts.status = response.status().as_u16();
        facts.content_type = text(response.headers(), CONTENT_TYPE.as_str());
        let location = text(response.headers(), LOCATION.as_str());
        if !location.is_empty() && response.status().is_redirection() {
            let next = follow(&uri, &location)?;
            facts.redirect = next.to_string();
            if curl.location {
                facts.redirects += 1;
                if facts.redirects > MAX_REDIRECTS {
                    return Err(Failure::Redirects);
                }
                show_head(curl, &response);
                if matches!(facts.status, 301..=303) && method == Method::POST && curl.request.is_none() {
                    (method, body) = (Method::GET, Bytes::new());
                }
                facts.url = next.to_string();
                uri = next;
                continue;
            }
        }
        show_head(curl, &response);
        if curl.fail && facts.status >= 400 {
            return Err(Failure::Status(facts.status));
        }
        return receive(curl, response, facts).await;
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).unwrap_or_default()
}

/// A URL, with `http://` put before it where it has no scheme.
fn parse(url: &str) -> Result<Uri, Failure> {
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = full.parse().map_err(|error| Failure::Url(format!("{url}: {error}")))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(uri),
        Some("http" | "https") | None => Err(Failure::Url(format!("{url}: no host part in the URL"))),
        Some(other) => Err(Failure::Protocol(other.to_owned())),
    }
}

/// Where a redirect leads: a URL, or a path on the same host.
fn follow(from: &Uri, location: &str) -> Result<Uri, Failure> {
    if location.contains("://") {
        return parse(location);
    }
    let authority = from.authority().map(|a| a.as_str()).unwrap_or_default();
    let scheme = from.scheme_str().unwrap_or("http");
    let slash = if location.starts_with('/') { "" } else { "/" };
    parse(&format!("{scheme}://{authority}{slash}{location}"))
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

fn with_query(uri: &Uri, data: &Bytes) -> Result<Uri, Failure> {
    let text = uri.to_string();
    let joint = if text.contains('?') { '&' } else { '?' };
    parse(&format!("{text}{joint}{}", String::from_utf8_lossy(data)))
}

fn method(curl: &Curl) -> Result<Method, Failure> {
    if let Some(name) = &curl.request {
        return Method::from_bytes(name.as_bytes())
            .map_err(|_| Failure::Url(format!("{name:?} is no method")));
    }
    let has_data = !curl.data.is_empty() || !curl.data_raw.is_empty();
    let posts = has_data && !curl.get;
    Ok(if curl.head {
        Method::HEAD
    } else if posts {
        Method::POST
    } else {
        Method::GET
    })
}

/// The data of all `-d`, joined by `&`.
fn body(curl: &Curl) -> Result<Bytes, Failure> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for data in &curl.data {
        parts.push(match data.strip_prefix('@') {
            // As curl: line ends of files are taken out.
            Some(file) => {
                let mut text = std::fs::read(file).map_err(Failure::File)?;
                text.retain(|byte| !matches!(byte, b'\r' | b'\n'));
                text
            }
            None => data.clone().into_bytes(),
        });
    }
    parts.extend(curl.data_raw.iter().map(|data| data.clone().into_bytes()));
    Ok(parts.join(&b'&').into())
}

async fn connect(curl: &Curl, uri: &Uri, facts: &mut Facts) -> Result<TcpStream, Failure> {
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 });
    let pinned = curl.resolve.iter().find_map(|entry| entry.strip_prefix(&format!("{host}:{port}:")));
    let name = pinned.unwrap_or(host).trim_matches(['[', ']']).to_owned();
    let attempt = async {
        let addresses = tokio::net::lookup_host((name.as_str(), port)).await;
        let addresses = addresses.map_err(|_| Failure::Resolve(host.to_owned()))?;
        let mut last = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(
            || Failure::Resolve(host.to_owned()),
            |error| Failure::Connect(format!("{host} port {port}"), error),
        ))
    };
    let stream = match curl.connect_timeout.and_then(|s| Duration::try_from_secs_f64(s).ok()) {
        Some(limit) => tokio::time::timeout(limit, attempt)
            .await
            .unwrap_or_else(|_| Err(Failure::Timeout(limit.as_millis())))?,
        None => attempt.await?,
    };
    facts.remote_ip = stream.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
    if curl.verbose {
        eprintln!("* Connected to {host} ({}) port {port}", facts.remote_ip);
    }
    Ok(stream)
}

fn request(curl: &Curl, uri: &Uri, method: &Method, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
    let mut headers = HeaderMap::new();
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| Failure::Url(format!("{text:?} cannot be sent")))
    };
    headers.insert(HOST, value(uri.authority().map(|a| a.as_str()).unwrap_or_default())?);
    headers.insert(USER_AGENT, value(curl.user_agent.as_deref().unwrap_or(AGENT))?);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(user) = &curl.user {
        headers.insert(AUTHORIZATION, value(&format!("Basic {}", STANDARD.encode(user)))?);
    }
    if let Some(cookie) = &curl.cookie {
        headers.insert(COOKIE, value(cookie)?);
    }
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    let mut given = HeaderMap::new();
    for line in &curl.headers {
        let (name, text) =
            line.split_once(':').or_else(|| line.strip_suffix(';').map(|n| (n, ""))).unwrap_or((line, ""));
        let name: HeaderName =
            name.trim().parse().map_err(|_| Failure::Url(format!("{line:?} is no header")))?;
        headers.remove(&name);
        // As curl: a name without a value takes the header away; with a semicolon it is sent empty.
        if !text.trim().is_empty() || line.ends_with(';') {
            given.append(name, value(text.trim())?);
        }
    }
    headers.extend(given);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method.clone();
    *request.uri_mut() = path.parse().map_err(|error| Failure::Url(format!("{path}: {error}")))?;
    *request.headers_mut() = headers;
    if curl.verbose {
        eprintln!("> {method} {path} HTTP/1.1");
        print_headers("> ", request.headers());
        eprintln!(">");
    }
    Ok(request)
}

fn print_headers(prefix: &str, headers: &HeaderMap) {
    for (name, value) in headers {
        eprintln!("{prefix}{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
}

async fn send<S>(curl: &Curl, stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| {
        if error.is_incomplete_message() { Failure::Empty } else { Failure::Receive(error.to_string()) }
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    if curl.verbose {
        eprintln!("< {:?} {}", response.version(), response.status());
        print_headers("< ", response.headers());
        eprintln!("<");
    }
    Ok(response)
}

/// The answer's head, for `-i` and `-I`.
fn show_head(curl: &Curl, response: &Response<Incoming>) {
    if !curl.include && !curl.head {
        return;
    }
    let reason = response.status().canonical_reason().unwrap_or_default();
    let mut out = format!("{:?} {} {reason}\r\n", response.version(), response.status().as_u16());
    for (name, value) in response.headers() {
        out.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    }
    print!("{out}\r\n");
}

async fn receive(curl: &Curl, response: Response<Incoming>, facts: &mut Facts) -> Result<(), Failure> {
    let mut out: Box<dyn std::io::Write> = match curl.output.as_deref() {
        Some("-") | None => Box::new(std::io::stdout()),
        Some(file) => Box::new(std::fs::File::create(file).map_err(Failure::File)?),
    };
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Receive(error.to_string()))?;
        if let Some(data) = frame.data_ref() {
            facts.size += data.len();
            out.write_all(data).map_err(Failure::File)?;
        }
    }
    out.flush().map_err(Failure::File)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_need_no_scheme_but_a_host_and_a_known_one() {
        assert_eq!(parse("details:9080/details/0").unwrap().to_string(), "http://details:9080/details/0");
        assert!(matches!(parse("ftp://a"), Err(Failure::Protocol(_))));
        assert!(parse("http://").is_err() && parse("").is_err());
    }

    #[test]
    fn redirects_lead_to_urls_or_paths() {
        let from = parse("http://a:1/x?y").unwrap();
        assert_eq!(follow(&from, "/z").unwrap().to_string(), "http://a:1/z");
        assert_eq!(follow(&parse("https://a").unwrap(), "z").unwrap().to_string(), "https://a/z");
        assert_eq!(follow(&from, "http://b/").unwrap().to_string(), "http://b/");
    }
}
