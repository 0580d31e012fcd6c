//! The protocol that is spoken upstream, by `HttpProtocolOptions` or the older fields of the cluster.

use std::collections::HashMap;
use std::time::Duration;

use lateen_xds::pb::envoy::extensions::upstreams::http::v3 as upstream;

use super::super::pb::{core, protobuf};
use super::super::{At, Converted, any, take, values};
use super::TransportOptions;
use crate::config::{Cluster, Http2Options, UpstreamProtocol};

/// The older fields of the cluster.
pub(super) struct Legacy<'a> {
    pub(super) common: &'a Option<core::HttpProtocolOptions>,
    pub(super) http2: &'a Option<core::Http2ProtocolOptions>,
    pub(super) upstream: &'a Option<core::UpstreamHttpProtocolOptions>,
    pub(super) selection: i32,
    pub(super) max_requests: &'a Option<protobuf::UInt32Value>,
}

const EXTENSION: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Reads the protocol into the cluster.
pub(super) fn apply(
    legacy: Legacy<'_>,
    typed: &HashMap<String, protobuf::Any>,
    cluster: &mut Cluster,
    transport: &mut TransportOptions,
    at: &At<'_>,
) -> Converted<()> {
    const USE_DOWNSTREAM: i32 = 1;
    if let Some(common) = legacy.common {
        common_options(common, cluster, &at.field("common_http_protocol_options"))?;
    }
    if let Some(http2) = legacy.http2 {
        cluster.protocol = UpstreamProtocol::Http2;
        cluster.http2 = http2_options(http2, &at.field("http2_protocol_options"))?;
    }
    if legacy.selection == USE_DOWNSTREAM {
        cluster.protocol = UpstreamProtocol::Downstream;
    }
    if let Some(limit) = legacy.max_requests {
        cluster.max_requests_per_connection = Some(limit.value).filter(|limit| *limit > 0);
    }
    if let Some(options) = legacy.upstream {
        upstream_options(options, transport, &at.field("upstream_http_protocol_options"))?;
    }
    let field = at.field("typed_extension_protocol_options");
    for (name, options) in typed {
        if name != EXTENSION {
            return Err(field.field(name).error("is not supported"));
        }
        let at = field.field(name);
        extension(&any::expect(options, &at)?, cluster, transport, &at)?;
    }
    transport.alpn = match cluster.protocol {
        // A server that is not asked speaks HTTP/1.1; a TCP proxy may use the cluster as well.
        UpstreamProtocol::Http1 => &[],
        UpstreamProtocol::Http2 => &["h2"],
        UpstreamProtocol::Auto => &["h2", "http/1.1"],
        // It is known with the request alone.
        UpstreamProtocol::Downstream => &[],
    };
    Ok(())
}

fn extension(
    options: &upstream::HttpProtocolOptions,
    cluster: &mut Cluster,
    transport: &mut TransportOptions,
    at: &At<'_>,
) -> Converted<()> {
    use upstream::HttpProtocolOptions;
    use upstream::http_protocol_options::UpstreamProtocolOptions as Kind;
    use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
    take!(options, at, HttpProtocolOptions {
        common_http_protocol_options, upstream_http_protocol_options, http_filters, upstream_protocol_options,
    } ignore { header_validation_config } refuse { outlier_detection, request_mirror_policies, hash_policy, retry_policy });
    if let Some(common) = common_http_protocol_options {
        common_options(common, cluster, &at.field("common_http_protocol_options"))?;
    }
    if let Some(options) = upstream_http_protocol_options {
        upstream_options(options, transport, &at.field("upstream_http_protocol_options"))?;
    }
    // The codec filter only stands for the end of the chain.
    if let Some(filter) =
        http_filters.iter().find(|filter| filter.name != "envoy.filters.http.upstream_codec")
    {
        return Err(at.field("http_filters").unsupported(format!("the filter {}", filter.name)));
    }
    let (protocol, http2) = match upstream_protocol_options {
        Some(Kind::ExplicitHttpConfig(config)) => match &config.protocol_config {
            Some(ProtocolConfig::Http2ProtocolOptions(http2)) => (UpstreamProtocol::Http2, Some(http2)),
            Some(ProtocolConfig::HttpProtocolOptions(_)) | None => (UpstreamProtocol::Http1, None),
            Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                return Err(at.field("explicit_http_config").unsupported("HTTP/3"));
            }
        },
        Some(Kind::UseDownstreamProtocolConfig(config)) => {
            (UpstreamProtocol::Downstream, config.http2_protocol_options.as_ref())
        }
        Some(Kind::AutoConfig(config)) => {
            if config.http3_protocol_options.is_some() {
                return Err(at.field("auto_config").unsupported("HTTP/3"));
            }
            (UpstreamProtocol::Auto, config.http2_protocol_options.as_ref())
        }
        None => (UpstreamProtocol::Http1, None),
    };
    cluster.protocol = protocol;
    if let Some(http2) = http2 {
        cluster.http2 = http2_options(http2, &at.field("http2_protocol_options"))?;
    }
    Ok(())
}

