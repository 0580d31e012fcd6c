//! How endpoints are found.

use std::time::Duration;

use lateen_xds::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use prost::Name as _;

use super::super::config_source::{self, Source};
use super::super::pb::{cds, eds, protobuf};
use super::super::{At, Converted, any, endpoint, take, values};
use crate::config::{Discovery, DnsDiscovery, DnsFamily, DnsTarget, EndpointSet};

/// Envoy's default of `dns_refresh_rate`.
const DNS_REFRESH: Duration = Duration::from_secs(5);

/// Settings of DNS at the cluster itself.
pub(super) struct DnsSettings<'a> {
    pub(super) refresh: &'a Option<protobuf::Duration>,
    pub(super) family: i32,
}

/// How endpoints are found, with those that are in the configuration.
pub(super) struct Found {
    discovery: Discovery,
    set: Option<EndpointSet>,
}

impl Found {
    pub(super) fn read(
        name: &str,
        kind: &Option<cds::cluster::ClusterDiscoveryType>,
        eds: &Option<cds::cluster::EdsClusterConfig>,
        assignment: &Option<eds::ClusterLoadAssignment>,
        dns: &DnsSettings<'_>,
        at: &At<'_>,
    ) -> Converted<Found> {
        use cds::cluster::{ClusterDiscoveryType, DiscoveryType};
        let kind = match kind {
            Some(ClusterDiscoveryType::ClusterType(custom)) => return custom_type(custom, assignment, at),
            Some(ClusterDiscoveryType::Type(kind)) => {
                DiscoveryType::try_from(*kind).map_err(|_| at.field("type").unsupported(kind))?
            }
            None => DiscoveryType::Static,
        };
        match kind {
            DiscoveryType::Static => {
                let at = at.field("load_assignment");
                let assignment = assignment.as_ref().ok_or_else(|| at.missing())?;
                Ok(Found { discovery: Discovery::Static, set: Some(endpoint::read(assignment, &at)?) })
            }
            DiscoveryType::Eds => {
                if eds.is_none() {
                    return Err(at.field("eds_cluster_config").missing());
                }
                Ok(Found { discovery: Discovery::Eds, set: None })
            }
            DiscoveryType::OriginalDst => {
                if assignment.is_some() {
                    return Err(at.field("load_assignment").error("must not be given for ORIGINAL_DST"));
                }
                Ok(Found { discovery: Discovery::OriginalDst { header: None, port: None }, set: None })
            }
            DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
                let found = DnsDiscovery {
                    targets: targets(assignment, &at.field("load_assignment"))?,
                    refresh: refresh(dns.refresh, &at.field("dns_refresh_rate"))?,
                    family: family(dns.family, &at.field("dns_lookup_family"))?,
                };
                let logical = kind == DiscoveryType::LogicalDns;
                if logical && found.targets.len() != 1 {
                    return Err(at.field("load_assignment").error("LOGICAL_DNS takes exactly one endpoint"));
                }
                let discovery =
                    if logical { Discovery::LogicalDns(found) } else { Discovery::StrictDns(found) };
                Ok(Found { discovery, set: None })
            }
        }
        .map_err(|mut error: super::super::ConvertError| {
            // A cluster is usually one of many; say which one is meant.
            error.reason = format!("{} (cluster {name})", error.reason);
            error
        })
    }

    /// Adds what the load balancer's settings say about original destinations.
    pub(super) fn with_lb_config(
        self,
        config: &Option<cds::cluster::LbConfig>,
        at: &At<'_>,
    ) -> Converted<(Discovery, Option<EndpointSet>)> {
        use cds::cluster::{LbConfig, OriginalDstLbConfig};
        let Found { mut discovery, set } = self;
        if let (Discovery::OriginalDst { header, port }, Some(LbConfig::OriginalDstLbConfig(config))) =
            (&mut discovery, config)
        {
            let at = at.field("original_dst_lb_config");
            take!(config, at, OriginalDstLbConfig { use_http_header, http_header_name, upstream_port_override }
                refuse { metadata_key });
            if *use_http_header {
                let name =
                    if http_header_name.is_empty() { "x-envoy-original-dst-host" } else { http_header_name };
                *header = Some(name.to_ascii_lowercase().into());
            }
            if let Some(value) = upstream_port_override {
                *port = Some(values::port(value.value, &at.field("upstream_port_override"))?);
            }
        }
        Ok((discovery, set))
    }
}

