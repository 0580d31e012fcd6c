//! Route tables: swapped as a whole by one pointer, rebuilt from virtual hosts that did not change.

use super::headers::LevelEdits;
use super::policy::MirrorPolicy;
use super::route::{DomainIndex, VirtualHost};
use arc_swap::ArcSwapOption;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a route configuration says beside its virtual hosts.
#[derive(Debug, Default)]
pub struct RouteConfig {
    /// Name.
    pub name: Arc<str>,
    /// Header edits of this level.
    pub edits: LevelEdits,
    /// Apply the edits of the most specific level last (`most_specific_header_mutations_wins`).
    pub most_specific_wins: bool,
    /// Lower-case headers that only may come from inside; removed from outside requests.
    pub internal_only_headers: Vec<Box<str>>,
    /// Match domains without the port.
    pub ignore_port: bool,
    /// Most bytes of a direct response; 4,096 by default.
    pub max_direct_response: u32,
    /// Copies of requests whose route asks for none.
    pub mirrors: Vec<MirrorPolicy>,
    /// Virtual hosts come one by one (VHDS).
    pub on_demand_hosts: bool,
}

/// A route configuration with its virtual hosts, indexed.
#[derive(Debug)]
pub struct RouteTable {
    /// What it says beside its virtual hosts.
    pub config: Arc<RouteConfig>,
    hosts: BTreeMap<Arc<str>, Arc<VirtualHost>>,
    index: DomainIndex,
}

impl RouteTable {
    /// Indexes a route configuration.
    ///
    /// # Errors
    /// Two virtual hosts claim one domain.
    pub fn new(config: Arc<RouteConfig>, hosts: Vec<Arc<VirtualHost>>) -> Result<Self, String> {
        let hosts: BTreeMap<_, _> = hosts.into_iter().map(|host| (host.name.clone(), host)).collect();
        let index = DomainIndex::new(hosts.values())?;
        Ok(RouteTable { config, hosts, index })
    }

    /// The table with some virtual hosts put in (or replaced) and others taken out.
    ///
    /// # Errors
    /// Two virtual hosts claim one domain.
    pub fn with_hosts(&self, put: Vec<Arc<VirtualHost>>, remove: &[Arc<str>]) -> Result<Self, String> {
        let mut hosts = self.hosts.clone();
        for name in remove {
            hosts.remove(name);
        }
        hosts.extend(put.into_iter().map(|host| (host.name.clone(), host)));
        let index = DomainIndex::new(hosts.values())?;
        Ok(RouteTable { config: self.config.clone(), hosts, index })
    }

    /// The table with another configuration beside the same virtual hosts.
    pub fn with_config(&self, config: Arc<RouteConfig>) -> Self {
        RouteTable { config, hosts: self.hosts.clone(), index: self.index.clone() }
    }

    /// All virtual hosts by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        self.hosts.values()
    }

    /// The virtual host for an authority (any case, with or without port).
    pub fn find(&self, authority: &[u8]) -> Option<&Arc<VirtualHost>> {
        let text = std::str::from_utf8(authority).ok()?;
        let text = if self.config.ignore_port { without_port(text) } else { text };
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.index.find(&text.to_ascii_lowercase());
        }
        self.index.find(text)
    }
}

/// `host:port` without its port; IPv6 literals keep their brackets.
pub fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if at + 1 < authority.len() && authority[at + 1..].bytes().all(|b| b.is_ascii_digit()) => {
            let host = &authority[..at];
            if host.contains(':') && !host.ends_with(']') { authority } else { host }
        }
        _ => authority,
    }
}

/// The place where the current table of one route configuration name stands.
#[derive(Debug)]
pub struct RouteSlot {
    /// Name of the route configuration.
    pub name: Arc<str>,
    current: ArcSwapOption<RouteTable>,
}

impl RouteSlot {
    /// An empty place: requests get 404 until a table comes.
    pub fn empty(name: impl Into<Arc<str>>) -> Self {
        RouteSlot { name: name.into(), current: ArcSwapOption::empty() }
    }

    /// A place that holds `table`.
    pub fn holding(table: RouteTable) -> Self {
        let name = table.config.name.clone();
        RouteSlot { name, current: ArcSwapOption::from_pointee(table) }
    }

    /// The current table.
    pub fn load(&self) -> Option<Arc<RouteTable>> {
        self.current.load_full()
    }

    /// Swaps the table.
    pub fn store(&self, table: Option<Arc<RouteTable>>) {
        self.current.store(table);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, domain: &str) -> Arc<VirtualHost> {
        Arc::new(VirtualHost { name: name.into(), domains: vec![domain.into()], ..VirtualHost::default() })
    }

    #[test]
    fn authorities_match_without_case() {
        let table = RouteTable::new(Arc::default(), vec![host("a", "a.com")]).unwrap();
        assert_eq!(&*table.find(b"A.com").unwrap().name, "a");
        assert!(table.find(b"a.com:80").is_none());
    }

    #[test]
    fn a_virtual_host_is_replaced_and_the_others_stay() {
        let table = RouteTable::new(Arc::default(), vec![host("a", "a"), host("b", "b")]).unwrap();
        let next = table.with_hosts(vec![host("a", "x")], &["none".into()]).unwrap();
        assert!(next.find(b"a").is_none());
        assert!(Arc::ptr_eq(next.find(b"b").unwrap(), table.find(b"b").unwrap()));
    }

    #[test]
    fn ports_are_taken_off_hosts_and_ipv6_literals() {
        assert_eq!(without_port("a:80"), "a");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("::1"), "::1");
    }
}
