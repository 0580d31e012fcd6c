//! Answers from the catalog.

use std::net::Ipv4Addr;

use lateen_dns::rdata::{PTR, SOA, SRV};
use lateen_dns::{Asked, Name, RCODE, RData, Records, ResourceRecord, TYPE, Verdict, Zone};

use super::zone::{self, DOMAIN, Found, Lookup};
use crate::cluster::Catalog;

/// Seconds that an answer may be kept.
const TTL: u32 = 5;
/// Names that may be followed from one alias to the next.
const MAX_ALIASES: usize = 8;

impl Zone for Catalog {
    fn look_up(&self, asked: &Asked) -> Verdict {
        let mut records = Records::default();
        let mut missing = false;
        if let Some(ip) = reverse_address(&asked.name) {
            match zone::reverse(self, ip) {
                Some(name) => {
                    records.answers.extend(name_record(&asked.name, &name, |n| RData::PTR(PTR(n))));
                }
                None if is_ours(ip) => missing = true,
                None => return Verdict::Elsewhere { missing: RCODE::NameError },
            }
        } else {
            match zone::lookup(self, &asked.name) {
                Lookup::Foreign => return Verdict::Elsewhere { missing: RCODE::NameError },
                Lookup::Missing => missing = true,
                Lookup::Found(found) => fill(&mut records, self, asked, found),
            }
        }
        if records.answers.is_empty() {
            records.authority.extend(authority());
        }
        if missing { Verdict::Missing(records) } else { Verdict::Found(records) }
    }
}

fn fill(records: &mut Records, catalog: &Catalog, asked: &Asked, mut found: Found) {
    let mut owner = asked.name.clone();
    for _ in 0..MAX_ALIASES {
        let Some(alias) = found.alias.take() else { break };
        records.answers.extend(lateen_dns::alias(&owner, TTL, &alias));
        // The rest of a foreign chain is the client's resolver's to find.
        let Lookup::Found(next) = zone::lookup(catalog, &alias) else { return };
        (owner, found) = (alias, next);
    }
    if asked.wants(TYPE::A) {
        let addresses = found.addresses.iter();
        records.answers.extend(addresses.filter_map(|ip| lateen_dns::address(&owner, TTL, (*ip).into())));
    }
    if asked.wants(TYPE::SRV) {
        for (port, target) in &found.services {
            records.answers.extend(name_record(&owner, target, |target| {
                RData::SRV(SRV { priority: 0, weight: 100, port: *port, target })
            }));
            if let Lookup::Found(behind) = zone::lookup(catalog, target) {
                let addresses = behind.addresses.into_iter();
                records
                    .additional
                    .extend(addresses.filter_map(|ip| lateen_dns::address(target, TTL, ip.into())));
            }
        }
    }
}

fn name_record(
    owner: &str,
    target: &str,
    make: impl FnOnce(Name<'static>) -> RData<'static>,
) -> Option<ResourceRecord<'static>> {
    // A service's external name may be no DNS name: then there is no record.
    lateen_dns::record(owner, TTL, make(Name::new(target).ok()?.into_owned()))
}

/// Says for how long a missing name may be remembered (RFC 2308).
fn authority() -> Option<ResourceRecord<'static>> {
    let soa = SOA {
        mname: Name::new("ns.dns.cluster.local").ok()?,
        rname: Name::new("hostmaster.cluster.local").ok()?,
        serial: 1,
        refresh: 7200,
        retry: 1800,
        expire: 86400,
        minimum: TTL,
    };
    lateen_dns::record(DOMAIN, TTL, RData::SOA(soa))
}

/// The address in `4.3.2.1.in-addr.arpa`.
fn reverse_address(name: &str) -> Option<Ipv4Addr> {
    let reversed: Vec<&str> = name.strip_suffix(".in-addr.arpa")?.split('.').rev().collect();
    reversed.join(".").parse().ok()
}

fn is_ours(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    matches!((a, b), (10, 244 | 96))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Sink;

    fn catalog() -> std::sync::Arc<Catalog> {
        let catalog = Catalog::new();
        let services = serde_json::json!([
            {"metadata": {"name": "web", "namespace": "n"},
             "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}]}},
            {"metadata": {"name": "alias", "namespace": "n"},
             "spec": {"type": "ExternalName", "externalName": "web.n.svc.cluster.local"}}]);
        catalog.service_sink().replace(serde_json::from_value(services).unwrap());
        catalog
    }

    fn records(name: &str, kind: TYPE) -> Records {
        match catalog().look_up(&Asked::new(name, kind)) {
            Verdict::Found(records) => records,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn names_have_addresses_and_case_does_not_matter() {
        let answers = records("WEB.n.svc.Cluster.Local", TYPE::A).answers;
        let expected =
            lateen_dns::address("web.n.svc.cluster.local", TTL, Ipv4Addr::new(10, 96, 0, 9).into());
        assert_eq!(answers, [expected.unwrap()]);
    }

    #[test]
    fn ports_have_a_target_and_its_address() {
        let records = records("_http._tcp.web.n.svc.cluster.local", TYPE::SRV);
        assert!(matches!(&records.answers[0].rdata, RData::SRV(srv) if srv.port == 80));
        assert!(matches!(&records.additional[0].rdata, RData::A(_)));
    }

    #[test]
    fn a_name_without_ipv6_exists_and_a_wrong_one_does_not() {
        let empty = records("web.n.svc.cluster.local", TYPE::AAAA);
        assert_eq!((empty.answers.len(), empty.authority.len()), (0, 1));
        let wrong = Asked::new("web.n.svc.cluster.local.n.svc.cluster.local", TYPE::A);
        let Verdict::Missing(missing) = catalog().look_up(&wrong) else { panic!("it exists") };
        assert_eq!(missing.authority.len(), 1);
        let foreign = catalog().look_up(&Asked::new("example.com", TYPE::A));
        assert!(matches!(foreign, Verdict::Elsewhere { missing: RCODE::NameError }));
    }

    #[test]
    fn aliases_are_followed_within_the_cluster() {
        let answers = records("alias.n.svc.cluster.local", TYPE::A).answers;
        assert!(matches!(answers[0].rdata, RData::CNAME(_)));
        assert!(matches!(answers[1].rdata, RData::A(_)));
    }
}
