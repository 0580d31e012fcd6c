//! Patches on route configurations, virtual hosts and routes.

use std::sync::Arc;

use lateen_api::networking::envoy_filter::{
    ApplyTo, ObjectMatch, PatchOperation, RouteAction, RouteConfigurationMatch, RouteMatch,
};
use lateen_xds::pb::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost, route::Action};
use lateen_xds::{Encoded, TypeUrl};
use prost::Message;

use super::memo::Known;
use super::{Patch, Run};
use crate::build::Lists;
use crate::delta::slot;
use crate::route::host;

/// The patches that may change routes.
pub(super) const KINDS: [ApplyTo; 3] =
    [ApplyTo::RouteConfiguration, ApplyTo::VirtualHost, ApplyTo::HttpRoute];

impl Run<'_> {
    /// Patches route configurations, and the virtual hosts that are resources of their own.
    pub(super) fn routes(&self, memo: &mut Known<'_>, lists: &mut Lists) {
        let mut hosts = std::mem::take(&mut lists[slot(TypeUrl::VirtualHost)]);
        let apart = !hosts.is_empty();
        let configs = std::mem::take(&mut lists[slot(TypeUrl::Route)]);
        for config in &configs {
            let patched = memo.one(config, || {
                let Ok(mut routes) = RouteConfiguration::decode(config.body.clone()) else {
                    return Some(config.clone());
                };
                if !self.route_configuration(&mut routes) {
                    return Some(config.clone());
                }
                // Added hosts of a configuration whose hosts are resources of their own come as such.
                routes.virtual_hosts.retain(|_| routes.vhds.is_none());
                Some(Arc::new(Encoded::new(TypeUrl::Route, config.name.clone(), &routes)))
            });
            lists[slot(TypeUrl::Route)].extend(patched);
            if apart {
                hosts.extend(self.added_hosts(&config.name));
            }
        }
        hosts = memo.each(&hosts, |encoded| {
            let (Some((config, _)), Ok(mut host)) =
                (encoded.name.split_once('/'), VirtualHost::decode(encoded.body.clone()))
            else {
                return Some(encoded.clone());
            };
            match self.virtual_host(config, &mut host) {
                Outcome::Same => Some(encoded.clone()),
                Outcome::Changed => Some(Arc::new(host::encode(config, &host))),
                Outcome::Removed => None,
            }
        });
        lists[slot(TypeUrl::VirtualHost)] = hosts;
    }

    fn added_hosts(&self, config: &str) -> Vec<Arc<Encoded>> {
        let adding = self.of(ApplyTo::VirtualHost).filter(|p| p.operation == PatchOperation::Add);
        let hosts = adding.filter(|p| is_config(p, config)).filter_map(|patch| {
            let host = VirtualHost::decode(patch.value.as_slice()).ok()?;
            Some(Arc::new(host::encode(config, &host)))
        });
        hosts.collect()
    }

    /// Patches a route configuration with the hosts within; tells whether it changed.
    pub(super) fn route_configuration(&self, routes: &mut RouteConfiguration) -> bool {
        let before = routes.clone();
        for patch in self.of(ApplyTo::RouteConfiguration).filter(|p| is_config(p, &before.name)) {
            if patch.operation == PatchOperation::Merge
                && let Some(body) = self.merged(patch, &routes.encode_to_vec())
                && let Ok(merged) = RouteConfiguration::decode(body.as_slice())
            {
                *routes = merged;
            }
        }
        for patch in self.of(ApplyTo::VirtualHost).filter(|p| is_config(p, &before.name)) {
            if patch.operation == PatchOperation::Add && routes.vhds.is_none() {
                routes.virtual_hosts.extend(VirtualHost::decode(patch.value.as_slice()));
            }
        }
        routes.virtual_hosts.retain_mut(|host| self.virtual_host(&before.name, host) != Outcome::Removed);
        *routes != before
    }

    fn virtual_host(&self, config: &str, host: &mut VirtualHost) -> Outcome {
        let before = host.clone();
        let meant = |kind| self.of(kind).filter(|p| is_config(p, config) && is_host(p, &before));
        for patch in meant(ApplyTo::VirtualHost) {
            match patch.operation {
                PatchOperation::Remove => return Outcome::Removed,
                PatchOperation::Merge => {
                    let merged = self.merged(patch, &host.encode_to_vec());
                    if let Some(merged) = merged.and_then(|body| VirtualHost::decode(body.as_slice()).ok()) {
                        *host = merged;
                    }
                }
                _ => {}
            }
        }
        for patch in meant(ApplyTo::HttpRoute) {
            self.route(patch, &mut host.routes);
        }
        if *host == before { Outcome::Same } else { Outcome::Changed }
    }

    fn route(&self, patch: &Patch, routes: &mut Vec<Route>) {
        let found = routes.iter().position(|route| is_route(patch, route));
        let place = match (patch.operation, found) {
            (PatchOperation::Remove, _) => return routes.retain(|route| !is_route(patch, route)),
            (PatchOperation::Merge, _) => {
                for route in routes.iter_mut().filter(|route| is_route(patch, route)) {
                    let merged = self.merged(patch, &route.encode_to_vec());
                    if let Some(merged) = merged.and_then(|body| Route::decode(body.as_slice()).ok()) {
                        *route = merged;
                    }
                }
                return;
            }
            (PatchOperation::Add, _) => routes.len(),
            (PatchOperation::InsertFirst, _) => 0,
            (PatchOperation::InsertBefore, Some(at)) => at,
            (PatchOperation::InsertAfter, Some(at)) => at + 1,
            _ => return,
        };
        routes.splice(place..place, Route::decode(patch.value.as_slice()));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Same,
    Changed,
    Removed,
}

