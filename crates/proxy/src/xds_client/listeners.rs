//! Listeners, which wait for their routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lateen_xds::client::{Rejection, Update};
use lateen_xds::pb::envoy::config::listener::v3::Listener as XdsListener;
use tokio::time::Instant;

use super::Applier;
use super::apply::{add, deadline, decode, reject};
use crate::config::Listener;
use crate::convert;
use crate::tls::SecretSlot;

/// Listeners that wait, and those that are to go.
#[derive(Default)]
pub(super) struct Listeners {
    warming: BTreeMap<String, Warming>,
    removed: Vec<Arc<str>>,
}

struct Warming {
    listener: Listener,
    routes: Vec<Arc<str>>,
    until: Option<Instant>,
    secrets: Vec<Arc<SecretSlot>>,
    secrets_until: Option<Instant>,
}

impl Applier {
    pub(super) fn listeners(&mut self, update: &Update, rejected: &mut Vec<Rejection>) {
        for resource in &update.resources {
            let converted = decode::<XdsListener>(resource).and_then(|message| {
                let converted =
                    convert::listener(&message, &self.context).map_err(|error| error.to_string())?;
                Ok((message.name, converted))
            });
            let (name, converted) = match converted {
                Ok((name, converted)) if name == resource.name => (name, converted),
                Ok((name, _)) => {
                    rejected.push(reject(&resource.name, &format!("name: is `{name}` in the listener")));
                    continue;
                }
                Err(reason) => {
                    rejected.push(reject(&resource.name, &reason));
                    continue;
                }
            };
            let routes: Vec<_> = converted.waits_for_routes.iter().map(|(name, _)| name.clone()).collect();
            // Zero waits for ever, so the longest wait is zero where there is one.
            let wait = match converted.waits_for_routes.iter().map(|(_, wait)| *wait).min() {
                Some(least) if least.is_zero() => least,
                _ => converted.waits_for_routes.iter().map(|(_, wait)| *wait).max().unwrap_or_default(),
            };
            self.interest.listener(&name, routes.clone());
            let warming = Warming {
                listener: converted.listener,
                routes,
                until: deadline(wait),
                secrets_until: deadline(convert::longest_wait(&converted.waits_for_secrets)),
                secrets: converted.waits_for_secrets.into_iter().map(|(slot, _)| slot).collect(),
            };
            self.listeners.warming.insert(name, warming);
        }
        for name in &update.removed {
            self.listeners.warming.remove(name);
            self.interest.listener(name, Vec::new());
            self.listeners.removed.push(name.as_str().into());
        }
    }

    /// Says that the proxy is ready once the first listeners are there; their sockets are bound by then.
    pub(super) fn tell_live(&self) {
        let seen = self.stats.xds[1].attempts.load(Ordering::Relaxed) > 0;
        if seen && self.listeners.warming.is_empty() {
            self.stats.live.store(true, Ordering::Relaxed);
        }
    }

    /// Puts listeners in force that have their routes; tells whether anything changed.
    pub(super) fn settle_listeners(&mut self, now: Instant) -> bool {
        let due: Vec<String> = self
            .listeners
            .warming
            .iter()
            .filter(|(_, warming)| {
                let ready = warming.routes.iter().all(|name| self.routes.ready(name, &self.context.store));
                let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
                (ready || over(warming.until))
                    && (warming.secrets.iter().all(|slot| slot.is_settled()) || over(warming.secrets_until))
            })
            .map(|(name, _)| name.clone())
            .collect();
        let removed = std::mem::take(&mut self.listeners.removed);
        let put: Vec<Listener> = due
            .iter()
            .filter_map(|name| self.listeners.warming.remove(name))
            .map(|warming| warming.listener)
            .collect();
        self.stats.listeners_warming.store(self.listeners.warming.len() as u64, Ordering::Relaxed);
        if put.is_empty() && removed.is_empty() {
            return false;
        }
        let table = self.context.store.listeners();
        let new = put.iter().filter(|listener| !table.by_name.contains_key(&listener.name)).count();
        drop(table);
        add(&self.stats.listeners.added, new);
        add(&self.stats.listeners.modified, put.len() - new);
        add(&self.stats.listeners.removed, removed.len());
        self.context.store.update_listeners(put, &removed);
        true
    }
}
