//! CDS: one cluster for each port of each service, and one for each subset.

pub(crate) mod inbound;
pub(crate) mod policy;

use lateen_api::networking::destination_rule::Subset;
use lateen_api::networking::traffic_policy::H2UpgradePolicy;
use lateen_mesh::{DestinationRule, Endpoint, Endpoints, Port, Protocol, Resolution, Service, Settings};
use lateen_xds::pb::envoy::config::cluster::v3 as pb;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use lateen_xds::pb::envoy::config::core::v3::{Http2ProtocolOptions, HttpProtocolOptions};
use lateen_xds::pb::envoy::extensions::upstreams::http::v3 as upstream;
use lateen_xds::pb::google::protobuf::Any;
use lateen_xds::{Encoded, TypeUrl};

use prost::Message;

use crate::families::Families;
use crate::locality::{Near, Preference};
use crate::proto::{ads, any, duration, u32_value};
use crate::proxy::ProxyKind;
use crate::tls::client;
use crate::{names, ordered};
use policy::Policy;

/// The extension under which a cluster's HTTP options stand.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Who calls a service, and what the service's endpoints tell about themselves.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub kind: ProxyKind,
    /// The IP versions of its addresses.
    pub families: Families,
    /// Whether it has a certificate of the mesh.
    pub certified: bool,
    /// Whether it knows Istio's metadata exchange.
    pub exchange: bool,
    pub endpoints: &'a Endpoints,
    /// Where it is, where the cluster has its endpoints in it and that may make a difference.
    pub near: Option<&'a Near>,
}

/// All clusters of a service. Those resolved by DNS carry the endpoints that the ServiceEntry lists.
pub(crate) fn of_service(
    service: &Service,
    rule: Option<&DestinationRule>,
    settings: &Settings,
    caller: Caller<'_>,
) -> Vec<Encoded> {
    let mut clusters = Vec::new();
    for port in &service.ports {
        let rule_spec = rule.map(|r| &r.spec);
        let subsets = rule_spec.iter().flat_map(|r| r.subsets.iter()).map(Some);
        for subset in std::iter::once(None).chain(subsets) {
            let policy = Policy::of(rule_spec, subset, port.number);
            let cluster = outbound(service, port, subset, &policy, settings, caller);
            let own_tls = policy.tls.is_some_and(client::is_own);
            clusters.push(finish(&cluster, Some(metadata(service, port, subset, rule, own_tls))));
        }
    }
    clusters
}

/// Encodes a cluster with its metadata, which goes last and in order, so that the same cluster is the same bytes.
pub(crate) fn finish(cluster: &pb::Cluster, metadata: Option<ordered::Metadata>) -> Encoded {
    let mut body = cluster.encode_to_vec();
    if metadata.is_some() {
        body.extend(ordered::ClusterMetadata { metadata }.encode_to_vec());
    }
    Encoded::from_body(TypeUrl::Cluster, cluster.name.as_str(), body.into())
}

/// Istio's metadata of a cluster, under which telemetry finds its service.
fn metadata(
    service: &Service,
    port: &Port,
    subset: Option<&Subset>,
    rule: Option<&DestinationRule>,
    own_tls: bool,
) -> ordered::Metadata {
    let mut fields =
        vec![("services", services([service])), ("default_original_port", ordered::number(port.number))];
    fields.extend(subset.map(|s| ("subset", ordered::text(&s.name))));
    if let Some(DestinationRule { meta, .. }) = rule {
        let path = format!(
            "/apis/networking.istio.io/v1/namespaces/{}/destination-rule/{}",
            meta.namespace, meta.name
        );
        fields.push(("config", ordered::text(&path)));
    }
    if own_tls {
        // Servers outside of the mesh need not know the names by which the mesh's proxies tell protocols.
        fields.push(("alpn_override", ordered::text("false")));
    }
    ordered::istio(fields)
}

