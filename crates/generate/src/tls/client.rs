//! TLS towards a destination: the mesh's own where both sides can, or what a DestinationRule asks for.

use std::sync::Arc;

use lateen_api::networking::traffic_policy::{ClientTlsMode, ClientTlsSettings};
use lateen_mesh::{Service, Settings};
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, TransportSocketMatch,
};
use lateen_xds::pb::envoy::config::cluster::v3::{Cluster, Filter};
use lateen_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
use lateen_xds::pb::envoy::config::core::v3::{DataSource, TransportSocket, data_source};
use lateen_xds::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    UpstreamTlsContext,
};
use lateen_xds::pb::google::protobuf::{Struct, Value, value::Kind};

use super::{OWN, ROOTS, from_agent, from_control, verified_by};
use crate::credentials;
use crate::names;
use crate::proto::{any, empty_any};

/// The key of an endpoint's metadata by which its transport socket is chosen.
pub(crate) const MODE: &str = "tlsMode";

/// What a cluster's TLS depends on, besides the settings of a rule.
pub(crate) struct Upstream<'a> {
    pub service: &'a Service,
    pub port: u16,
    pub subset: &'a str,
    /// Whether requests go over HTTP/2, HTTP/1.1, or neither is known to be meant.
    pub http: Http,
    /// The accounts that the endpoints run under.
    pub accounts: &'a [Arc<str>],
    /// Whether every endpoint takes the mesh's mutual TLS.
    pub all_mtls: bool,
    /// Whether the client has a certificate of the mesh.
    pub certified: bool,
    /// Whether it tells servers of TCP who it is, where they agree on that in the handshake.
    pub exchange: bool,
    pub settings: &'a Settings,
}

/// What is spoken over the connections of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
    No,
}

/// Secures the connections of a cluster as a rule asks, and where none does by mutual TLS to those endpoints that
/// take it.
///
/// Source: Istio, "Auto mutual TLS"; DestinationRule `trafficPolicy.tls`.
pub(crate) fn secure(cluster: &mut Cluster, rule: Option<&ClientTlsSettings>, upstream: &Upstream<'_>) {
    if upstream.exchange && upstream.http == Http::No {
        cluster.filters.push(Filter {
            name: super::EXCHANGE.to_owned(),
            typed_config: Some(empty_any(super::EXCHANGE_TYPE)),
            ..Filter::default()
        });
    }
    let Some(rule) = rule else {
        return automatic(cluster, upstream);
    };
    cluster.transport_socket = match rule.mode.unwrap_or_default() {
        ClientTlsMode::Disable => None,
        ClientTlsMode::IstioMutual => Some(mutual(Some(rule), upstream)),
        ClientTlsMode::Simple => Some(configured(rule, false, upstream)),
        ClientTlsMode::Mutual => Some(configured(rule, true, upstream)),
    };
}

/// Whether a rule asks for TLS that is not the mesh's.
pub(crate) fn is_own(rule: &ClientTlsSettings) -> bool {
    matches!(rule.mode.unwrap_or_default(), ClientTlsMode::Simple | ClientTlsMode::Mutual)
}

fn automatic(cluster: &mut Cluster, upstream: &Upstream<'_>) {
    if !upstream.certified || !upstream.settings.auto_mtls || upstream.service.external {
        return;
    }
    let original = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32);
    if cluster.cluster_discovery_type == Some(original) {
        // Such a cluster has no endpoints whose metadata could tell them apart.
        cluster.transport_socket = upstream.all_mtls.then(|| mutual(None, upstream));
        return;
    }
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let plain = TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: any(&RawBuffer {}).map(ConfigType::TypedConfig),
    };
    cluster.transport_socket_matches = vec![
        TransportSocketMatch {
            name: "tlsMode-istio".to_owned(),
            r#match: Some(Struct { fields: [(MODE.to_owned(), text("istio"))].into() }),
            transport_socket: Some(mutual(None, upstream)),
        },
        TransportSocketMatch {
            name: "tlsMode-disabled".to_owned(),
            r#match: Some(Struct::default()),
            transport_socket: Some(plain),
        },
    ];
}

