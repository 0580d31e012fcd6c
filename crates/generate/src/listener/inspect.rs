//! Listener filters: where a connection was going, and what its first bytes say.

use lateen_xds::pb::envoy::config::listener::v3::listener_filter_chain_match_predicate::{MatchSet, Rule};
use lateen_xds::pb::envoy::config::listener::v3::{
    FilterChainMatch, ListenerFilter, ListenerFilterChainMatchPredicate, listener_filter,
};
use lateen_xds::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use lateen_xds::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use lateen_xds::pb::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use lateen_xds::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use lateen_xds::pb::envoy::r#type::v3::Int32Range;
use lateen_xds::pb::google::protobuf::Any;

use crate::proto::any;
use crate::proxy::TPROXY_MARK;

/// Asks the kernel where the connection was going before it was redirected.
pub(crate) fn original_destination() -> ListenerFilter {
    filter("envoy.filters.listener.original_dst", any(&OriginalDst {}))
}

/// Lets connections to the application bear the client's address, marked so that their answers come back to the proxy.
///
/// Source: Istio, `sidecar.istio.io/interceptionMode: TPROXY`.
pub(crate) fn original_source() -> ListenerFilter {
    let config = OriginalSrc { mark: TPROXY_MARK, ..OriginalSrc::default() };
    filter("envoy.filters.listener.original_src", any(&config))
}

/// Finds TLS and its server name, but not on these ports, whose clients may wait for the server to speak first.
pub(crate) fn tls(except: &[u16]) -> ListenerFilter {
    let filter = filter("envoy.filters.listener.tls_inspector", any(&TlsInspector::default()));
    ListenerFilter { filter_disabled: ports(except), ..filter }
}

/// Finds HTTP, but not on these ports, whose protocol is declared.
pub(crate) fn http(except: &[u16]) -> ListenerFilter {
    let filter = filter("envoy.filters.listener.http_inspector", any(&HttpInspector {}));
    ListenerFilter { filter_disabled: ports(except), ..filter }
}

fn filter(name: &str, config: Option<Any>) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: config.map(listener_filter::ConfigType::TypedConfig),
        ..ListenerFilter::default()
    }
}

/// Matches any of some ports; Envoy refuses a set of one.
fn ports(list: &[u16]) -> Option<ListenerFilterChainMatchPredicate> {
    let one = |port: &u16| ListenerFilterChainMatchPredicate {
        rule: Some(Rule::DestinationPortRange(Int32Range {
            start: i32::from(*port),
            end: i32::from(*port) + 1,
        })),
    };
    match list {
        [] => None,
        [only] => Some(one(only)),
        many => Some(ListenerFilterChainMatchPredicate {
            rule: Some(Rule::OrMatch(MatchSet { rules: many.iter().map(one).collect() })),
        }),
    }
}

/// Matches plain connections whose first bytes are HTTP's.
pub(crate) fn plain_http() -> FilterChainMatch {
    FilterChainMatch {
        transport_protocol: "raw_buffer".to_owned(),
        application_protocols: vec!["http/1.1".to_owned(), "h2c".to_owned()],
        ..FilterChainMatch::default()
    }
}
