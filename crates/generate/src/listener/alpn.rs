//! Istio's ALPN filter: what clients of the mesh announce in the handshake follows from the protocol of each request.
//! Only Lateen's own proxies know it; Envoy announces what its cluster says.
//!
//! Source: Istio's proxy, `source/extensions/filters/http/alpn/config.proto`; Istio, `ALPNFilter`.

use lateen_xds::istio::{AlpnConfig, AlpnOverride};
use lateen_xds::pb::google::protobuf::Any;
use prost::Message;

pub(super) const NAME: &str = "istio.alpn";

/// The filter's configuration: for each version of HTTP its own names, so that servers know it before the first octet.
pub(super) fn config() -> Any {
    let names = |upstream_protocol: i32, names: [&str; 3]| AlpnOverride {
        upstream_protocol,
        alpn_override: names.map(str::to_owned).to_vec(),
    };
    let config = AlpnConfig {
        alpn_override: vec![
            names(0, ["istio-http/1.0", "istio", "http/1.0"]),
            names(1, ["istio-http/1.1", "istio", "http/1.1"]),
            names(2, ["istio-h2", "istio", "h2"]),
        ],
    };
    Any { type_url: format!("type.googleapis.com/{}", AlpnConfig::NAME), value: config.encode_to_vec() }
}
