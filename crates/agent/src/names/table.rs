//! What names stand for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
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
    table: RwLock<Option<Arc<Table>>>,
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

type Table = HashMap<String, Entry>;

#[derive(Debug, Default)]
struct Entry {
    v4: Box<[Ipv4Addr]>,
    v6: Box<[Ipv6Addr]>,
    /// Whether short names lead to it.
    kubernetes: bool,
}

impl Names {
    /// No table yet.
    pub fn new(place: Place) -> Names {
        let Place { namespace, domain, search, control } = place;
        let (namespace, domain) = (namespace.to_ascii_lowercase(), domain.to_ascii_lowercase());
        // `svc.cluster.local`, with or without the namespace before it.
        let services = domain.strip_prefix(&format!("{namespace}.")).unwrap_or(&domain);
        let mut suffixes = vec![format!(".{namespace}.{services}"), format!(".{services}")];
        suffixes.extend(services.split_once('.').map(|(_, cluster)| format!(".{cluster}")));
        Names {
            table: RwLock::default(),
            suffixes,
            search: search.map(|search| format!(".{search}")),
            control: control.to_ascii_lowercase(),
            turn: AtomicUsize::default(),
            asked: AtomicU64::default(),
            forwarded: AtomicU64::default(),
        }
    }

    /// Puts a table in the place of the last one. Addresses that are none are left out.
    pub fn replace(&self, table: NameTable) {
        let entries = table
            .table
            .into_iter()
            .map(|(host, info)| (host.trim_end_matches('.').to_ascii_lowercase(), Entry::of(&info)));
        let table: Table = entries.filter(|(_, e)| !e.v4.is_empty() || !e.v6.is_empty()).collect();
        tracing::debug!(names = table.len(), "names");
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(table));
    }

    /// Whether there has been a table.
    pub fn is_ready(&self) -> bool {
        self.table().is_some()
    }

    /// Questions, and those among them that were left to others.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.asked.load(Relaxed), self.forwarded.load(Relaxed))
    }

    fn table(&self) -> Option<Arc<Table>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The entry of a name, and the name that it is the canonical one of where that is another.
    fn find<'t, 'n>(&self, table: &'t Table, name: &'n str) -> Option<(&'t Entry, Option<&'n str>)> {
        let stripped = self.search.as_deref().and_then(|search| name.strip_suffix(search));
        let stripped = stripped.filter(|rest| !rest.is_empty());
        // Resolvers try the first search domain before the name itself; they are spared the way through the others.
        self.exact(table, name)
            .map(|entry| (entry, None))
            .or_else(|| stripped.and_then(|rest| Some((self.exact(table, rest)?, stripped))))
            .or_else(|| Some((wildcard(table, name)?, None)))
            .or_else(|| stripped.and_then(|rest| Some((wildcard(table, rest)?, stripped))))
    }

    /// The entry of a full name, or of a Kubernetes service's short one.
    fn exact<'t>(&self, table: &'t Table, name: &str) -> Option<&'t Entry> {
        table.get(name).or_else(|| {
            let full = self.suffixes.iter().map(|suffix| format!("{name}{suffix}"));
            full.filter_map(|full| table.get(&full)).find(|entry| entry.kubernetes)
        })
    }

    /// What becomes of a name that others are asked for and do not know.
    fn unknown(&self, has_table: bool, name: &str) -> RCODE {
        let rest = name.strip_prefix(&self.control);
        let is_control = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        // Before there is a table nobody can say that a name does not exist: the client is to ask again. The control
        // plane's own name is looked for by search domains, of which the wrong ones must be passed.
        if has_table || is_control { RCODE::NameError } else { RCODE::ServerFailure }
    }
}

impl Zone for Names {
    fn look_up(&self, asked: &Asked) -> Verdict {
        self.asked.fetch_add(1, Relaxed);
        let elsewhere = |missing| {
            self.forwarded.fetch_add(1, Relaxed);
            Verdict::Elsewhere { missing }
        };
        let table = self.table();
        let found = table.as_deref().and_then(|table| self.find(table, &asked.name));
        let Some((entry, canonical)) = found else {
            return elsewhere(self.unknown(table.is_some(), &asked.name));
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

impl Entry {
    fn of(info: &NameInfo) -> Entry {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for ip in info.ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()) {
            match ip {
                IpAddr::V4(ip) => v4.push(ip),
                IpAddr::V6(ip) => v6.push(ip),
            }
        }
        let kubernetes = info.registry == NameTable::KUBERNETES;
        Entry { v4: v4.into(), v6: v6.into(), kubernetes }
    }
}

/// The narrowest wildcard that a name falls under.
fn wildcard<'t>(table: &'t Table, name: &str) -> Option<&'t Entry> {
    let parents = name.match_indices('.').map(|(dot, _)| format!("*{}", &name[dot..]));
    parents.chain(["*".to_owned()]).find_map(|parent| table.get(&parent))
}

/// A list, beginning at another place each turn.
fn rotated<T: Copy>(list: &[T], turn: usize) -> impl Iterator<Item = T> {
    let at = if list.is_empty() { 0 } else { turn % list.len() };
    list[at..].iter().chain(&list[..at]).copied()
}

#[cfg(test)]
mod tests;
