//! Filter configuration of routes, virtual hosts and weighted clusters.

use std::collections::HashMap;
use std::sync::Arc;

use lateen_xds::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use lateen_xds::pb::envoy::extensions::filters::http::ext_authz::v3::ExtAuthzPerRoute;
use lateen_xds::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::PerRouteConfig;
use lateen_xds::pb::envoy::extensions::filters::http::rbac::v3::RbacPerRoute;
use prost::Name as _;

use super::super::pb::protobuf::Any;
use super::super::pb::rds;
use super::super::{At, Context, Converted, any, ext_authz, http_filter, jwt, rbac, take};
use crate::config::{FilterOverrides, PolicyOverride};

/// Reads `typed_per_filter_config`.
pub(super) fn read(
    configs: &HashMap<String, Any>,
    context: &Context,
    at: &At<'_>,
) -> Converted<FilterOverrides> {
    let mut overrides = FilterOverrides::default();
    for (name, config) in configs {
        one(name, config, &mut overrides, context, &at.field(name))?;
    }
    Ok(overrides)
}

fn one(
    name: &str,
    config: &Any,
    overrides: &mut FilterOverrides,
    context: &Context,
    at: &At<'_>,
) -> Converted<()> {
    use rds::FilterConfig;
    match any::name(config) {
        kind if kind == HttpFault::full_name() => {
            overrides.fault = Some(Arc::new(http_filter::read_fault(&any::decode(config, at)?, at)?));
        }
        kind if kind == CorsPolicy::full_name() => {
            overrides.cors = Some(Arc::new(http_filter::read_cors(&any::decode(config, at)?, at)?));
        }
        kind if kind == RbacPerRoute::full_name() => {
            let filter = rbac::read_route(&any::decode(config, at)?, context, at)?;
            overrides.policies.push((name.into(), PolicyOverride::Rbac(filter.map(Arc::new))));
        }
        kind if kind == PerRouteConfig::full_name() => {
            let own = jwt::read_route(&any::decode(config, at)?, at)?;
            overrides.policies.push((name.into(), PolicyOverride::Jwt(own)));
        }
        kind if kind == ExtAuthzPerRoute::full_name() => {
            let own = ext_authz::read_route(&any::decode(config, at)?, context, at)?;
            overrides.policies.push((name.into(), PolicyOverride::ExtAuthz(own)));
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
                Some(inner) => one(name, inner, overrides, context, at)?,
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
