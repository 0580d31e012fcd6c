//! The listeners of gateways: one for each address of their servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::networking::gateway::{ServerTlsMode, ServerTlsSettings, TlsProtocol};
use lateen_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
use lateen_xds::pb::envoy::config::core::v3::{TrafficDirection, TransportSocket};
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use lateen_xds::{Encoded, TypeUrl};

use super::http::{self, Routes, Side};
use super::{inspect, patient, tcp_rules};
use crate::gateway::{GatewayServer, ServerProtocol};
use crate::proto::{address, ads, any, boolean};
use crate::route;
use crate::route::rule::Target;
use crate::view::View;

/// The listeners of all servers. One without anything to serve is left out: connections to it are refused.
pub(crate) fn listeners(
    view: &View<'_>,
    servers: &BTreeMap<(u16, String), Vec<GatewayServer>>,
) -> Vec<Arc<Encoded>> {
    let one = |((port, bind), servers): (&(u16, String), &Vec<GatewayServer>)| {
        let ip = if bind.parse::<std::net::IpAddr>().is_ok() { bind.as_str() } else { "0.0.0.0" };
        let name = format!("{ip}_{port}");
        let mut chains: Vec<FilterChain> = Vec::new();
        for server in servers {
            for chain in chains_of(view, server, &name) {
                let same = |c: &FilterChain| c.filter_chain_match == chain.filter_chain_match;
                if !chains.iter().any(same) {
                    chains.push(chain);
                }
            }
        }
        let by_name = servers
            .first()
            .is_some_and(|s| !matches!(s.protocol, ServerProtocol::Http | ServerProtocol::Tcp));
        let mut listener = Listener {
            name: name.clone(),
            address: address(ip, u32::from(*port)),
            filter_chains: chains,
            traffic_direction: TrafficDirection::Outbound as i32,
            ..Listener::default()
        };
        if by_name {
            listener.listener_filters = vec![inspect::tls(&[])];
            patient(&mut listener, &view.mesh.settings);
        }
        (!listener.filter_chains.is_empty())
            .then(|| Arc::new(Encoded::new(TypeUrl::Listener, name, &listener)))
    };
    servers.iter().filter_map(one).collect()
}

fn chains_of(view: &View<'_>, server: &GatewayServer, name: &str) -> Vec<FilterChain> {
    let settings = &view.mesh.settings;
    let gateways = [&*server.gateway.id];
    let target = Target { view, listen: server.port, gateways: &gateways };
    let manager = || {
        let routes = Routes::Named(server.route_name());
        http::manager(Side::Gateway, &format!("outbound_{name}"), routes, settings, view.key.flavour)
    };
    match server.protocol {
        ServerProtocol::Http => vec![FilterChain { filters: vec![manager()], ..FilterChain::default() }],
        ServerProtocol::Https => {
            let matched = by_server_name(server);
            let transport_socket = server.tls().map(|t| terminate(t, true));
            vec![FilterChain {
                filter_chain_match: matched,
                filters: vec![manager()],
                transport_socket,
                ..FilterChain::default()
            }]
        }
        ServerProtocol::Tcp => plain(view, server, &target),
        ServerProtocol::TlsTerminated => {
            let mut chains = plain(view, server, &target);
            for chain in &mut chains {
                chain.filter_chain_match = by_server_name(server);
                chain.transport_socket = server.tls().map(|t| terminate(t, false));
            }
            chains
        }
        ServerProtocol::TlsPassthrough => {
            let rules = route::gateway::rules(view, server);
            let shared = rules.filter(|vs| !server.hosts_of(vs).is_empty());
            shared.flat_map(|vs| tcp_rules::tls(vs, &target)).collect()
        }
    }
}

fn plain(view: &View<'_>, server: &GatewayServer, target: &Target<'_>) -> Vec<FilterChain> {
    let rules = route::gateway::rules(view, server);
    let shared = rules.filter(|vs| !server.hosts_of(vs).is_empty());
    shared.flat_map(|vs| tcp_rules::plain(vs, target)).collect()
}

fn by_server_name(server: &GatewayServer) -> Option<FilterChainMatch> {
    let hosts: Vec<String> = server.hosts().map(str::to_owned).collect();
    let server_names = tcp_rules::server_names(&hosts);
    (!server_names.is_empty()).then(|| FilterChainMatch { server_names, ..FilterChainMatch::default() })
}

/// TLS that ends at the gateway. Certificates come by SDS under Istio's names: `kubernetes://` with the credential's
/// name, `-cacert` behind it for what clients are verified by; files under `file-cert:` with their paths.
fn terminate(settings: &ServerTlsSettings, http: bool) -> TransportSocket {
    let secret = |name: String| tls::SdsSecretConfig { name, sds_config: Some(ads()) };
    let mode = settings.mode.unwrap_or_default();
    let credential = match settings.credential_name.as_str() {
        "" => format!("file-cert:{}~{}", settings.server_certificate, settings.private_key),
        name => format!("kubernetes://{name}"),
    };
    let mut common = tls::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret(credential.clone())],
        tls_params: params(settings),
        ..tls::CommonTlsContext::default()
    };
    if http {
        common.alpn_protocols = vec!["h2".to_owned(), "http/1.1".to_owned()];
    }
    let verifies =
        matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual | ServerTlsMode::IstioMutual);
    if verifies {
        let name = match settings.credential_name.as_str() {
            "" => format!("file-root:{}", settings.ca_certificates),
            name => format!("kubernetes://{name}-cacert"),
        };
        common.validation_context_type = Some(
            tls::common_tls_context::ValidationContextType::ValidationContextSdsSecretConfig(secret(name)),
        );
    }
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: boolean(verifies && mode != ServerTlsMode::OptionalMutual),
        ..tls::DownstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: any(&context).map(ConfigType::TypedConfig),
    }
}

fn params(settings: &ServerTlsSettings) -> Option<tls::TlsParameters> {
    use tls::tls_parameters::TlsProtocol as Envoy;
    let version = |wanted: TlsProtocol| match wanted {
        TlsProtocol::TlsAuto => Envoy::TlsAuto,
        TlsProtocol::TlsV1_0 => Envoy::TlSv10,
        TlsProtocol::TlsV1_1 => Envoy::TlSv11,
        TlsProtocol::TlsV1_2 => Envoy::TlSv12,
        TlsProtocol::TlsV1_3 => Envoy::TlSv13,
    };
    let minimum = match settings.min_protocol_version {
        // Istio's default.
        TlsProtocol::TlsAuto => Envoy::TlSv12,
        wanted => version(wanted),
    };
    Some(tls::TlsParameters {
        tls_minimum_protocol_version: minimum as i32,
        tls_maximum_protocol_version: version(settings.max_protocol_version) as i32,
        cipher_suites: settings.cipher_suites.clone(),
        ..tls::TlsParameters::default()
    })
}