/// The extension that replaces `STRICT_DNS` and `LOGICAL_DNS` in today's Envoy.
fn custom_type(
    custom: &cds::cluster::CustomClusterType,
    assignment: &Option<eds::ClusterLoadAssignment>,
    at: &At<'_>,
) -> Converted<Found> {
    let at = at.field("cluster_type");
    let Some(config) =
        custom.typed_config.as_ref().filter(|config| any::name(config) == DnsCluster::full_name())
    else {
        return Err(at.unsupported(format!("the cluster type {}", custom.name)));
    };
    let at = at.field("typed_config");
    let config: DnsCluster = any::decode(config, &at)?;
    take!(&config, at, DnsCluster { dns_refresh_rate, dns_lookup_family, all_addresses_in_single_endpoint } ignore {
        dns_failure_refresh_rate, respect_dns_ttl, dns_jitter, typed_dns_resolver_config, dns_min_refresh_rate,
    });
    use lateen_xds::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily;
    let family = match DnsLookupFamily::try_from(*dns_lookup_family) {
        Ok(DnsLookupFamily::V4Only) => DnsFamily::V4Only,
        Ok(DnsLookupFamily::V6Only) => DnsFamily::V6Only,
        Ok(DnsLookupFamily::V4Preferred) => DnsFamily::V4Preferred,
        Ok(DnsLookupFamily::All) => DnsFamily::All,
        Ok(DnsLookupFamily::Auto | DnsLookupFamily::Unspecified) => DnsFamily::Auto,
        Err(_) => return Err(at.field("dns_lookup_family").unsupported(dns_lookup_family)),
    };
    let found = DnsDiscovery {
        targets: targets(assignment, &at.field("load_assignment"))?,
        refresh: refresh(dns_refresh_rate, &at.field("dns_refresh_rate"))?,
        family,
    };
    let logical = *all_addresses_in_single_endpoint;
    let discovery = if logical { Discovery::LogicalDns(found) } else { Discovery::StrictDns(found) };
    Ok(Found { discovery, set: None })
}

fn refresh(value: &Option<protobuf::Duration>, at: &At<'_>) -> Converted<Duration> {
    match values::optional_duration(value, at)? {
        Some(refresh) if refresh < Duration::from_millis(1) => Err(at.error("must be at least 1ms")),
        Some(refresh) => Ok(refresh),
        None => Ok(DNS_REFRESH),
    }
}

fn family(value: i32, at: &At<'_>) -> Converted<DnsFamily> {
    use cds::cluster::DnsLookupFamily;
    match DnsLookupFamily::try_from(value) {
        Ok(DnsLookupFamily::Auto) => Ok(DnsFamily::Auto),
        Ok(DnsLookupFamily::V4Only) => Ok(DnsFamily::V4Only),
        Ok(DnsLookupFamily::V6Only) => Ok(DnsFamily::V6Only),
        Ok(DnsLookupFamily::V4Preferred) => Ok(DnsFamily::V4Preferred),
        Ok(DnsLookupFamily::All) => Ok(DnsFamily::All),
        Err(_) => Err(at.unsupported(value)),
    }
}

fn targets(assignment: &Option<eds::ClusterLoadAssignment>, at: &At<'_>) -> Converted<Vec<DnsTarget>> {
    let assignment = assignment.as_ref().ok_or_else(|| at.missing())?;
    let mut targets = Vec::new();
    endpoint::read_each(assignment, at, |address, template, at| {
        let (host, port) = values::host_port(address, at)?;
        targets.push(DnsTarget { host: host.into(), port, template });
        Ok(())
    })?;
    Ok(targets)
}

/// The name under which EDS knows a cluster's endpoints.
pub(super) fn eds_service<'a>(name: &'a str, eds: &'a Option<cds::cluster::EdsClusterConfig>) -> &'a str {
    match eds {
        Some(eds) if !eds.service_name.is_empty() => &eds.service_name,
        _ => name,
    }
}

/// Where a cluster's endpoints come from, and how long they are waited for at first (zero: for ever).
pub(super) fn eds_source(
    eds: &Option<cds::cluster::EdsClusterConfig>,
    at: &At<'_>,
) -> Converted<(Source, Duration)> {
    let at = at.field("eds_cluster_config");
    let config = eds.as_ref().and_then(|eds| eds.eds_config.as_ref());
    config_source::read(config, &at.field("eds_config"))
}
