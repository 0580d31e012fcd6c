//! TPROXY in network namespaces of the test's own: a pod with capture's real rules, and clients outside of it.

use crate::harness::*;
use crate::sockets::{INSIDE, in_namespaces, run, skip};
use lateen_proxy::config::*;
use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;

pub const POD: &str = "10.244.0.9";
const CLIENTS: [&str; 2] = ["10.244.0.1", "10.244.0.2"];
const PORT: u16 = 8080;
const TCP_PORT: u16 = 7070;
/// What a Sidecar leads to the application on loopback (`ingress[].defaultEndpoint`).
const LED_PORT: u16 = 7171;
const INBOUND: u16 = 15006;
/// What Istio's control plane says in `original_src`, and istio-iptables in `-t`.
const TPROXY_MARK: u32 = 1337;
/// Tells the proxy's own sockets where it has no user of its own.
const OWN_MARK: u32 = 1339;

#[test]
fn the_application_sees_the_clients_address() {
    in_namespaces("transparent::inside");
}

#[test]
fn a_transparent_listener_without_the_capability_says_so() {
    if !Command::new("unshare").args(["-U", "true"]).status().is_ok_and(|status| status.success()) {
        return skip("this kernel gives no user namespace");
    }
    let inner = "transparent::without_capability";
    let output = Command::new("unshare")
        .arg("-U")
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", inner, "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "needs to be without capabilities, which another test sees to"]
fn without_capability() {
    let proxy = Proxy::start();
    let chain = FilterChain::plain(Terminal::Close);
    let listener = Listener {
        transparent: true,
        ..Listener::simple("virtualInbound", ([127, 0, 0, 1], 0).into(), chain)
    };
    proxy.store.update_listeners(vec![listener], &[]);
    let errors = proxy.workers.sync_listeners();
    let error = errors.first().expect("it is refused").to_string();
    assert!(error.contains("virtualInbound") && error.contains("CAP_NET_ADMIN"), "{error}");
}

/// Says the peer's address as it sees it, once for each request or line.
fn application(port: u16, http: bool) {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().to_string();
            std::thread::spawn(move || {
                let mut buffer = Vec::new();
                if !http {
                    stream.write_all(peer.as_bytes()).unwrap();
                }
                while http && read_message(&mut stream, &mut buffer, true).is_some() {
                    stream.write_all(ok(&peer).as_bytes()).unwrap();
                }
            });
        }
    });
}

/// The network outside of the pod.
pub struct Outside(File);

impl Outside {
    /// Joins the calling thread's network, which is the pod's, to a new one.
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let outside = Outside(made.join().unwrap());
        run("ip", "link set lo up");
        run("ip", "link add eth0 type veth peer name out0");
        run("ip", &format!("link set out0 netns /proc/{}/fd/{}", std::process::id(), outside.0.as_raw_fd()));
        run("ip", &format!("addr add {POD}/24 dev eth0"));
        run("ip", "link set eth0 up");
        run("ip", &format!("route add default via {}", CLIENTS[0]));
        outside.here(|| {
            for client in CLIENTS {
                run("ip", &format!("addr add {client}/24 dev out0"));
            }
            run("ip", "link set out0 up");
        });
        outside
    }

    pub fn here<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// A connection from one of the clients.
    fn connect(&self, client: &str, port: u16) -> TcpStream {
        let to: SocketAddr = format!("{POD}:{port}").parse().unwrap();
        self.here(move || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            if client != CLIENTS[0] {
                // The first is what connect(2) takes by itself.
                socket.bind(&SocketAddr::new(client.parse().unwrap(), 0).into()).unwrap();
            }
            socket.connect_timeout(&to.into(), WAIT).unwrap();
            socket.into()
        })
    }
}

pub fn capture(words: &str) {
    use clap::Parser;
    let arguments = lateen_capture::Arguments::parse_from(std::iter::once("capture").chain(words.split(' ')));
    lateen_capture::run(&arguments).unwrap();
}

