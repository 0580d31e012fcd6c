//! The servers of a gateway proxy, merged from all Gateways that select it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::networking::gateway::{Server, ServerTlsMode, ServerTlsSettings};
use lateen_mesh::{Gateway, VirtualService, hostname};

use crate::view::View;

/// A server of a Gateway, as a proxy serves it.
#[derive(Clone, Debug)]
pub(crate) struct GatewayServer {
    pub gateway: Arc<Gateway>,
    /// Its place in the Gateway.
    pub at: usize,
    /// The port that clients call.
    pub port: u16,
    pub protocol: ServerProtocol,
}

/// What a server's port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerProtocol {
    /// Plain HTTP, routed by its heads.
    Http,
    /// TLS that ends here, with HTTP inside.
    Https,
    /// TLS that ends here, with anything inside.
    TlsTerminated,
    /// TLS that passes through, routed by SNI.
    TlsPassthrough,
    /// TLS that passes through to the service that its server name tells.
    AutoPassthrough,
    /// Anything.
    Tcp,
}

impl GatewayServer {
    pub fn server(&self) -> &Server {
        &self.gateway.spec.servers[self.at]
    }

    pub fn tls(&self) -> Option<&ServerTlsSettings> {
        self.server().tls.as_ref()
    }

    /// The name of the route configuration. Source: Istio, `GatewayRDSRouteName`.
    pub fn route_name(&self) -> String {
        match self.protocol {
            ServerProtocol::Https => {
                let name = self.server().port.as_ref().map(|p| p.name.as_str()).unwrap_or_default();
                let meta = &self.gateway.meta;
                format!("https.{}.{name}.{}.{}", self.port, meta.name, meta.namespace)
            }
            _ => format!("http.{}", self.port),
        }
    }

    /// The hosts that a VirtualService and this server have in common: the narrower of each pair that overlaps.
    ///
    /// Source: Istio, Gateway `servers[].hosts`: `namespace/host`, where the namespace is that of the VirtualService,
    /// `*` any and `.` the Gateway's own.
    pub fn hosts_of(&self, vs: &VirtualService) -> Vec<Arc<str>> {
        let mut common: Vec<Arc<str>> = Vec::new();
        for entry in &self.server().hosts {
            let (namespace, host) = entry.split_once('/').unwrap_or(("*", entry));
            let namespace = if namespace == "." { &*self.gateway.meta.namespace } else { namespace };
            if namespace != "*" && namespace != &*vs.meta.namespace {
                continue;
            }
            for wanted in vs.hosts.iter().filter(|wanted| hostname::overlap(wanted, host)) {
                let narrow: Arc<str> =
                    if hostname::subset_of(wanted, host) { wanted.clone() } else { host.into() };
                if !common.contains(&narrow) {
                    common.push(narrow);
                }
            }
        }
        common
    }

    /// The server's hosts without their namespaces.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.server().hosts.iter().map(|entry| entry.split_once('/').map_or(entry.as_str(), |(_, host)| host))
    }
}

/// The protocol of a server; `None` for one that is not served (unknown protocols).
fn protocol(server: &Server) -> Option<ServerProtocol> {
    let tls = server.tls.as_ref().map(|t| t.mode.unwrap_or(ServerTlsMode::Passthrough));
    let name = server.port.as_ref()?.protocol.to_ascii_uppercase();
    match (name.as_str(), tls) {
        ("HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" | "HTTP_PROXY", _) => Some(ServerProtocol::Http),
        (_, Some(ServerTlsMode::AutoPassthrough)) => Some(ServerProtocol::AutoPassthrough),
        ("HTTPS" | "TLS", Some(ServerTlsMode::Passthrough) | None) => Some(ServerProtocol::TlsPassthrough),
        ("HTTPS", Some(_)) => Some(ServerProtocol::Https),
        ("TLS", Some(_)) | ("TCP", Some(_)) => Some(ServerProtocol::TlsTerminated),
        ("TCP" | "MONGO" | "MYSQL" | "REDIS", None) => Some(ServerProtocol::Tcp),
        _ => None,
    }
}

/// The servers of these proxies by the port and address on which they listen; of each address the older Gateways first.
pub(crate) fn servers(view: &View<'_>) -> BTreeMap<(u16, String), Vec<GatewayServer>> {
    let mut by_address: BTreeMap<(u16, String), Vec<GatewayServer>> = BTreeMap::new();
    for gateway in view.mesh.gateways.of_workload(&view.key.labels) {
        for (at, server) in gateway.spec.servers.iter().enumerate() {
            let number = server.port.as_ref().and_then(|p| u16::try_from(p.number).ok()).filter(|p| *p > 0);
            let (Some(port), Some(protocol)) = (number, protocol(server)) else { continue };
            let one = GatewayServer { gateway: gateway.clone(), at, port, protocol };
            // Clients call the gateway's Service; the pod listens where its target port says.
            let mut targets: Vec<u16> =
                view.key.ports.iter().filter(|(from, _)| *from == port).map(|(_, to)| *to).collect();
            if targets.is_empty() {
                targets.push(port);
            }
            for target in targets {
                by_address.entry((target, server.bind.clone())).or_default().push(one.clone());
            }
        }
    }
    for servers in by_address.values_mut() {
        compatible(servers);
    }
    by_address
}

/// An address has either plain HTTP, or TLS (told apart by SNI), or TCP: the oldest Gateway decides.
fn compatible(servers: &mut Vec<GatewayServer>) {
    let class = |p: ServerProtocol| match p {
        ServerProtocol::Http => 0,
        ServerProtocol::Tcp => 1,
        ServerProtocol::Https
        | ServerProtocol::TlsTerminated
        | ServerProtocol::TlsPassthrough
        | ServerProtocol::AutoPassthrough => 2,
    };
    let Some(first) = servers.first().map(|s| class(s.protocol)) else { return };
    servers.retain(|s| class(s.protocol) == first);
}
