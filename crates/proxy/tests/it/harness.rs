//! A proxy in this process, upstreams that answer as told, and a client that speaks raw HTTP/1.

use lateen_proxy::config::*;
use lateen_proxy::request_info::{AccessLog, LogContext};
use lateen_proxy::worker::Workers;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub const WAIT: Duration = Duration::from_secs(10);

/// A proxy that ends with the test.
pub struct Proxy {
    pub store: Arc<Store>,
    pub workers: Workers,
    pub log: Arc<Log>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.workers.stop();
    }
}

impl Proxy {
    pub fn start() -> Self {
        Self::with_workers(1)
    }

    pub fn with_workers(count: usize) -> Self {
        let store = Store::new(count);
        let workers = Workers::start(store.clone(), Vec::new()).unwrap();
        Proxy { store, workers, log: Arc::default() }
    }

    pub fn cluster(&self, name: &str, addresses: &[SocketAddr]) -> Arc<ClusterSlot> {
        self.put(Cluster::fixed(name, addresses.iter().copied()))
    }

    pub fn put(&self, cluster: Cluster) -> Arc<ClusterSlot> {
        let name = cluster.name.clone();
        self.store.put_clusters([cluster]);
        self.store.cluster_slot(&name)
    }

    pub fn manager(&self) -> HttpConnectionManager {
        let routes = self.store.route_slot("routes");
        let mut manager = HttpConnectionManager::new("test", routes, self.store.workers());
        manager.access_logs.push(self.log.clone());
        manager
    }

    /// Puts routes for every host in force.
    pub fn routes(&self, routes: Vec<Route>) {
        self.hosts(vec![host("all", &["*"], routes)]);
    }

    pub fn hosts(&self, hosts: Vec<VirtualHost>) {
        let config = Arc::new(RouteConfig {
            name: "routes".into(),
            max_direct_response: 4096,
            ..RouteConfig::default()
        });
        let table = RouteTable::new(config, hosts.into_iter().map(Arc::new).collect()).unwrap();
        self.store.put_routes(table);
    }

    /// Listens with these settings; the address.
    pub fn listen(&self, manager: HttpConnectionManager) -> SocketAddr {
        self.listen_on("http", FilterChain::plain(Terminal::Http(Arc::new(manager))))
    }

    pub fn listen_on(&self, name: &str, chain: FilterChain) -> SocketAddr {
        self.listener(Listener::simple(name, "127.0.0.1:0".parse().unwrap(), chain))
    }

    pub fn listener(&self, listener: Listener) -> SocketAddr {
        let name = listener.name.clone();
        self.store.update_listeners(vec![listener], &[]);
        let errors = self.workers.sync_listeners();
        assert!(errors.is_empty(), "{errors:?}");
        self.workers.bound_addresses(&name)[0]
    }

    /// One route for everything to one upstream, listening with defaults.
    pub fn to(upstream: SocketAddr) -> (Self, SocketAddr) {
        let proxy = Proxy::start();
        let slot = proxy.cluster("up", &[upstream]);
        proxy.routes(vec![forward(RouteAction::to(slot))]);
        let address = proxy.listen(proxy.manager());
        (proxy, address)
    }
}

pub fn host(name: &str, domains: &[&str], routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|domain| Box::from(*domain)).collect(),
        routes: routes.into_iter().map(Arc::new).collect(),
        ..VirtualHost::default()
    }
}

pub fn forward(action: RouteAction) -> Route {
    Route { action: Action::Forward(Box::new(action)), ..Route::default() }
}

/// What was logged: `CODE FLAGS DETAILS`.
#[derive(Debug, Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl AccessLog for Log {
    fn log(&self, context: &LogContext<'_>) {
        let info = context.info;
        let line = format!("{} {} {}", info.code, info.flags, info.details.as_deref().unwrap_or("-"));
        self.lines.lock().unwrap().push(line);
        self.more.notify_all();
    }
}

impl Log {
    /// The line of that number (from 0), when it comes.
    pub fn line(&self, at: usize) -> String {
        let lines = self.lines.lock().unwrap();
        let (lines, timeout) = self.more.wait_timeout_while(lines, WAIT, |lines| lines.len() <= at).unwrap();
        assert!(!timeout.timed_out(), "no log line {at}: {lines:?}");
        lines[at].clone()
    }
}