fn wanted(patch: &Patch) -> Option<&RouteConfigurationMatch> {
    match &patch.matched.object_types {
        Some(ObjectMatch::RouteConfiguration(wanted)) => Some(wanted),
        _ => None,
    }
}

/// Whether a patch means the route configuration of a name: `9080`, `HOST:PORT`, `http.80`,
/// `https.443.PORTNAME.GATEWAY.NAMESPACE` or `inbound|9080||`.
fn is_config(patch: &Patch, name: &str) -> bool {
    let Some(wanted) = wanted(patch) else { return patch.matched.object_types.is_none() };
    let mut parts = name.split('.');
    let (gateway_port, port_name, gateway) = match parts.next() {
        Some("http") => (parts.next(), None, None),
        Some("https") => {
            let (port, port_name, gateway) = (parts.next(), parts.next(), parts.next());
            (
                port,
                port_name,
                gateway.zip(parts.next()).map(|(name, namespace)| format!("{namespace}/{name}")),
            )
        }
        _ => (None, None, None),
    };
    let number = |text: &str| text.parse::<u32>().ok();
    let inbound = name.strip_prefix("inbound|").and_then(|rest| rest.split('|').next());
    let port = gateway_port.or(inbound).or(name.rsplit(':').next()).and_then(number);
    (wanted.name.is_empty() || wanted.name == name)
        && (wanted.port_number == 0 || port == Some(wanted.port_number))
        && (wanted.port_name.is_empty() || port_name == Some(wanted.port_name.as_str()))
        && (wanted.gateway.is_empty() || gateway.is_some_and(|gateway| gateway == wanted.gateway))
}

fn is_host(patch: &Patch, host: &VirtualHost) -> bool {
    let Some(wanted) = wanted(patch).and_then(|w| w.vhost.as_ref()) else { return true };
    (wanted.name.is_empty() || wanted.name == host.name)
        && (wanted.domain_name.is_empty() || host.domains.contains(&wanted.domain_name))
}

fn is_route(patch: &Patch, route: &Route) -> bool {
    let wanted = wanted(patch).and_then(|w| w.vhost.as_ref()).and_then(|v| v.route.as_ref());
    let Some(RouteMatch { name, action }) = wanted else { return true };
    let does = match action {
        RouteAction::Any => true,
        RouteAction::Route => matches!(route.action, Some(Action::Route(_))),
        RouteAction::Redirect => matches!(route.action, Some(Action::Redirect(_))),
        RouteAction::DirectResponse => matches!(route.action, Some(Action::DirectResponse(_))),
    };
    does && (name.is_empty() || *name == route.name)
}
