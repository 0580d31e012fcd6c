//! What a Sidecar says about requests to its workload.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use lateen_api::networking::gateway::ServerTlsSettings;
use lateen_api::networking::sidecar::{CaptureMode, IstioIngressListener, SidecarPort};
use lateen_api::networking::traffic_policy::ConnectionPoolSettings;

use crate::mesh::Inbound;
use crate::service::{Port, TargetPort};
use crate::{Labels, Mesh, Protocol, Service, Sidecar, source};

/// How requests to a port reach the application, where a Sidecar says something about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ingress {
    /// Where they are forwarded.
    pub endpoint: IngressEndpoint,
    /// Limits on connections to the application.
    pub pool: Option<ConnectionPoolSettings>,
    /// How connections reach the port.
    pub capture: CaptureMode,
    /// The address on which it is opened where they are not captured; none: the workload's.
    pub bind: Option<IpAddr>,
    /// TLS that ends at the sidecar, where the mesh's own is off.
    pub tls: Option<ServerTlsSettings>,
}

/// Where requests to a port are forwarded (`defaultEndpoint`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IngressEndpoint {
    /// Where they were going.
    #[default]
    AsCaptured,
    /// To an address of the loopback interface.
    Loopback(IpAddr, u16),
    /// To a port on the workload's own address.
    Workload(u16),
    /// To a socket of this path.
    Unix(Arc<str>),
}

impl IngressEndpoint {
    /// Reads `127.0.0.1:PORT`, `[::1]:PORT`, `0.0.0.0:PORT`, `[::]:PORT` or `unix:///path`; anything else forwards to
    /// where requests were going.
    fn parse(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("unix://") {
            return IngressEndpoint::Unix(path.into());
        }
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let Some((host, port)) = text.rsplit_once(':').and_then(|(host, p)| Some((host, port(p)?))) else {
            return IngressEndpoint::AsCaptured;
        };
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => IngressEndpoint::Workload(port),
            Ok(ip) => IngressEndpoint::Loopback(ip, port),
            Err(_) => IngressEndpoint::AsCaptured,
        }
    }
}

impl Mesh {
    /// The ports of a workload that its sidecar serves: those that its Sidecar's `ingress` lists, if it lists any,
    /// else those of the services that select it.
    ///
    /// Source: Istio, Sidecar `ingress` and `inboundConnectionPool`.
    pub fn captured(
        &self,
        sidecar: Option<&Sidecar>,
        namespace: &str,
        labels: &Labels,
        named: impl Fn(&str) -> Option<u16>,
    ) -> Vec<Inbound> {
        let mut served = self.inbound(namespace, labels, named);
        let Some(sidecar) = sidecar else { return served };
        let pool = &sidecar.spec.inbound_connection_pool;
        if sidecar.spec.ingress.is_empty() {
            let of_all =
                pool.clone().map(|pool| Arc::new(Ingress { pool: Some(pool), ..Ingress::default() }));
            served.iter_mut().for_each(|inbound| inbound.ingress = of_all.clone());
            return served;
        }
        let listeners = sidecar.spec.ingress.iter();
        listeners.filter_map(|listener| self.listed(listener, sidecar, &served)).collect()
    }

    /// One ingress listener. Its service is that of the port, else any of the workload's, else one of the Sidecar's
    /// name.
    fn listed(
        &self,
        listener: &IstioIngressListener,
        sidecar: &Sidecar,
        served: &[Inbound],
    ) -> Option<Inbound> {
        let declared = listener.port.as_ref()?;
        let number = u16::try_from(declared.number).ok().filter(|number| *number > 0)?;
        let same = served.iter().find(|i| i.target == number || i.port.number == number);
        let service = match same.or(served.first()) {
            Some(known) => known.service.clone(),
            None => Arc::new(self.nameless(sidecar)),
        };
        let port = Port {
            name: declared.name.as_str().into(),
            number: same.map_or(number, |known| known.port.number),
            protocol: protocol(declared, number, listener.tls.is_some()),
            target: TargetPort::Number(number),
        };
        let pool = listener.connection_pool.clone().or_else(|| sidecar.spec.inbound_connection_pool.clone());
        let ingress = Ingress {
            endpoint: IngressEndpoint::parse(&listener.default_endpoint),
            pool,
            capture: listener.capture_mode,
            bind: listener.bind.parse().ok(),
            tls: listener.tls.clone(),
        };
        Some(Inbound { service, port, target: number, ingress: Some(Arc::new(ingress)) })
    }

    /// A service that stands for a workload without any.
    fn nameless(&self, sidecar: &Sidecar) -> Service {
        let mut service = core::Service::default();
        service.metadata.name = Some(sidecar.meta.name.to_string());
        service.metadata.namespace = Some(sidecar.meta.namespace.to_string());
        source::kubernetes::service(&service, &self.settings.domain)
    }
}

/// What is spoken on a port, inside of TLS where that ends at the sidecar.
fn protocol(declared: &SidecarPort, number: u16, terminated: bool) -> Protocol {
    let protocol = match declared.protocol.as_str() {
        "" => Protocol::of_port(number, &declared.name, None, None),
        name => Protocol::of_name(name),
    };
    match protocol {
        Protocol::Https if terminated => Protocol::Http,
        Protocol::Tls if terminated => Protocol::Tcp,
        protocol => protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_or_sockets() {
        let parse = IngressEndpoint::parse;
        assert_eq!(parse("127.0.0.1:8080"), IngressEndpoint::Loopback([127, 0, 0, 1].into(), 8080));
        assert!(matches!(parse("[::1]:8080"), IngressEndpoint::Loopback(IpAddr::V6(_), 8080)));
        assert_eq!(parse("0.0.0.0:8080"), IngressEndpoint::Workload(8080));
        assert_eq!(parse("unix:///run/app.sock"), IngressEndpoint::Unix("/run/app.sock".into()));
        assert_eq!(parse(""), IngressEndpoint::AsCaptured);
    }
}
