//! Istio's ALPN filter: what clients of the mesh announce in the handshake follows from the protocol of each request.
//! Only Lateen's own proxies know it; Envoy announces what its cluster says.
//!
//! Source: Istio's proxy, `source/extensions/filters/http/alpn/config.proto`; Istio, `ALPNFilter`.

use lateen_xds::pb::google::protobuf::Any;
use prost::Message;

pub(super) const NAME: &str = "istio.alpn";

const TYPE: &str = "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";

#[derive(Clone, PartialEq, Message)]
struct FilterConfig {
    #[prost(message, repeated, tag = "1")]
    alpn_override: Vec<Override>,
}

#[derive(Clone, PartialEq, Message)]
struct Override {
    /// 0: HTTP/1.0, 1: HTTP/1.1, 2: HTTP/2.
    #[prost(int32, tag = "1")]
    upstream_protocol: i32,
    #[prost(string, repeated, tag = "2")]
    alpn_override: Vec<String>,
}

/// The filter's configuration: for each version of HTTP its own names, so that servers know it before the first octet.
pub(super) fn config() -> Any {
    let names = |upstream_protocol: i32, names: [&str; 3]| Override {
        upstream_protocol,
        alpn_override: names.map(str::to_owned).to_vec(),
    };
    let config = FilterConfig {
        alpn_override: vec![
            names(0, ["istio-http/1.0", "istio", "http/1.0"]),
            names(1, ["istio-http/1.1", "istio", "http/1.1"]),
            names(2, ["istio-h2", "istio", "h2"]),
        ],
    };
    Any { type_url: TYPE.to_owned(), value: config.encode_to_vec() }
}
