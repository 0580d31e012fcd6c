//! Filter configuration of routes, virtual hosts and weighted clusters.

use std::collections::HashMap;
use std::sync::Arc;

use lateen_xds::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use lateen_xds::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use prost::Name as _;

use super::super::pb::protobuf::Any;
use super::super::pb::rds;
use super::super::{At, Converted, any, http_filter, take};
use crate::config::FilterOverrides;

/// Reads `typed_per_filter_config`.
pub(super) fn read(configs: &HashMap<String, Any>, at: &At<'_>) -> Converted<FilterOverrides> {
    let mut overrides = FilterOverrides::default();
    for (name, config) in configs {
        one(name, config, &mut overrides, &at.field(name))?;
    }
    Ok(overrides)
}

fn one(name: &str, config: &Any, overrides: &mut FilterOverrides, at: &At<'_>) -> Converted<()> {
    use rds::FilterConfig;
    match any::name(config) {
        kind if kind == HttpFault::full_name() => {
            overrides.fault = Some(Arc::new(http_filter::read_fault(&any::decode(config, at)?, at)?));
        }
        kind if kind == CorsPolicy::full_name() => {
            overrides.cors = Some(Arc::new(http_filter::read_cors(&any::decode(config, at)?, at)?));
        }
        kind if kind == FilterConfig::full_name() => {
            let wrapper: FilterConfig = any::decode(config, at)?;
            take!(&wrapper, at, FilterConfig { config, disabled } ignore { is_optional });
            if *disabled {
                overrides.disabled.push(name.into());
            }
            // One level only: a wrapper in a wrapper is no filter's configuration.
            match config {
                Some(inner) if any::is::<FilterConfig>(inner) => {
                    return Err(at.unsupported("a wrapper in a wrapper"));
                }
                Some(inner) => one(name, inner, overrides, at)?,
                None => {}
            }
        }
        _ => match http_filter::istio_type(config).as_deref() {
            // Switches of Istio's metrics by route; the metrics stay on.
            Some("stats.PluginConfig" | "io.istio.http.peer_metadata.Config") => {}
            _ => return Err(at.unsupported(format!("the type {}", config.type_url))),
        },
    }
    Ok(())
}
