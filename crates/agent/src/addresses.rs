//! The pod's addresses, and what the agent and its proxy listen on therefore.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// What capture puts on the loopback interface: the proxy's source of connections to the application.
pub(crate) const INBOUND_SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

const BACKLOG: i32 = 1024;

/// The address that Kubernetes tells, and the first one of the other IP version on the pod's interfaces.
pub(crate) fn with_other_version(told: IpAddr) -> Vec<IpAddr> {
    let of_interfaces = interfaces();
    let other = of_interfaces.into_iter().find(|ip| ip.is_ipv4() != told.is_ipv4());
    std::iter::once(told).chain(other).collect()
}

/// The addresses of the interfaces that are up, which others can reach.
fn interfaces() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let up = interfaces.filter(|i| {
        i.flags.contains(InterfaceFlags::IFF_UP) && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    });
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    up.filter_map(address).filter(is_routed).collect()
}

fn is_routed(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_loopback() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_loopback() && !v6.is_unspecified(),
    }
}

/// The address that stands for all of the pod's, and that of the other IP version where it has both.
pub(crate) fn wildcards(addresses: &[IpAddr]) -> (IpAddr, Option<IpAddr>) {
    let v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let Some(first) = addresses.first() else { return (v4, None) };
    let both = addresses.iter().any(|ip| ip.is_ipv4() != first.is_ipv4());
    let (first, other) = if first.is_ipv4() { (v4, v6) } else { (v6, v4) };
    (first, both.then_some(other))
}

/// Listens on a port of every address: by IPv6 and IPv4, or by IPv4 alone where the kernel has no IPv6.
///
/// # Errors
/// The port is taken.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        bound(&socket, (Ipv6Addr::UNSPECIFIED, port).into())?;
        io::Result::Ok(socket)
    };
    let socket = match open() {
        Ok(socket) => socket,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(_) => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            bound(&socket, (Ipv4Addr::UNSPECIFIED, port).into())?;
            socket
        }
    };
    TcpListener::from_std(socket.into())
}

fn bound(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_tells_which_wildcard_comes_first() {
        let of = |list: &[&str]| {
            let list: Vec<IpAddr> = list.iter().map(|ip| ip.parse().unwrap()).collect();
            let (first, other) = wildcards(&list);
            (first.to_string(), other.map(|ip| ip.to_string()))
        };
        assert_eq!(of(&["10.1.2.3"]), ("0.0.0.0".to_owned(), None));
        assert_eq!(of(&["fd00::3"]), ("::".to_owned(), None));
        assert_eq!(of(&["fd00::3", "10.1.2.3"]), ("::".to_owned(), Some("0.0.0.0".to_owned())));
    }

    #[tokio::test]
    async fn a_port_is_listened_on_by_both_versions() {
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut local = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            local.push(Ipv6Addr::LOCALHOST.into());
        }
        for ip in local {
            tokio::net::TcpStream::connect((ip, port)).await.unwrap();
        }
        assert_eq!(listen(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