/// The list of services that a cluster stands for.
pub(crate) fn services<'a>(services: impl IntoIterator<Item = &'a Service>) -> ordered::Value {
    let one = |s: &Service| {
        let text = ordered::text;
        ordered::object([
            ("host", text(&s.id.host)),
            ("name", text(&s.meta.name)),
            ("namespace", text(&s.id.namespace)),
        ])
    };
    ordered::list(services.into_iter().map(one).collect())
}

fn outbound(
    service: &Service,
    port: &Port,
    subset: Option<&Subset>,
    policy: &Policy<'_>,
    settings: &Settings,
    caller: Caller<'_>,
) -> pb::Cluster {
    let name = names::outbound(port.number, subset.map_or("", |s| &s.name), &service.id.host);
    let mut cluster = pb::Cluster {
        name: name.clone(),
        connect_timeout: Some(duration(settings.connect_timeout)),
        circuit_breakers: Some(policy::circuit_breakers(policy.connection_pool)),
        common_lb_config: Some(policy::no_panic()),
        ..pb::Cluster::default()
    };
    policy::load_balancing(&mut cluster, policy.load_balancer);
    let preference = Preference::new(caller.near, policy, settings);
    discovery(&mut cluster, service, port, subset, (settings, preference.as_ref()), caller);
    policy::connections(&mut cluster, policy.connection_pool);
    policy::outliers(&mut cluster, policy.outlier_detection);
    policy::locality_shares(&mut cluster, policy.load_balancer, &settings.locality);
    let upgrade = policy.connection_pool.and_then(|p| p.http.as_ref());
    let http2 = match upgrade.map(|h| h.h2_upgrade_policy) {
        Some(H2UpgradePolicy::Upgrade) if port.protocol == Protocol::Http => Upstream::Http2,
        _ if port.protocol.is_http2() => Upstream::Http2,
        _ if upgrade.is_some_and(|h| h.use_client_protocol) => Upstream::AsClient,
        _ if port.protocol == Protocol::Auto => Upstream::AsClient,
        _ => Upstream::Http1,
    };
    let streams = upgrade.and_then(|h| u32::try_from(h.max_concurrent_streams).ok()).filter(|n| *n > 0);
    http_options(&mut cluster, http2, streams, policy::http_options(policy.connection_pool));
    let upstream = client::Upstream {
        service,
        port: port.number,
        subset: subset.map_or("", |s| &s.name),
        http: match http2 {
            Upstream::Http2 => client::Http::Two,
            Upstream::Http1 if port.protocol.is_http() => client::Http::One,
            Upstream::Http1 | Upstream::AsClient => client::Http::No,
        },
        accounts: &caller.endpoints.accounts,
        all_mtls: caller.endpoints.all_mtls(port.number),
        certified: caller.certified,
        exchange: caller.exchange,
        settings,
    };
    client::secure(&mut cluster, policy.tls, &upstream);
    cluster
}

fn discovery(
    cluster: &mut pb::Cluster,
    service: &Service,
    port: &Port,
    subset: Option<&Subset>,
    (settings, preference): (&Settings, Option<&Preference<'_>>),
    caller: Caller<'_>,
) {
    let kind = caller.kind;
    // What a rule's PASSTHROUGH has decided stays; gateways have no original destination to pass on to.
    let original = DiscoveryType::OriginalDst as i32;
    let chosen = cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(original));
    let discovery = match service.resolution {
        Resolution::Passthrough if kind == ProxyKind::Gateway => DiscoveryType::Eds,
        _ if chosen && kind == ProxyKind::Sidecar => DiscoveryType::OriginalDst,
        Resolution::Passthrough => DiscoveryType::OriginalDst,
        Resolution::Endpoints => DiscoveryType::Eds,
        Resolution::Dns => DiscoveryType::StrictDns,
        Resolution::DnsRoundRobin => DiscoveryType::LogicalDns,
    };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(discovery as i32));
    match discovery {
        DiscoveryType::Eds => {
            if chosen {
                cluster.lb_policy = LbPolicy::RoundRobin as i32;
            }
            cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(ads()), service_name: cluster.name.clone() });
        }
        DiscoveryType::OriginalDst => {
            cluster.lb_policy = LbPolicy::ClusterProvided as i32;
            cluster.lb_config = None;
        }
        _ => {
            resolve(cluster, settings, caller.families);
            let selected =
                |e: &&Endpoint| subset.is_none_or(|s| lateen_mesh::labels::selects(&s.labels, &e.labels));
            let endpoints = listed(service, port);
            let endpoints: Vec<&Endpoint> = endpoints.iter().filter(selected).collect();
            let only_first = discovery == DiscoveryType::LogicalDns;
            let limit = if only_first { 1 } else { usize::MAX };
            let chosen: Vec<&Endpoint> = endpoints.into_iter().take(limit).collect();
            // One endpoint alone has nothing before or after it.
            let preference = preference.filter(|_| !only_first);
            let assignment = crate::endpoints::preferring(&cluster.name, &chosen, preference);
            cluster.load_assignment = Some(assignment.embedded());
        }
    }
}

