//! AuthorizationPolicy with action CUSTOM -> Envoy's external authorization, for those requests that its rules match.
//!
//! Source: Istio, "External authorization": rules in the shadow of an RBAC filter mark the requests, and the authorizer's
//! filter looks at those that are marked.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::Duration;
use lateen_api::mesh_config::providers::{ExtAuthzBody, ExtAuthzGrpc, ExtAuthzHttp, Provider};
use lateen_mesh::{AuthorizationPolicy, Mesh};
use lateen_xds::pb::envoy::config::core::v3::{
    ApiVersion, GrpcService, HeaderValue, HttpUri, grpc_service, http_uri,
};
use lateen_xds::pb::envoy::config::rbac::v3::rbac::Action;
use lateen_xds::pb::envoy::extensions::filters::http::ext_authz::v3 as pb;
use lateen_xds::pb::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use lateen_xds::pb::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz as TcpExtAuthz;
use lateen_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use lateen_xds::pb::envoy::r#type::matcher::v3::{ListStringMatcher, MetadataMatcher};
use lateen_xds::pb::envoy::r#type::v3::HttpStatus;

use super::rbac::matching::{metadata, of, single, text};
use super::rbac::{self, Translation};
use super::{Guards, http};
use crate::listener::http::network_filter;
use crate::names;
use crate::proto::{any, duration};

const HTTP: &str = "envoy.filters.http.ext_authz";
const TCP: &str = "envoy.filters.network.ext_authz";

/// What stands before the names of marking rules, and before their statistics.
const MARK: &str = "istio-ext-authz-";
const STATS: &str = "istio_ext_authz_";

/// How long an authorizer may take, unless its provider says otherwise. Source: Istio, `envoyExtAuthzHttp.timeout`.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Adds the filters, provider by provider.
pub(super) fn add(guards: &mut Guards, policies: &[Arc<AuthorizationPolicy>], mesh: &Mesh) {
    let mut by_provider: BTreeMap<&str, Vec<&Arc<AuthorizationPolicy>>> = BTreeMap::new();
    for policy in policies {
        by_provider.entry(&policy.provider).or_default().push(policy);
    }
    let several = by_provider.len() > 1;
    for (name, policies) in by_provider {
        let stats = if several { format!("{STATS}{name}_") } else { STATS.to_owned() };
        let rules = |tcp: bool, prefix: &str| {
            let translation = Translation { settings: &mesh.settings, tcp, widens: true };
            rbac::rules(policies.iter().copied(), Action::Deny, &translation, prefix)
        };
        let marked = || {
            let key = format!("{stats}shadow_effective_policy_id");
            (key, of(MatchPattern::Prefix(MARK.to_owned())))
        };
        let enabled = |filter: &str| {
            let (key, value) = marked();
            metadata(filter, &[&key], single(value))
        };
        // A provider that is not there, or cannot be asked, lets nothing pass that its rules match.
        let refused = |tcp: bool| Some(rules(tcp, "istio-ext-authz-deny-due-to-bad-CUSTOM-action-"));
        let provider = mesh.settings.provider(name).and_then(|p| p.provider.as_ref());
        match provider.and_then(|p| http_service(p, mesh, enabled(rbac::HTTP))) {
            Some(config) => {
                guards.http.push(rbac::http_filter(None, Some(rules(false, MARK)), &stats));
                guards.http.push(http(HTTP, lateen_xds::any(&config)));
            }
            None => guards.http.push(rbac::http_filter(refused(false), None, "")),
        }
        match provider.and_then(|p| tcp_service(p, mesh, enabled(rbac::TCP))) {
            Some(config) => {
                guards.tcp.push(rbac::tcp_filter(None, Some(rules(true, MARK)), &stats));
                guards.tcp.push(network_filter(TCP, any(&config)));
            }
            None => guards.tcp.push(rbac::tcp_filter(refused(true), None, "")),
        }
    }
}

/// The cluster of a provider's service (`host` or `namespace/host`), where the mesh has it.
fn cluster(service: &str, port: u32, mesh: &Mesh) -> Option<(String, String)> {
    let (namespace, host) = match service.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, service),
    };
    let port = u16::try_from(port).ok()?;
    let mut known = mesh.services.of_host(host).filter(|s| namespace.is_none_or(|n| *s.id.namespace == *n));
    let found = known.find(|s| s.port(port).is_some())?;
    Some((names::outbound(port, "", &found.id.host), found.id.host.to_string()))
}

