//! `istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig`: ALPN names by which Istio's proxies tell each other
//! what they speak. Source: Istio's proxy, `source/extensions/filters/http/alpn/config.proto`.

use std::sync::Arc;

use prost::Message;

use super::pb::protobuf::Any;
use super::{At, Converted, any};
use crate::config::AlpnOverride;

/// The filter's type.
pub(super) const TYPE: &str = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";

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

/// Reads the filter. Names for HTTP/1.0 are not needed: upstreams are asked in HTTP/1.1 and HTTP/2 alone.
pub(super) fn read(config: &Any, at: &At<'_>) -> Converted<Option<Arc<AlpnOverride>>> {
    let message: FilterConfig = any::decode(config, at)?;
    let mut read = AlpnOverride::default();
    for entry in message.alpn_override {
        let names = || entry.alpn_override.iter().map(|name| name.clone().into_bytes()).collect();
        match entry.upstream_protocol {
            0 => {}
            1 => read.http1 = names(),
            2 => read.http2 = names(),
            other => return Err(at.field("alpn_override").field("upstream_protocol").unsupported(other)),
        }
    }
    Ok((read != AlpnOverride::default()).then(|| Arc::new(read)))
}