/// How names are resolved. Istio's users know these clusters by their old types, to which the old fields belong.
#[expect(deprecated, reason = "the fields of STRICT_DNS and LOGICAL_DNS, as Istio generates them")]
fn resolve(cluster: &mut pb::Cluster, settings: &Settings, families: Families) {
    cluster.dns_lookup_family = families.lookup() as i32;
    cluster.dns_refresh_rate = Some(duration(settings.dns_refresh_rate));
    cluster.respect_dns_ttl = true;
}

/// The endpoints that the declaring object itself lists, for a port.
fn listed(service: &Service, port: &Port) -> Vec<Endpoint> {
    service.listed.iter().map(|listed| listed.at(port)).collect()
}

/// What a cluster speaks to its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// HTTP/1.1, which is Envoy's default.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// What the client spoke.
    AsClient,
}

/// Sets the HTTP options where they differ from Envoy's defaults.
pub(crate) fn http_options(
    cluster: &mut pb::Cluster,
    upstream: Upstream,
    streams: Option<u32>,
    common: Option<HttpProtocolOptions>,
) {
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
    use upstream::http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    };
    if upstream == Upstream::Http1 && common.is_none() {
        return;
    }
    let http2 = Http2ProtocolOptions {
        max_concurrent_streams: streams.and_then(u32_value),
        ..Http2ProtocolOptions::default()
    };
    let options = match upstream {
        Upstream::Http1 => UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::HttpProtocolOptions(Default::default())),
        }),
        Upstream::Http2 => UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(http2)),
        }),
        Upstream::AsClient => UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options: Some(Default::default()),
            http2_protocol_options: Some(http2),
            ..Default::default()
        }),
    };
    let options = upstream::HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(options),
        ..Default::default()
    };
    let packed: Option<Any> = any(&options);
    cluster.typed_extension_protocol_options.extend(packed.map(|any| (HTTP_OPTIONS.to_owned(), any)));
}

/// The clusters that every proxy has: to where the client wanted to go, and to nowhere.
pub(crate) fn fixed(settings: &Settings) -> Vec<Encoded> {
    let passthrough = original_destination(names::PASSTHROUGH, settings, Upstream::AsClient);
    let black_hole = pb::Cluster {
        name: names::BLACK_HOLE.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32)),
        connect_timeout: Some(duration(settings.connect_timeout)),
        load_assignment: Some(crate::endpoints::assignment(names::BLACK_HOLE, &[]).embedded()),
        ..pb::Cluster::default()
    };
    vec![finish(&passthrough, None), finish(&black_hole, None)]
}

/// A cluster that sends each connection to where it was going.
pub(crate) fn original_destination(name: &str, settings: &Settings, upstream: Upstream) -> pb::Cluster {
    let mut cluster = pb::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst as i32)),
        connect_timeout: Some(duration(settings.connect_timeout)),
        lb_policy: LbPolicy::ClusterProvided as i32,
        circuit_breakers: Some(policy::circuit_breakers(None)),
        ..pb::Cluster::default()
    };
    http_options(&mut cluster, upstream, None, None);
    cluster
}