fn grpc(provider: &ExtAuthzGrpc, mesh: &Mesh) -> Option<GrpcService> {
    let (cluster_name, authority) = cluster(&provider.service, provider.port, mesh)?;
    let envoy = grpc_service::EnvoyGrpc { cluster_name, authority, ..grpc_service::EnvoyGrpc::default() };
    Some(GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy)),
        timeout: Some(duration(provider.timeout.unwrap_or(TIMEOUT))),
        ..GrpcService::default()
    })
}

fn http_service(provider: &Provider, mesh: &Mesh, enabled: MetadataMatcher) -> Option<pb::ExtAuthz> {
    let config = match provider {
        Provider::ExtAuthzHttp(p) => pb::ExtAuthz {
            services: Some(Services::HttpService(over_http(p, mesh)?)),
            failure_mode_allow: p.fail_open,
            clear_route_cache: p.clear_route_cache,
            status_on_error: status(&p.status_on_error),
            with_request_body: p.include_request_body_in_check.as_ref().map(body),
            allowed_headers: list(
                p.include_request_headers_in_check.iter().chain(&p.include_headers_in_check),
            ),
            ..pb::ExtAuthz::default()
        },
        Provider::ExtAuthzGrpc(p) => pb::ExtAuthz {
            services: Some(Services::GrpcService(grpc(p, mesh)?)),
            failure_mode_allow: p.fail_open,
            clear_route_cache: p.clear_route_cache,
            status_on_error: status(&p.status_on_error),
            with_request_body: p.include_request_body_in_check.as_ref().map(body),
            include_peer_certificate: true,
            ..pb::ExtAuthz::default()
        },
        _ => return None,
    };
    Some(pb::ExtAuthz {
        transport_api_version: ApiVersion::V3 as i32,
        filter_enabled_metadata: Some(enabled),
        ..config
    })
}

fn over_http(provider: &ExtAuthzHttp, mesh: &Mesh) -> Option<pb::HttpService> {
    let (cluster, host) = cluster(&provider.service, provider.port, mesh)?;
    let added = provider.include_additional_headers_in_check.iter();
    let headers_to_add = added.map(|(key, value)| HeaderValue {
        key: key.clone(),
        value: value.clone(),
        ..HeaderValue::default()
    });
    Some(pb::HttpService {
        server_uri: Some(HttpUri {
            uri: format!("http://{host}"),
            timeout: Some(duration(provider.timeout.unwrap_or(TIMEOUT))),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(cluster)),
        }),
        path_prefix: provider.path_prefix.clone(),
        authorization_request: Some(pb::AuthorizationRequest {
            headers_to_add: headers_to_add.collect(),
            ..pb::AuthorizationRequest::default()
        }),
        authorization_response: Some(pb::AuthorizationResponse {
            allowed_upstream_headers: list(provider.headers_to_upstream_on_allow.iter()),
            allowed_client_headers: list(provider.headers_to_downstream_on_deny.iter()),
            allowed_client_headers_on_success: list(provider.headers_to_downstream_on_allow.iter()),
            ..pb::AuthorizationResponse::default()
        }),
        ..pb::HttpService::default()
    })
}

/// Connections that are no HTTP can be judged over gRPC only.
fn tcp_service(provider: &Provider, mesh: &Mesh, enabled: MetadataMatcher) -> Option<TcpExtAuthz> {
    let Provider::ExtAuthzGrpc(provider) = provider else { return None };
    Some(TcpExtAuthz {
        stat_prefix: "tcp.".to_owned(),
        grpc_service: Some(grpc(provider, mesh)?),
        failure_mode_allow: provider.fail_open,
        include_peer_certificate: true,
        transport_api_version: ApiVersion::V3 as i32,
        filter_enabled_metadata: Some(enabled),
        ..TcpExtAuthz::default()
    })
}

/// Names of headers, in which a star at either end stands for any text.
fn list<'a>(names: impl Iterator<Item = &'a String>) -> Option<ListStringMatcher> {
    let one = |name: &String| lateen_xds::pb::envoy::r#type::matcher::v3::StringMatcher {
        ignore_case: name != "*",
        ..text(name)
    };
    let patterns: Vec<_> = names.map(one).collect();
    (!patterns.is_empty()).then_some(ListStringMatcher { patterns })
}

/// The answer when the authorizer fails; 403 by default.
fn status(text: &str) -> Option<HttpStatus> {
    Some(HttpStatus { code: text.parse().ok().filter(|code| (100..600).contains(code))? })
}

fn body(settings: &ExtAuthzBody) -> pb::BufferSettings {
    pb::BufferSettings {
        max_request_bytes: settings.max_request_bytes.max(1),
        allow_partial_message: settings.allow_partial_message,
        pack_as_bytes: settings.pack_as_bytes,
    }
}
