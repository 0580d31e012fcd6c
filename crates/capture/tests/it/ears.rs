//! Listeners, and which of them a connection reaches.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::namespace::{World, has_v6};

const PATIENCE: Duration = Duration::from_secs(2);

/// Who listens, by port.
pub struct Ears(Vec<(u16, TcpListener)>);

/// A connection that arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    /// The listener's port.
    pub port: u16,
    /// Where the connection believes to be.
    pub local: SocketAddr,
    /// Where it comes from.
    pub peer: SocketAddr,
}

impl Ears {
    /// Listens in the calling thread's network, on every address. `transparent`: for connections to addresses elsewhere.
    pub fn open(ports: &[u16], transparent: bool) -> Ears {
        let listen = |port: &u16| {
            let domain = if has_v6() { Domain::IPV6 } else { Domain::IPV4 };
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
            if has_v6() {
                socket.set_only_v6(false).unwrap();
            }
            if transparent {
                setsockopt(&socket, sockopt::IpTransparent, &true).unwrap();
            }
            let any = if has_v6() { format!("[::]:{port}") } else { format!("0.0.0.0:{port}") };
            socket.set_reuse_address(true).unwrap();
            socket.bind(&any.parse::<SocketAddr>().unwrap().into()).unwrap();
            socket.listen(16).unwrap();
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true).unwrap();
            (*port, listener)
        };
        Ears(ports.iter().map(listen).collect())
    }

    /// The connection that arrives next.
    pub fn next(&self) -> Option<Heard> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for (port, listener) in &self.0 {
                match listener.accept() {
                    Ok((stream, peer)) => {
                        let plain = |address: SocketAddr| {
                            SocketAddr::new(address.ip().to_canonical(), address.port())
                        };
                        let local = plain(stream.local_addr().unwrap());
                        return Some(Heard { port: *port, local, peer: plain(peer) });
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

/// Connects in the calling thread's network; kept open until the listener has been asked.
pub fn connect(target: &str) -> Option<TcpStream> {
    TcpStream::connect_timeout(&target.parse().unwrap(), Duration::from_millis(700)).ok()
}

/// The port of the pod's listener that a connection from the pod to `target` reaches; `None` if it leaves the pod.
pub fn outbound(world: &World, ears: &Ears, target: &str) -> Option<u16> {
    let stream = world.in_pod(|| connect(target))?;
    let heard = ears.next()?;
    drop(stream);
    Some(heard.port)
}

/// The port of the pod's listener that a connection from outside to `target` reaches.
pub fn inbound(world: &World, ears: &Ears, target: &str) -> Option<Heard> {
    let stream = world.outside(|| connect(target))?;
    let heard = ears.next();
    drop(stream);
    heard
}

/// Whether a datagram to `target` reaches a socket of the calling thread's network on `port`.
pub fn datagram_arrives(world: &World, target: &str, port: u16) -> bool {
    world.in_pod(|| {
        let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.send_to(b"query", target).unwrap();
        socket.recv_from(&mut [0; 16]).is_ok()
    })
}