/// `virtualInbound` as the control plane makes it for TPROXY.
fn sidecar() -> Proxy {
    let proxy = Proxy::with_workers(2);
    let cluster = |name: &str| {
        let discovery = Discovery::OriginalDst { header: None, port: None };
        let endpoints = Arc::new(EndpointSlot::holding(name, EndpointSet::default()));
        let source_v4 = Some("127.0.0.6:0".parse().unwrap());
        let socket = UpstreamSocket { mark: Some(OWN_MARK), source_v4, ..UpstreamSocket::default() };
        proxy.put(Cluster { socket, ..Cluster::with(name, discovery, endpoints) })
    };
    let (http, tcp) = (cluster("inbound|8080||"), cluster("inbound|7070||"));
    proxy.routes(vec![forward(RouteAction::to(http))]);
    let of = |port, terminal| {
        let matches = FilterChainMatch { destination_port: Some(port), ..FilterChainMatch::default() };
        Arc::new(FilterChain { matches, ..FilterChain::plain(terminal) })
    };
    let any = FilterChain::plain(Terminal::Http(Arc::new(proxy.manager())));
    let address = ([0; 4], INBOUND).into();
    // A listener that becomes transparent gets other sockets.
    proxy.listener(Listener::simple("virtualInbound", address, FilterChain::plain(Terminal::Close)));
    let mut listener = Listener::simple("virtualInbound", address, any);
    listener.filter_chains.push(of(TCP_PORT, Terminal::Tcp(Arc::new(TcpProxy::to("tcp", tcp, 2)))));
    let loopback = proxy.cluster("inbound|7171||", &[([127, 0, 0, 1], TCP_PORT).into()]);
    listener.filter_chains.push(of(LED_PORT, Terminal::Tcp(Arc::new(TcpProxy::to("led", loopback, 2)))));
    listener.transparent = true;
    listener.listener_filters.original_dst = true;
    listener.listener_filters.original_src = Some(OriginalSource { mark: Some(TPROXY_MARK) });
    proxy.listener(listener);
    proxy
}

/// What the application answers over a connection.
fn asked(stream: &mut TcpStream) -> Message {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
    read_message(stream, &mut Vec::new(), false).expect("a response")
}

fn peer(stream: &mut TcpStream) -> SocketAddr {
    let answer = asked(stream);
    answer.body.parse().unwrap_or_else(|_| panic!("{answer:?}"))
}

/// A connection from within the pod, by a socket with a mark.
fn within(mark: u32) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_mark(mark).unwrap();
    let own: SocketAddr = format!("{POD}:{PORT}").parse().unwrap();
    socket.connect_timeout(&own.into(), WAIT).unwrap();
    socket.into()
}

#[test]
#[ignore = "needs a namespace, which another test makes"]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let outside = Outside::new();
    let rules = format!("-p 15001 -z {INBOUND} -m TPROXY -i * -b * -u 1337 --socket-mark {OWN_MARK}");
    capture(&rules);
    application(PORT, true);
    application(TCP_PORT, false);
    let proxy = sidecar();
    each_client_is_seen(&outside);
    // Loopback cannot be reached from an address elsewhere.
    for (port, seen) in [(TCP_PORT, CLIENTS[1]), (LED_PORT, "127.0.0.1:")] {
        let mut raw = String::new();
        outside.connect(CLIENTS[1], port).read_to_string(&mut raw).unwrap();
        assert!(raw.starts_with(seen), "TCP on port {port}: {raw}");
    }
    // Who finds the proxy itself is not led in circles.
    assert_eq!(asked(&mut outside.connect(CLIENTS[0], INBOUND)).status(), 503);
    // The application calls its own service: by the proxy's outbound side, and back through its inbound one.
    assert_eq!(peer(&mut within(OWN_MARK)).ip().to_string(), POD);
    assert_eq!(proxy.log.line(0), "200 - -");
    // By its own address it reaches itself.
    let mut direct = within(0);
    assert_eq!(peer(&mut direct), direct.local_addr().unwrap());
    capture(&format!("{rules} --cleanup"));
    let mut direct = outside.connect(CLIENTS[0], PORT);
    assert_eq!(peer(&mut direct), direct.local_addr().unwrap(), "nothing stands between");
}

/// Clients take turns, so that a connection to the application that served one would be free for the other.
fn each_client_is_seen(outside: &Outside) {
    let mut seen = Vec::new();
    for turn in 0..6 {
        let client = CLIENTS[turn % 2];
        let mut stream = outside.connect(client, PORT);
        let peer = peer(&mut stream);
        assert_eq!(peer.ip().to_string(), client);
        assert_ne!(peer, stream.local_addr().unwrap(), "by the proxy");
        // The ports of clients that connect are even: so they never are those of the proxy's connections.
        let odd = |address: SocketAddr| address.port() % 2 == 1;
        assert!(odd(peer) && (client != CLIENTS[0] || !odd(stream.local_addr().unwrap())));
        seen.push(peer);
    }
    // Two workers with a connection for each client at most: they are used again.
    seen.sort();
    seen.dedup();
    assert!(seen.len() <= 4, "{seen:?}");
}
