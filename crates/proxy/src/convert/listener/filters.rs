//! Listener filters.

use std::ops::RangeInclusive;

use lateen_xds::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use lateen_xds::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use lateen_xds::pb::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use lateen_xds::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use lateen_xds::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use prost::Name as _;

use super::super::pb::lds;
use super::super::{At, Converted, any, take};
use crate::config::{ListenerFilters, OriginalSource, PortExceptions, ProxyProtocol as Expect};

/// Reads the listener filters.
pub(super) fn read(filters: &[lds::ListenerFilter], at: &At<'_>) -> Converted<ListenerFilters> {
    use lds::listener_filter::ConfigType;
    let mut read = ListenerFilters::default();
    for (index, filter) in filters.iter().enumerate() {
        let at = at.index(index);
        let off = match &filter.filter_disabled {
            Some(predicate) => exceptions(predicate, &at.field("filter_disabled"))?,
            None => Vec::new(),
        };
        let config = match &filter.config_type {
            Some(ConfigType::TypedConfig(config)) => config,
            Some(ConfigType::ConfigDiscovery(_)) => {
                return Err(at.field("config_discovery").error("is not supported"));
            }
            None => return Err(at.field("typed_config").missing()),
        };
        let field = at.field("typed_config");
        match any::name(config) {
            name if name == OriginalDst::full_name() => read.original_dst = true,
            name if name == OriginalSrc::full_name() => {
                if filter.filter_disabled.is_some() {
                    return Err(at.field("filter_disabled").error("is not supported for original_src"));
                }
                let config: OriginalSrc = any::decode(config, &field)?;
                take!(&config, field, OriginalSrc { bind_port, mark });
                if *bind_port {
                    return Err(field
                        .field("bind_port")
                        .error("is not supported: the kernel chooses the port"));
                }
                // Envoy: 0 sets no mark.
                read.original_src = Some(OriginalSource { mark: Some(*mark).filter(|mark| *mark != 0) });
            }
            name if name == TlsInspector::full_name() => {
                let config: TlsInspector = any::decode(config, &field)?;
                take!(&config, at, TlsInspector {} ignore {
                    enable_ja3_fingerprinting, enable_ja4_fingerprinting, initial_read_buffer_size,
                    close_connection_on_client_hello_parsing_errors, max_client_hello_size,
                });
                read.tls_inspector = Some(off);
            }
            name if name == HttpInspector::full_name() => read.http_inspector = Some(off),
            name if name == ProxyProtocol::full_name() => {
                let config: ProxyProtocol = any::decode(config, &field)?;
                take!(&config, field, ProxyProtocol { allow_requests_without_proxy_protocol } ignore {
                    rules, pass_through_tlvs, stat_prefix, tlv_location,
                } refuse { disallowed_versions });
                read.proxy_protocol = Some(Expect { optional: *allow_requests_without_proxy_protocol });
            }
            name => return Err(at.unsupported(format!("the listener filter {} ({name})", filter.name))),
        }
    }
    Ok(read)
}

/// Ports for which a filter is off: what Istio generates of the predicate language.
fn exceptions(predicate: &lds::ListenerFilterChainMatchPredicate, at: &At<'_>) -> Converted<PortExceptions> {
    use lds::listener_filter_chain_match_predicate::Rule;
    match predicate.rule.as_ref().ok_or_else(|| at.missing())? {
        Rule::AnyMatch(true) => Ok(vec![0..=u16::MAX]),
        Rule::AnyMatch(false) => Ok(Vec::new()),
        Rule::DestinationPortRange(range) => {
            let port = |value: i32| u16::try_from(value.clamp(0, 65_535)).unwrap_or(u16::MAX);
            // The end is exclusive.
            let range: RangeInclusive<u16> = port(range.start)..=port(range.end - 1);
            Ok(if range.is_empty() { Vec::new() } else { vec![range] })
        }
        Rule::OrMatch(set) => {
            let mut all = Vec::new();
            for (index, rule) in set.rules.iter().enumerate() {
                all.extend(exceptions(rule, &at.field("or_match").index(index))?);
            }
            Ok(all)
        }
        Rule::NotMatch(inner) => {
            let on = exceptions(inner, &at.field("not_match"))?;
            Ok(complement(&on))
        }
        Rule::AndMatch(_) => Err(at.field("and_match").error("is not supported")),
    }
}

fn complement(ranges: &[RangeInclusive<u16>]) -> PortExceptions {
    let mut sorted: Vec<_> = ranges.to_vec();
    sorted.sort_by_key(|range| *range.start());
    let (mut rest, mut next) = (Vec::new(), 0u32);
    for range in sorted {
        if u32::from(*range.start()) > next {
            // `next` is at most 65,535 here, as it is below a port.
            rest.push(next as u16..=range.start() - 1);
        }
        next = next.max(u32::from(*range.end()) + 1);
    }
    if let Ok(next) = u16::try_from(next) {
        rest.push(next..=u16::MAX);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_source_bears_its_mark() {
        let source = |config: OriginalSrc, filter_disabled| {
            let config_type = Some(lds::listener_filter::ConfigType::TypedConfig(lateen_xds::any(&config)));
            let filter = lds::ListenerFilter { config_type, filter_disabled, ..Default::default() };
            read(&[filter], &At::root("listener_filters")).map(|filters| filters.original_src)
        };
        let marked = |mark| OriginalSrc { mark, ..OriginalSrc::default() };
        assert_eq!(source(marked(1337), None).unwrap(), Some(OriginalSource { mark: Some(1337) }));
        assert_eq!(source(marked(0), None).unwrap(), Some(OriginalSource { mark: None }));
        let error = source(OriginalSrc { bind_port: true, mark: 0 }, None).unwrap_err().to_string();
        assert!(error.contains("[0].typed_config.bind_port"), "{error}");
        let error = source(marked(0), Some(Default::default())).unwrap_err().to_string();
        assert!(error.contains("[0].filter_disabled"), "{error}");
    }

    #[test]
    fn the_complement_of_ports_is_all_others() {
        assert_eq!(complement(&[80..=80, 443..=443]), [0..=79, 81..=442, 444..=65_535]);
        assert_eq!(complement(&[0..=65_535]), []);
        assert_eq!(complement(&[]), [0..=65_535]);
    }
}
