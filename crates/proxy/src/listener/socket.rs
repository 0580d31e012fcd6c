//! Listening sockets, and what the kernel knows of accepted ones.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use tokio::net::TcpStream;

/// Binds a listening socket that other workers can share the address with; a transparent one takes connections to foreign
/// addresses as well.
///
/// # Errors
/// The address cannot be bound, or the capability for a transparent socket is missing.
pub fn bind(address: SocketAddr, backlog: u32, transparent: bool) -> io::Result<TcpListener> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if transparent {
        make_transparent(&socket2::SockRef::from(&socket), address.is_ipv4())?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Lets a socket use addresses that are not the machine's own (IP_TRANSPARENT, see ip(7)).
///
/// # Errors
/// The kernel's refusal; it names the capability where that is what is missing.
pub fn make_transparent(socket: &socket2::SockRef<'_>, ipv4: bool) -> io::Result<()> {
    let set = if ipv4 { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) };
    set.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            error.kind(),
            "transparent sockets (IP_TRANSPARENT) need the capability CAP_NET_ADMIN",
        ),
        _ => error,
    })
}

/// The destination before redirection (SO_ORIGINAL_DST); none: the connection was not redirected.
pub fn original_destination(tcp: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(tcp);
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    original.ok().and_then(|address| address.as_socket())
}
