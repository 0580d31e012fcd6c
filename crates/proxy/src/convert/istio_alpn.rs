//! `istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig`: ALPN names by which Istio's proxies tell each other
//! what they speak. Source: Istio's proxy, `source/extensions/filters/http/alpn/config.proto`.

use std::sync::Arc;

use lateen_xds::istio::AlpnConfig;

use super::pb::protobuf::Any;
use super::{At, Converted, any};
use crate::config::AlpnOverride;

/// The filter's type.
pub(super) const TYPE: &str = AlpnConfig::NAME;

/// Reads the filter. Names for HTTP/1.0 are not needed: upstreams are asked in HTTP/1.1 and HTTP/2 alone.
pub(super) fn read(config: &Any, at: &At<'_>) -> Converted<Option<Arc<AlpnOverride>>> {
    let message: AlpnConfig = any::decode(config, at)?;
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