/// The mesh's mutual TLS: own certificate, the mesh's roots, and the accounts that the endpoints run under.
fn mutual(rule: Option<&ClientTlsSettings>, upstream: &Upstream<'_>) -> TransportSocket {
    let own_names = rule.map(|r| &r.subject_alt_names).filter(|names| !names.is_empty());
    let names = match own_names {
        Some(names) => super::exact_names(names),
        None => expected(upstream),
    };
    let alpn: &[&str] = match upstream.http {
        Http::One => &["istio-http/1.1", "istio", "http/1.1"],
        Http::Two => &["istio-h2", "istio", "h2"],
        Http::No if upstream.exchange => &super::TCP_ALPNS,
        Http::No => &["istio"],
    };
    let sni = rule.map(|r| r.sni.clone()).filter(|sni| !sni.is_empty());
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(super::mesh_parameters(upstream.settings)),
            tls_certificate_sds_secret_configs: vec![from_agent(OWN)],
            validation_context_type: Some(verified_by(from_agent(ROOTS), named(names))),
            alpn_protocols: super::texts(alpn),
            ..CommonTlsContext::default()
        }),
        sni: sni
            .unwrap_or_else(|| names::server_name(upstream.port, upstream.subset, &upstream.service.id.host)),
        ..UpstreamTlsContext::default()
    };
    super::socket(&context)
}

/// The names of which the server must have one. Where no endpoint tells its account, any name of the mesh will do.
fn expected(upstream: &Upstream<'_>) -> Vec<SubjectAltNameMatcher> {
    let mut names = super::of_accounts(upstream.accounts, upstream.settings);
    names.extend(super::exact_names(&upstream.service.subject_alt_names));
    if names.is_empty() { super::of_mesh(upstream.settings) } else { names }
}

fn named(names: Vec<SubjectAltNameMatcher>) -> CertificateValidationContext {
    CertificateValidationContext {
        match_typed_subject_alt_names: names,
        ..CertificateValidationContext::default()
    }
}

/// TLS as a rule configures it, with certificates from a Secret or from files.
fn configured(rule: &ClientTlsSettings, mutual: bool, upstream: &Upstream<'_>) -> TransportSocket {
    let by_secret = !rule.credential_name.is_empty();
    let mut common = CommonTlsContext {
        tls_params: Some(super::parameters(&upstream.settings.tls_defaults)),
        alpn_protocols: super::texts(if upstream.http == Http::Two { &["h2"] } else { &[] }),
        ..CommonTlsContext::default()
    };
    if mutual {
        common.tls_certificate_sds_secret_configs = vec![match by_secret {
            true => from_control(credentials::resource(&rule.credential_name)),
            false => from_agent(format!("file-cert:{}~{}", rule.client_certificate, rule.private_key)),
        }];
    }
    let names = match rule.subject_alt_names.as_slice() {
        [] => super::exact_names(&upstream.service.subject_alt_names),
        own => super::exact_names(own),
    };
    let mut context = named(names);
    if !rule.ca_crl.is_empty() {
        context.crl = Some(file(&rule.ca_crl));
    }
    // Without a validation context nothing is verified: as asked for.
    let skipped = rule.insecure_skip_verify.unwrap_or(false);
    common.validation_context_type = (!skipped).then(|| verified_by(authorities(rule), context));
    // Without a name of its own, a host is asked for by its own name.
    let host = &*upstream.service.id.host;
    let sni = if rule.sni.is_empty() && !host.starts_with('*') { host } else { &rule.sni };
    super::socket(&UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: sni.to_owned(),
        ..UpstreamTlsContext::default()
    })
}

/// TLS to a host of the world, which the system's authorities vouch for.
pub(crate) fn of_system(host: &str, settings: &Settings) -> TransportSocket {
    let names = super::exact_names([&host.to_owned()]);
    super::socket(&UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(super::parameters(&settings.tls_defaults)),
            validation_context_type: Some(verified_by(from_agent("file-root:system"), named(names))),
            ..CommonTlsContext::default()
        }),
        sni: host.to_owned(),
        ..UpstreamTlsContext::default()
    })
}

/// Who signs the server's certificate: the system's authorities, unless the rule says otherwise.
fn authorities(rule: &ClientTlsSettings) -> SdsSecretConfig {
    match (rule.credential_name.as_str(), rule.ca_certificates.as_str()) {
        ("", "" | "system") => from_agent("file-root:system"),
        ("", file) => from_agent(format!("file-root:{file}")),
        (name, _) => from_control(credentials::authorities_resource(name)),
    }
}

fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(data_source::Specifier::Filename(path.to_owned())), ..DataSource::default() }
}
