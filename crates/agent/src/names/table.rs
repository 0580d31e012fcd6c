//! What names stand for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock};

use lateen_dns::{Asked, RCODE, Records, TYPE, Verdict, Zone, address, alias};
use lateen_xds::istio::{NameInfo, NameTable};

/// Seconds that an answer may be kept: Istio's, short since pods come and go.
const TTL: u32 = 30;

/// From where names are seen.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The pod's namespace, in which services are called by their names alone.
    pub namespace: String,
    /// The node's domain: `default.svc.cluster.local`.
    pub domain: String,
    /// The first domain that the pod's resolver tries behind a name.
    pub search: Option<String>,
    /// The control plane's host, which must be found before there is a table.
    pub control: String,
}

/// The names that the mesh knows.
#[derive(Debug)]
pub struct Names {
    table: RwLock<Table>,
    /// Whether every name has come that there was when the agent asked first.
    ready: AtomicBool,
    /// What makes short names of Kubernetes services full ones, the nearest first.
    suffixes: Vec<String>,
    /// The first search domain with its dot before it.
    search: Option<String>,
    control: String,
    /// Counts answers, so that each begins with another address.
    turn: AtomicUsize,
    asked: AtomicU64,
    forwarded: AtomicU64,
}

type Entries = HashMap<String, Entry>;

#[derive(Debug, Default)]
struct Table {
    entries: Entries,
    /// What came in tables that are not those of one host, by the tables' names.
    wholes: HashMap<String, Vec<String>>,
}

#[derive(Clone, Debug)]
struct Entry {
    v4: Arc<[Ipv4Addr]>,
    v6: Arc<[Ipv6Addr]>,
    /// Whether short names lead to it.
    kubernetes: bool,
}

impl Names {
    /// No name yet.
    pub fn new(place: Place) -> Names {
        let Place { namespace, domain, search, control } = place;
        let (namespace, domain) = (namespace.to_ascii_lowercase(), domain.to_ascii_lowercase());
        // `svc.cluster.local`, with or without the namespace before it.
        let services = domain.strip_prefix(&format!("{namespace}.")).unwrap_or(&domain);
        let mut suffixes = vec![format!(".{namespace}.{services}"), format!(".{services}")];
        suffixes.extend(services.split_once('.').map(|(_, cluster)| format!(".{cluster}")));
        Names {
            table: RwLock::default(),
            ready: AtomicBool::default(),
            suffixes,
            search: search.map(|search| format!(".{search}")),
            control: control.to_ascii_lowercase(),
            turn: AtomicUsize::default(),
            asked: AtomicU64::default(),
            forwarded: AtomicU64::default(),
        }
    }

    /// Puts a table in the place of the last one of its name. Addresses that are none are left out.
    pub fn put(&self, name: &str, table: &NameTable) {
        let is_host = table.table.len() == 1 && table.table.contains_key(name);
        let entries = table.table.iter().map(|(host, info)| (canonical(host), Entry::of(info)));
        let entries: Vec<_> = entries.filter(|(_, e)| !e.v4.is_empty() || !e.v6.is_empty()).collect();
        let mut known = self.table.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(name);
        if !is_host {
            known.wholes.insert(name.to_owned(), entries.iter().map(|(host, _)| host.clone()).collect());
            // Among the tables of hosts this one is the last.
            self.ready.store(true, Release);
        }
        known.entries.extend(entries);
    }

    /// Forgets tables.
    pub fn remove(&self, names: &[String]) {
        if !names.is_empty() {
            let mut known = self.table.write().unwrap_or_else(PoisonError::into_inner);
            names.iter().for_each(|name| known.remove(name));
        }
    }