fn upstream_options(
    options: &core::UpstreamHttpProtocolOptions,
    transport: &mut TransportOptions,
    at: &At<'_>,
) -> Converted<()> {
    use core::UpstreamHttpProtocolOptions;
    take!(
        options,
        at,
        UpstreamHttpProtocolOptions { auto_sni, auto_san_validation, override_auto_sni_header }
    );
    if override_auto_sni_header.starts_with(':') && override_auto_sni_header != ":authority" {
        return Err(at.field("override_auto_sni_header").error("must be a header's name, or `:authority`"));
    }
    let header = if override_auto_sni_header.is_empty() { ":authority" } else { override_auto_sni_header };
    transport.auto_sni = auto_sni.then(|| header.to_ascii_lowercase().into());
    transport.auto_san_validation = *auto_san_validation;
    Ok(())
}

fn common_options(options: &core::HttpProtocolOptions, cluster: &mut Cluster, at: &At<'_>) -> Converted<()> {
    use core::HttpProtocolOptions;
    take!(options, at, HttpProtocolOptions { idle_timeout, max_connection_duration, max_requests_per_connection } ignore {
        max_connection_duration_jitter, max_response_headers_kb, headers_with_underscores_action,
    } refuse { max_headers_count, max_stream_duration });
    let hour = Some(Duration::from_secs(3600));
    cluster.idle_timeout = values::timeout(idle_timeout, hour, &at.field("idle_timeout"))?;
    cluster.max_connection_duration =
        values::timeout(max_connection_duration, None, &at.field("max_connection_duration"))?;
    if let Some(limit) = max_requests_per_connection {
        cluster.max_requests_per_connection = Some(limit.value).filter(|limit| *limit > 0);
    }
    Ok(())
}

/// HTTP/2 settings of either side.
pub(in crate::convert) fn http2_options(
    options: &core::Http2ProtocolOptions,
    at: &At<'_>,
) -> Converted<Http2Options> {
    use core::Http2ProtocolOptions;
    take!(options, at, Http2ProtocolOptions {
        max_concurrent_streams, initial_stream_window_size, initial_connection_window_size,
    } ignore {
        hpack_table_size, allow_connect, max_outbound_frames, max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload, max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent, stream_error_on_invalid_http_messaging,
        override_stream_error_on_invalid_http_message, use_oghttp2_codec, max_metadata_size, enable_huffman_encoding,
        max_header_field_size_kb, disallow_obs_text, connection_keepalive, stream_reset_burst, stream_reset_rate,
    } refuse { allow_metadata, custom_settings_parameters });
    let defaults = Http2Options::default();
    let window = |value: &Option<protobuf::UInt32Value>, default: u32, name: &str| -> Converted<u32> {
        match values::u32_or(value, default) {
            size @ 65_535..=0x7fff_ffff => Ok(size),
            size => Err(at.field(name).error(format!("{size} is not between 65535 and 2147483647"))),
        }
    };
    Ok(Http2Options {
        max_concurrent_streams: values::u32_or(max_concurrent_streams, defaults.max_concurrent_streams)
            .max(1),
        stream_window: window(
            initial_stream_window_size,
            defaults.stream_window,
            "initial_stream_window_size",
        )?,
        connection_window: window(
            initial_connection_window_size,
            defaults.connection_window,
            "initial_connection_window_size",
        )?,
    })
}
