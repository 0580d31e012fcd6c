//! Patches on listeners and what stands in them.

use std::sync::Arc;

use lateen_api::networking::envoy_filter::{ApplyTo, PatchOperation};
use lateen_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use lateen_xds::{Encoded, TypeUrl};
use prost::{Message, Name};

use super::{Patch, Run, matching, route};

/// The patches that may change a listener. Routes stand in those of the inbound side.
pub(super) const KINDS: [ApplyTo; 8] = [
    ApplyTo::Listener,
    ApplyTo::FilterChain,
    ApplyTo::ListenerFilter,
    ApplyTo::NetworkFilter,
    ApplyTo::HttpFilter,
    ApplyTo::RouteConfiguration,
    ApplyTo::VirtualHost,
    ApplyTo::HttpRoute,
];

/// The name of an encoded listener.
pub(super) fn name(body: &[u8]) -> Option<String> {
    Listener::decode(body).ok().map(|listener| listener.name)
}

impl Run<'_> {
    pub(super) fn listener(&self, encoded: &Arc<Encoded>) -> Option<Arc<Encoded>> {
        let Ok(before) = Listener::decode(encoded.body.clone()) else { return Some(encoded.clone()) };
        let mut listener = before.clone();
        let meant = |kind| self.of(kind).filter(|p| matching::listener(p, &before));
        for patch in meant(ApplyTo::Listener) {
            match patch.operation {
                PatchOperation::Remove => return None,
                PatchOperation::Merge => {
                    let merged = self.merged(patch, &listener.encode_to_vec());
                    if let Some(merged) = merged.and_then(|body| Listener::decode(body.as_slice()).ok()) {
                        listener = merged;
                    }
                }
                _ => {}
            }
        }
        for patch in meant(ApplyTo::FilterChain) {
            self.chains(patch, &mut listener);
        }
        for patch in meant(ApplyTo::ListenerFilter) {
            let wanted = matching::wanted(patch).map(|w| w.listener_filter.as_str());
            self.edit(patch, &mut listener.listener_filters, wanted.filter(|name| !name.is_empty()), false);
        }
        let name = listener.name.clone();
        for chain in listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain) {
            let of_chain = |kind| -> Vec<&Arc<Patch>> {
                meant(kind).filter(|p| matching::chain(p, &name, chain)).collect()
            };
            let (network, http) = (of_chain(ApplyTo::NetworkFilter), of_chain(ApplyTo::HttpFilter));
            for patch in network {
                // The last filter of a chain ends it.
                self.edit(patch, &mut chain.filters, matching::filter(patch), true);
            }
            for filter in &mut chain.filters {
                self.manager(&http, filter);
            }
        }
        if listener == before {
            return Some(encoded.clone());
        }
        Some(Arc::new(Encoded::new(TypeUrl::Listener, listener.name.clone(), &listener)))
    }

    fn chains(&self, patch: &Patch, listener: &mut Listener) {
        let name = listener.name.clone();
        match patch.operation {
            PatchOperation::Add => {
                listener.filter_chains.extend(FilterChain::decode(patch.value.as_slice()));
            }
            PatchOperation::Remove => {
                listener.filter_chains.retain(|chain| !matching::chain(patch, &name, chain));
                let rest = listener.default_filter_chain.take();
                listener.default_filter_chain = rest.filter(|chain| !matching::chain(patch, &name, chain));
            }
            PatchOperation::Merge => {
                for chain in listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain) {
                    if !matching::chain(patch, &name, chain) {
                        continue;
                    }
                    let merged = self.merged(patch, &chain.encode_to_vec());
                    if let Some(merged) = merged.and_then(|body| FilterChain::decode(body.as_slice()).ok()) {
                        *chain = merged;
                    }
                }
            }
            _ => {}
        }
    }

    /// Patches the HTTP filters of a connection manager, and the routes that stand in it.
    fn manager(&self, patches: &[&Arc<Patch>], filter: &mut Filter) {
        let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else { return };
        if !config.type_url.ends_with(&HttpConnectionManager::full_name()) {
            return;
        }
        let routed = self.patches.any_of(&route::KINDS, self.context);
        let Ok(before) = HttpConnectionManager::decode(config.value.as_slice()) else { return };
        let mut manager = before.clone();
        for patch in patches {
            let named = matching::filter(patch).is_none_or(|name| name == filter.name);
            if named {
                self.edit(patch, &mut manager.http_filters, matching::http_filter(patch), true);
            }
        }
        if let Some(RouteSpecifier::RouteConfig(routes)) = &mut manager.route_specifier
            && routed
        {
            self.route_configuration(routes);
        }
        if manager != before {
            config.value = manager.encode_to_vec();
        }
    }
}
