//! Values of the policy filters under Envoy's names: `http.<prefix>.rbac.*`, `tcp.rbac.*` and the like.

use std::collections::BTreeMap;

use super::{Kind, Metric};
use crate::config::{
    ExtAuthzFilter, FilterChain, HttpFilter, JwtFilter, KeySource, NetworkFilter, RbacFilter, Terminal,
};

/// A name without its variable part, and that part: the prefix of a connection manager.
type Name = (String, Option<String>);

/// Adds the counters of a chain's filters; those of several chains add up by name.
pub(super) fn chain(chain: &FilterChain, sums: &mut BTreeMap<Name, u64>) {
    for filter in &chain.filters {
        match filter {
            // Envoy's prefix of network filters ends with a dot of its own (Istio's is `tcp.`).
            NetworkFilter::Rbac(filter) => {
                rbac(filter, &format!("{}rbac.", filter.stat_prefix), "", None, sums);
            }
            NetworkFilter::ExtAuthz(filter) => {
                ext_authz(filter, &format!("ext_authz.{}.", filter.stat_prefix), None, sums);
            }
            NetworkFilter::Extension(_) => {}
        }
    }
    let Terminal::Http(manager) = &chain.terminal else { return };
    for filter in &manager.filters {
        match filter {
            HttpFilter::Rbac(_, filter) => {
                rbac(filter, "http.rbac.", &filter.stat_prefix, Some(&manager.stat_prefix), sums);
            }
            HttpFilter::ExtAuthz(_, filter) => {
                let base = format!("http.ext_authz.{}", filter.stat_prefix);
                ext_authz(filter, &base, Some(&manager.stat_prefix), sums);
            }
            HttpFilter::Jwt(_, filter) => jwt(filter, &manager.stat_prefix, sums),
            _ => {}
        }
    }
}

fn rbac(filter: &RbacFilter, base: &str, own: &str, manager: Option<&str>, sums: &mut BTreeMap<Name, u64>) {
    for (name, value) in filter.stats.read() {
        let prefix = if name.starts_with("shadow_") { &filter.shadow_stat_prefix } else { own };
        add(format!("{base}{prefix}{name}"), manager, value, sums);
    }
}

fn ext_authz(filter: &ExtAuthzFilter, base: &str, manager: Option<&str>, sums: &mut BTreeMap<Name, u64>) {
    for (counter, value) in filter.stats.read() {
        add(format!("{base}{counter}"), manager, value, sums);
    }
}

fn jwt(filter: &JwtFilter, manager: &str, sums: &mut BTreeMap<Name, u64>) {
    let name = |counter: &str| format!("http.jwt_authn.{}{counter}", filter.stat_prefix);
    for (counter, value) in filter.stats.read() {
        add(name(counter), Some(manager), value, sums);
    }
    for provider in &filter.providers {
        if let KeySource::Remote(keys) = &provider.keys {
            let (succeeded, failed) = keys.counts();
            add(name("jwks_fetch_success"), Some(manager), succeeded, sums);
            add(name("jwks_fetch_failed"), Some(manager), failed, sums);
        }
    }
}

fn add(name: String, manager: Option<&str>, value: u64, sums: &mut BTreeMap<Name, u64>) {
    let sum = sums.entry((name, manager.map(str::to_owned))).or_default();
    *sum = sum.wrapping_add(value);
}

/// The value under its name.
pub(super) fn metric((base, manager): Name, value: u64) -> Metric {
    let Some(manager) = manager else { return Metric::plain(&base, Kind::Counter, value) };
    let rest = base.strip_prefix("http.").unwrap_or(&base);
    Metric {
        name: format!("http.{manager}.{rest}"),
        labels: vec![("envoy_http_conn_manager_prefix", manager)],
        kind: Kind::Counter,
        value,
        base,
        histogram: None,
    }
}
