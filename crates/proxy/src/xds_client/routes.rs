//! Route configurations, whole or by virtual host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lateen_xds::client::{Rejection, Update};
use lateen_xds::pb::envoy::config::route::v3 as rds;

use super::Applier;
use super::apply::{decode, reject};
use crate::config::{RouteTable, Store, VirtualHost};
use crate::convert;

/// Route configurations whose virtual hosts come by VHDS.
#[derive(Default)]
pub(super) struct Routes {
    on_demand: BTreeMap<String, OnDemand>,
}

/// Virtual hosts to put into a route configuration, and names to take out.
type Changes = (Vec<Arc<VirtualHost>>, Vec<Arc<str>>);

#[derive(Default)]
struct OnDemand {
    /// Whether virtual hosts have been asked for and answered.
    answered: bool,
    /// Virtual hosts that stand in the route configuration itself.
    own: Vec<Arc<str>>,
}

impl Routes {
    /// VHDS subscriptions: everything below each such route configuration.
    pub(super) fn patterns(&self) -> BTreeSet<String> {
        self.on_demand.keys().map(|name| format!("{name}/*")).collect()
    }

    /// Whether a route configuration can be used.
    pub(super) fn ready(&self, name: &str, store: &Store) -> bool {
        let answered = self.on_demand.get(name).is_none_or(|routes| routes.answered);
        answered && store.route_slot(name).load().is_some()
    }

    /// The route configuration and the virtual host of `<route configuration>/<virtual host>`.
    fn split<'a>(&self, name: &'a str) -> Option<(&'a str, &'a str)> {
        let mut slashes = name.match_indices('/');
        slashes.find_map(|(at, _)| {
            self.on_demand.contains_key(&name[..at]).then(|| (&name[..at], &name[at + 1..]))
        })
    }
}

impl Applier {
    pub(super) fn routes(&mut self, update: &Update, rejected: &mut Vec<Rejection>) {
        for resource in &update.resources {
            let converted = decode::<rds::RouteConfiguration>(resource).and_then(|message| {
                let converted = convert::route_configuration(&message, &self.context)
                    .map_err(|error| error.to_string())?;
                Ok((message.name, converted))
            });
            let result = match converted {
                Ok((name, converted)) if name == resource.name => self.put_routes(&name, converted),
                Ok((name, _)) => Err(format!("name: is `{name}` in the route configuration")),
                Err(reason) => Err(reason),
            };
            if let Err(reason) = result {
                rejected.push(reject(&resource.name, &reason));
            }
        }
        for name in &update.removed {
            self.routes.on_demand.remove(name);
            self.context.store.remove_routes(name);
        }
    }

    fn put_routes(&mut self, name: &str, converted: convert::ConvertedRoutes) -> Result<(), String> {
        let store = &self.context.store;
        if !converted.on_demand_hosts {
            self.routes.on_demand.remove(name);
            store.put_routes(converted.table);
            return Ok(());
        }
        // Virtual hosts that came by VHDS stay; those of the old configuration itself do not.
        let own: Vec<Arc<str>> = converted.table.hosts().map(|host| host.name.clone()).collect();
        let state = self.routes.on_demand.entry(name.to_owned()).or_default();
        let table: RouteTable = match store.route_slot(name).load() {
            Some(old) => {
                let put = converted.table.hosts().cloned().collect();
                old.with_config(converted.table.config.clone()).with_hosts(put, &state.own)?
            }
            None => converted.table,
        };
        state.own = own;
        store.put_routes(table);
        Ok(())
    }

    pub(super) fn virtual_hosts(&mut self, update: &Update, rejected: &mut Vec<Rejection>) {
        let mut changes: BTreeMap<String, Changes> = BTreeMap::new();
        for resource in &update.resources {
            let Some((routes, name)) = self.routes.split(&resource.name) else {
                rejected.push(reject(&resource.name, "belongs to no route configuration that is known"));
                continue;
            };
            // A server may say that a name does not exist by an empty resource.
            if resource.resource.is_none() {
                changes.entry(routes.to_owned()).or_default().1.push(name.into());
                continue;
            }
            let converted = decode::<rds::VirtualHost>(resource).and_then(|message| {
                convert::virtual_host(&message, &self.context).map_err(|error| error.to_string())
            });
            match converted {
                Ok(mut host) => {
                    host.name = name.into();
                    changes.entry(routes.to_owned()).or_default().0.push(Arc::new(host));
                }
                Err(reason) => rejected.push(reject(&resource.name, &reason)),
            }
        }
        for name in &update.removed {
            if let Some((routes, name)) = self.routes.split(name) {
                changes.entry(routes.to_owned()).or_default().1.push(name.into());
            }
        }
        // An empty response says that there is nothing below what was asked for.
        let nothing = changes.is_empty() && rejected.is_empty();
        for (name, routes) in &mut self.routes.on_demand {
            routes.answered |= nothing || changes.contains_key(name);
        }
        for (routes, (put, removed)) in changes {
            let names: Vec<_> = put.iter().map(|host| host.name.clone()).collect();
            if let Err(reason) = self.context.store.put_virtual_hosts(&routes, put, &removed) {
                rejected.extend(names.iter().map(|name| reject(&format!("{routes}/{name}"), &reason)));
            }
        }
    }
}
