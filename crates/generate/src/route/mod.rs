//! RDS and VHDS: route configurations and their virtual hosts.

pub(crate) mod action;
pub(crate) mod config;
pub(crate) mod filters;
pub(crate) mod gateway;
mod hash;
pub(crate) mod host;
pub(crate) mod matching;
pub(crate) mod rule;
pub(crate) mod sidecar;

/// The match of a route that takes every request.
pub(crate) fn match_all() -> lateen_xds::pb::envoy::config::route::v3::RouteMatch {
    matching::route(None)
}
