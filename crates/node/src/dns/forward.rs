//! Names outside the cluster: the host's resolvers, where there is a way to them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(2);
const MAX_ANSWER: usize = 4096;

/// Resolvers of the host that can be reached from the mesh: not those on its loopback.
pub(crate) fn resolvers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers =
        text.lines().filter_map(|l| l.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    servers.filter(|ip| !ip.is_loopback()).map(|ip| SocketAddr::new(ip, 53)).collect()
}

/// Asks the resolvers in turn. `None` if none can be reached, which in a closed network is found out at once.
pub(crate) async fn ask(resolvers: &[SocketAddr], query: &[u8]) -> Option<Vec<u8>> {
    for resolver in resolvers {
        let local: SocketAddr = if resolver.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let exchange = async {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(resolver).await?;
            socket.send(query).await?;
            let mut answer = vec![0; MAX_ANSWER];
            let len = socket.recv(&mut answer).await?;
            answer.truncate(len);
            std::io::Result::Ok(answer)
        };
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) if answer.get(..2) == query.get(..2) => return Some(answer),
            outcome => tracing::trace!(%resolver, ?outcome, "no answer"),
        }
    }
    None
}
