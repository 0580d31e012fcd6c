//! DNS capture: the pod's resolver. Capture leads the application's queries here; what the mesh knows is answered out of the
//! control plane's table, the rest is asked of the pod's own name servers.
//!
//! The table comes over a stream of its own: one more on the connection to the control plane that is there anyway. To slip a
//! subscription into the proxy's stream, as Istio's agent does, the relay would have to read and sort every message.
//!
//! Source: Istio, "DNS Proxying".

mod stream;
mod table;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use lateen_dns::{ResolvConf, Sockets, Upstream};
use lateen_xds::pb::envoy::config::core::v3::Node;

pub use table::{Names, Place};

use crate::arguments::{Arguments, Role};
use crate::bootstrap;
use crate::environment::Environment;
use crate::security::Security;

/// Where queries are taken unless `DNS_PROXY_ADDR` says otherwise: where capture leads them.
const ADDRESS: &str = "localhost:15053";

/// The resolver of a pod whose DNS is captured (`ISTIO_META_DNS_CAPTURE`).
#[derive(Debug)]
pub struct Resolver {
    names: Arc<Names>,
    upstream: Arc<Upstream>,
}

impl Resolver {
    /// Begins to serve; until the first table is there, names are only forwarded. `None` where DNS is not captured, and for
    /// gateways, whose traffic never is.
    ///
    /// # Errors
    /// `DNS_PROXY_ADDR` is no address, or is taken.
    pub async fn start(arguments: &Arguments, environment: &Environment) -> Result<Option<Resolver>> {
        let variable = |name: &str| environment.variables.get(name).filter(|value| !value.is_empty());
        let captured = variable("ISTIO_META_DNS_CAPTURE").is_some_and(|value| is_true(value));
        if !captured || arguments.role != Role::Sidecar {
            return Ok(None);
        }
        let addresses = addresses(variable("DNS_PROXY_ADDR").map_or(ADDRESS, String::as_str))?;
        let conf = ResolvConf::read();
        let mut resolvers = conf.resolvers();
        resolvers.retain(|resolver| !addresses.contains(resolver));
        let control = bootstrap::discovery_address(arguments, environment);
        let names = Arc::new(Names::new(Place {
            namespace: environment.namespace.clone(),
            domain: bootstrap::domain(arguments, environment),
            search: conf.search.into_iter().next(),
            control: control.rsplit_once(':').map_or(control, |(host, _)| host).to_owned(),
        }));
        let upstream = Arc::new(Upstream::new(resolvers, environment.socket_mark));
        serve(&addresses, &names, &upstream).await?;
        tracing::info!(?addresses, resolvers = ?upstream.resolvers, "names are resolved here");
        Ok(Some(Resolver { names, upstream }))
    }

    /// Follows the control plane's table for ever.
    pub fn follow(&self, security: &Security, node: Node) {
        tokio::spawn(stream::follow(security.control(), node, Arc::clone(&self.names)));
    }

    /// Whether the first table is there.
    pub fn is_ready(&self) -> bool {
        self.names.is_ready()
    }

    /// As Prometheus reads it, under the names of Istio's agent.
    pub fn metrics(&self) -> String {
        let (asked, forwarded) = self.names.counts();
        let all = [
            ("dns_requests_total", "Total number of DNS requests.", asked),
            ("dns_upstream_requests_total", "Total number of DNS requests forwarded to upstream.", forwarded),
            (
                "dns_upstream_failures_total",
                "Total number of DNS upstream failures.",
                self.upstream.failures(),
            ),
        ];
        let one =
            |(name, help, count)| format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {count}\n");
        all.map(one).concat()
    }
}

/// Binds and serves. `::1` is left out where there is no IPv6.
async fn serve(addresses: &[SocketAddr], names: &Arc<Names>, upstream: &Arc<Upstream>) -> Result<()> {
    for (at, address) in addresses.iter().enumerate() {
        match Sockets::bind(*address).await {
            Ok(sockets) => drop(lateen_dns::serve(sockets, Arc::clone(names), Arc::clone(upstream))),
            Err(error) if at > 0 => tracing::debug!(%address, %error, "names are not resolved over IPv6"),
            Err(error) => return Err(error).with_context(|| format!("DNS on {address}")),
        }
    }
    Ok(())
}

/// `host:port`; `localhost` is both IP versions'.
fn addresses(text: &str) -> Result<Vec<SocketAddr>> {
    let wrong = || format!("environment variable DNS_PROXY_ADDR={text:?} must be IP:PORT or localhost:PORT");
    match text.strip_prefix("localhost:") {
        Some(port) => {
            let port: u16 = port.parse().with_context(wrong)?;
            let both = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
            Ok(both.map(|ip| SocketAddr::new(ip, port)).to_vec())
        }
        None => Ok(vec![text.parse().with_context(wrong)?]),
    }
}

/// A truth value as Go's `strconv.ParseBool` reads it.
fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_may_be_told_and_nonsense_is_named() {
        let text = |told: &str| addresses(told).map(|all| format!("{all:?}"));
        assert_eq!(text(ADDRESS).unwrap(), "[127.0.0.1:15053, [::1]:15053]");
        assert_eq!(text("127.0.0.2:53").unwrap(), "[127.0.0.2:53]");
        for wrong in ["localhost", "localhost:x", "127.0.0.1", "dns:53"] {
            assert!(format!("{:#}", text(wrong).unwrap_err()).contains("DNS_PROXY_ADDR"), "{wrong}");
        }
    }
}
