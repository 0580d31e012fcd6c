//! The HTTP connection manager, as Istio sets it up.

use lateen_api::mesh_config::PathNormalization;
use lateen_api::mesh_config::proxy::ForwardClientCertDetails as Wanted;
use lateen_mesh::{Mesh, Settings};
use lateen_xds::pb::envoy::config::core::v3::{Http1ProtocolOptions, HttpProtocolOptions};
use lateen_xds::pb::envoy::config::listener::v3::{Filter, filter};
use lateen_xds::pb::envoy::config::route::v3::RouteConfiguration;
use lateen_xds::pb::envoy::extensions::filters::http::cors::v3::Cors;
use lateen_xds::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use lateen_xds::pb::envoy::extensions::filters::http::router::v3::Router;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, SetCurrentClientCertDetails,
    UpgradeConfig,
};
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, RequestIdExtension, http_filter,
};
use lateen_xds::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use lateen_xds::pb::google::protobuf::Any;

use super::{access_log, alpn, stats, tracing};
use crate::proto::{ads, any, boolean, empty_any, seconds};
use crate::proxy::Flavour;
use crate::route::filters;

/// On which side of the proxy a listener stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Inbound,
    Outbound,
    Gateway,
}

/// Where a connection manager's routes come from.
pub(crate) enum Routes {
    /// By RDS.
    Named(String),
    /// With the listener.
    Inline(Box<RouteConfiguration>),
}

/// A network filter with its configuration.
pub(crate) fn network_filter(name: &str, config: Option<Any>) -> Filter {
    Filter { name: name.to_owned(), config_type: config.map(filter::ConfigType::TypedConfig) }
}

/// The connection manager as a network filter.
pub(crate) fn manager(
    side: Side,
    stat_prefix: &str,
    routes: Routes,
    mesh: &Mesh,
    flavour: Flavour,
    guards: &[HttpFilter],
) -> Filter {
    let settings = &*mesh.settings;
    let routes = match routes {
        Routes::Named(name) => {
            RouteSpecifier::Rds(Rds { config_source: Some(ads()), route_config_name: name })
        }
        Routes::Inline(config) => RouteSpecifier::RouteConfig(*config),
    };
    let mut manager = HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        server_name: "istio-envoy".to_owned(),
        route_specifier: Some(routes),
        http_filters: http_filters(side, settings, flavour, guards),
        access_log: access_log::of(settings, flavour),
        use_remote_address: boolean(side == Side::Gateway),
        generate_request_id: boolean(true),
        stream_idle_timeout: seconds(0),
        delayed_close_timeout: seconds(1),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
        request_id_extension: Some(RequestIdExtension {
            typed_config: any(&UuidRequestIdConfig {
                use_request_id_for_trace_sampling: boolean(by_request_id(settings)),
                ..UuidRequestIdConfig::default()
            }),
        }),
        tracing: tracing::config(mesh, flavour, side == Side::Gateway),
        ..HttpConnectionManager::default()
    };
    normalize_paths(&mut manager, settings);
    match side {
        Side::Inbound => {
            manager.forward_client_cert_details = ForwardClientCertDetails::AppendForward as i32;
            manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
                subject: boolean(true),
                dns: true,
                uri: true,
                ..SetCurrentClientCertDetails::default()
            });
        }
        Side::Outbound => {}
        Side::Gateway => {
            manager.forward_client_cert_details = forwarded(settings) as i32;
            manager.xff_num_trusted_hops = settings.gateway_topology.num_trusted_proxies;
            manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
                subject: boolean(true),
                cert: true,
                dns: true,
                uri: true,
                ..SetCurrentClientCertDetails::default()
            });
            manager.preserve_external_request_id = true;
            // Requests of old clients come as HTTP/1.0, without a host.
            manager.http_protocol_options = Some(Http1ProtocolOptions::default());
            manager.common_http_protocol_options = Some(HttpProtocolOptions::default());
        }
    }
    network_filter("envoy.filters.network.http_connection_manager", any(&manager))
}

/// Whether a request's id tells if it is traced.
fn by_request_id(settings: &Settings) -> bool {
    settings.observed.tracing.as_ref().is_none_or(|tracing| tracing.use_request_id)
}

/// Paths are brought into one form before policies and routes see them, as far as MeshConfig says.
///
/// Source: Istio, MeshConfig `pathNormalization`; by default RFC 3986's normalisation alone.
fn normalize_paths(manager: &mut HttpConnectionManager, settings: &Settings) {
    let wanted = settings.path_normalization;
    manager.normalize_path = boolean(wanted != PathNormalization::None);
    manager.merge_slashes =
        matches!(wanted, PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes);
    manager.path_with_escaped_slashes_action = match wanted {
        PathNormalization::DecodeAndMergeSlashes => PathWithEscapedSlashesAction::UnescapeAndForward,
        _ => PathWithEscapedSlashesAction::KeepUnchanged,
    } as i32;
}

/// What a gateway does with `x-forwarded-client-cert`: by default only what it knows itself counts.
fn forwarded(settings: &Settings) -> ForwardClientCertDetails {
    match settings.gateway_topology.forward_client_cert_details {
        Wanted::Undefined | Wanted::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        Wanted::Sanitize => ForwardClientCertDetails::Sanitize,
        Wanted::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        Wanted::AppendForward => ForwardClientCertDetails::AppendForward,
        Wanted::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    }
}

/// The HTTP filters in the order in which requests pass them.
fn http_filters(side: Side, settings: &Settings, flavour: Flavour, guards: &[HttpFilter]) -> Vec<HttpFilter> {
    let http = |name: &str, config: Any| HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    };
    let mut list = Vec::with_capacity(6);
    if flavour == Flavour::Lateen {
        list.push(http("istio.metadata_exchange", empty_any("io.istio.http.peer_metadata.Config")));
    }
    list.extend_from_slice(guards);
    if flavour == Flavour::Lateen && side != Side::Inbound {
        list.push(http(alpn::NAME, alpn::config()));
    }
    list.push(http(filters::FAULT, lateen_xds::any(&HttpFault::default())));
    list.push(http(filters::CORS, lateen_xds::any(&Cors {})));
    if let Some(config) = stats::config(settings).filter(|_| flavour == Flavour::Lateen) {
        list.push(http(stats::NAME, config));
    }
    list.push(http("envoy.filters.http.router", lateen_xds::any(&Router::default())));
    list
}