/// A server that treats each connection by a function.
pub fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// A server that answers each request with what the function makes of it (head and body as text).
pub fn upstream(answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> SocketAddr {
    server(move |mut stream| {
        let mut buffer = Vec::new();
        while let Some(request) = read_message(&mut stream, &mut buffer, false) {
            if stream.write_all(answer(&request).as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// A server that answers 200 with a body.
pub fn says(body: &'static str) -> SocketAddr {
    upstream(move |_| ok(body))
}

/// A server that answers with the request's head and body.
pub fn echo() -> SocketAddr {
    upstream(|request| ok(&format!("{}\n{}", request.head, request.body)))
}

pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Counts requests and answers by their number (from 0).
pub fn by_number(answer: impl Fn(usize) -> String + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    (upstream(move |_| answer(counter.fetch_add(1, Ordering::SeqCst))), count)
}

/// An address on which nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A message as it was read.
#[derive(Debug)]
pub struct Message {
    pub head: String,
    pub body: String,
    pub trailers: String,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// Reads one message. None: the connection ended before it.
pub fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>, to_head: bool) -> Option<Message> {
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let end = loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if fill(stream, buffer) == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end - 4]).into_owned();
    buffer.drain(..end);
    let mut message = Message { head, body: String::new(), trailers: String::new() };
    let status = message.head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse::<u16>().ok());
    if to_head || matches!(status, Some(100..=199 | 204 | 304)) {
        return Some(message);
    }
    if message.header("transfer-encoding").is_some() {
        read_chunks(stream, buffer, &mut message);
    } else if let Some(length) = message.header("content-length") {
        let length: usize = length.parse().unwrap();
        take(stream, buffer, length, &mut message.body);
    } else if status.is_some() {
        while fill(stream, buffer) > 0 {}
        message.body = String::from_utf8_lossy(&std::mem::take(buffer)).into_owned();
    }
    Some(message)
}

fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>, message: &mut Message) {
    loop {
        let size = usize::from_str_radix(line(stream, buffer).split(';').next().unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        take(stream, buffer, size, &mut message.body);
        line(stream, buffer);
    }
    loop {
        let trailer = line(stream, buffer);
        if trailer.is_empty() {
            return;
        }
        message.trailers.push_str(&trailer);
        message.trailers.push('\n');
    }
}

fn line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> String {
    loop {
        if let Some(at) = find(buffer, b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..at]).into_owned();
            buffer.drain(..at + 2);
            return line;
        }
        assert!(fill(stream, buffer) > 0, "truncated");
    }
}

fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize, out: &mut String) {
    while buffer.len() < length {
        assert!(fill(stream, buffer) > 0, "truncated body");
    }
    out.push_str(&String::from_utf8_lossy(&buffer[..length]));
    buffer.drain(..length);
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> usize {
    let mut piece = [0; 16 << 10];
    let n = stream.read(&mut piece).unwrap_or(0);
    buffer.extend_from_slice(&piece[..n]);
    n
}

fn find(buffer: &[u8], what: &[u8]) -> Option<usize> {
    buffer.windows(what.len()).position(|window| window == what)
}

/// A client connection.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Client { stream: TcpStream::connect(address).unwrap(), buffer: Vec::new() }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// The next response; none: the connection was closed.
    pub fn read(&mut self) -> Option<Message> {
        read_message(&mut self.stream, &mut self.buffer, false)
    }

    pub fn read_to_head(&mut self) -> Option<Message> {
        read_message(&mut self.stream, &mut self.buffer, true)
    }

    pub fn request(&mut self, text: &str) -> Message {
        self.send(text);
        self.read().expect("a response")
    }

    /// Everything until the connection ends.
    pub fn rest(mut self) -> String {
        while fill(&mut self.stream, &mut self.buffer) > 0 {}
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// One GET on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Message {
    get_with(address, path, "")
}

/// One GET with further header lines (each ended by CRLF).
pub fn get_with(address: SocketAddr, path: &str, headers: &str) -> Message {
    let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: test\r\n" };
    Client::new(address).request(&format!("GET {path} HTTP/1.1\r\n{host}{headers}\r\n"))
}

/// The addresses that are told apart from those outside, for [`HttpConnectionManager::internal_ranges`].
pub fn inside() -> Option<Vec<Cidr>> {
    Some(vec![Cidr { address: [10, 0, 0, 0].into(), bits: 8 }])
}