    /// Whether every name has come that there was when the agent asked first.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Acquire)
    }

    /// Questions, and those among them that were left to others.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.asked.load(Relaxed), self.forwarded.load(Relaxed))
    }

    /// The entry of a name, and the name that it is an alias of where that is another.
    fn find<'n>(&self, name: &'n str) -> Option<(Entry, Option<&'n str>)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let entries = &table.entries;
        let stripped = self.search.as_deref().and_then(|search| name.strip_suffix(search));
        let stripped = stripped.filter(|rest| !rest.is_empty());
        // Resolvers try the first search domain before the name itself; they are spared the way through the others.
        let found = self
            .exact(entries, name)
            .map(|entry| (entry, None))
            .or_else(|| stripped.and_then(|rest| Some((self.exact(entries, rest)?, stripped))))
            .or_else(|| Some((wildcard(entries, name)?, None)))
            .or_else(|| stripped.and_then(|rest| Some((wildcard(entries, rest)?, stripped))));
        found.map(|(entry, of)| (entry.clone(), of))
    }

    /// The entry of a full name, or of a Kubernetes service's short one.
    fn exact<'t>(&self, entries: &'t Entries, name: &str) -> Option<&'t Entry> {
        entries.get(name).or_else(|| {
            let full = self.suffixes.iter().map(|suffix| format!("{name}{suffix}"));
            full.filter_map(|full| entries.get(&full)).find(|entry| entry.kubernetes)
        })
    }

    /// What becomes of a name that others are asked for and do not know.
    fn unknown(&self, name: &str) -> RCODE {
        let rest = name.strip_prefix(&self.control);
        let is_control = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        // Before all names are there nobody can say that one does not exist: the client is to ask again. The control
        // plane's own name is looked for by search domains, of which the wrong ones must be passed.
        if is_control || self.is_ready() { RCODE::NameError } else { RCODE::ServerFailure }
    }
}

impl Zone for Names {
    fn look_up(&self, asked: &Asked) -> Verdict {
        self.asked.fetch_add(1, Relaxed);
        let elsewhere = |missing| {
            self.forwarded.fetch_add(1, Relaxed);
            Verdict::Elsewhere { missing }
        };
        let Some((entry, canonical)) = self.find(&asked.name) else {
            return elsewhere(self.unknown(&asked.name));
        };
        let (v4, v6) = (asked.wants(TYPE::A), asked.wants(TYPE::AAAA));
        if !v4 && !v6 {
            // The pod's name servers may have other records; that the name exists is known.
            return elsewhere(RCODE::NoError);
        }
        let owner = canonical.unwrap_or(&asked.name);
        let turn = self.turn.fetch_add(1, Relaxed);
        let v4 = rotated(&entry.v4, turn).filter(|_| v4).map(IpAddr::V4);
        let v6 = rotated(&entry.v6, turn).filter(|_| v6).map(IpAddr::V6);
        let addresses: Vec<_> = v4.chain(v6).filter_map(|ip| address(owner, TTL, ip)).collect();
        let chain = canonical.filter(|_| !addresses.is_empty()).and_then(|to| alias(&asked.name, TTL, to));
        Verdict::Found(Records {
            answers: chain.into_iter().chain(addresses).collect(),
            ..Records::default()
        })
    }
}

impl Table {
    /// Forgets what came under a name.
    fn remove(&mut self, name: &str) {
        match self.wholes.remove(name) {
            Some(hosts) => hosts.iter().for_each(|host| drop(self.entries.remove(host))),
            None => drop(self.entries.remove(&canonical(name))),
        }
    }
}

impl Entry {
    fn of(info: &NameInfo) -> Entry {
        let ips = || info.ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
        let v4 = ips().filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None });
        let v6 = ips().filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None });
        let kubernetes = info.registry == NameTable::KUBERNETES;
        Entry { v4: v4.collect(), v6: v6.collect(), kubernetes }
    }
}

/// A name as it is looked up.
fn canonical(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// The narrowest wildcard that a name falls under.
fn wildcard<'t>(entries: &'t Entries, name: &str) -> Option<&'t Entry> {
    let parents = name.match_indices('.').map(|(dot, _)| format!("*{}", &name[dot..]));
    parents.chain(["*".to_owned()]).find_map(|parent| entries.get(&parent))
}

/// A list, beginning at another place each turn.
fn rotated<T: Copy>(list: &[T], turn: usize) -> impl Iterator<Item = T> {
    let at = if list.is_empty() { 0 } else { turn % list.len() };
    list[at..].iter().chain(&list[..at]).copied()
}

#[cfg(test)]
mod tests;
