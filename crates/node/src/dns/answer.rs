//! A query in, an answer out.

use std::net::Ipv4Addr;

use simple_dns::rdata::{A, CNAME, PTR, RData, SOA, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use super::zone::{self, DOMAIN, Found, Lookup};
use crate::cluster::Catalog;

/// Seconds that an answer may be kept.
const TTL: u32 = 5;
/// Names that may be followed from one alias to the next.
const MAX_ALIASES: usize = 8;
/// Size of a UDP answer that every client takes (RFC 1035).
const MIN_UDP: usize = 512;
/// Size of a UDP answer that is never exceeded.
const MAX_UDP: usize = 4096;

/// What to do with a query.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Send this.
    Answer(Vec<u8>),
    /// The name is not the cluster's: ask others.
    Forward,
    /// Not a query.
    Nothing,
}

/// Answers from the catalog.
pub(crate) fn answer(catalog: &Catalog, query: &[u8], udp: bool) -> Reply {
    let Ok(packet) = Packet::parse(query) else { return malformed(query) };
    if packet.has_flags(PacketFlag::RESPONSE) {
        return Reply::Nothing;
    }
    let [question] = packet.questions.as_slice() else { return plain(&packet, RCODE::FormatError) };
    let asked = question.qname.to_string().to_ascii_lowercase();
    let mut reply = reply(&packet, question, RCODE::NoError);
    if let Some(ip) = reverse_address(&asked) {
        match zone::reverse(catalog, ip) {
            Some(name) => push(&mut reply, &asked, name_record(&name, |n| RData::PTR(PTR(n)))),
            None if is_ours(ip) => *reply.rcode_mut() = RCODE::NameError,
            None => return Reply::Forward,
        }
    } else {
        match zone::lookup(catalog, &asked) {
            Lookup::Foreign => return Reply::Forward,
            Lookup::Missing => *reply.rcode_mut() = RCODE::NameError,
            Lookup::Found(found) => fill(&mut reply, catalog, &asked, question.qtype, found),
        }
    }
    if reply.answers.is_empty() {
        reply.name_servers.extend(authority());
    }
    encode(reply, udp.then(|| limit(&packet)))
}

/// An answer without records.
pub(crate) fn failure(query: &[u8], code: RCODE) -> Option<Vec<u8>> {
    let packet = Packet::parse(query).ok()?;
    match plain(&packet, code) {
        Reply::Answer(bytes) => Some(bytes),
        _ => None,
    }
}

fn malformed(query: &[u8]) -> Reply {
    let Some([high, low]) = query.get(..2) else { return Reply::Nothing };
    let mut reply = Packet::new_reply(u16::from_be_bytes([*high, *low]));
    *reply.rcode_mut() = RCODE::FormatError;
    reply.build_bytes_vec().map_or(Reply::Nothing, Reply::Answer)
}

fn plain(packet: &Packet<'_>, code: RCODE) -> Reply {
    let mut reply = match packet.questions.first() {
        Some(question) => reply(packet, question, code),
        None => Packet::new_reply(packet.id()),
    };
    *reply.rcode_mut() = code;
    reply.build_bytes_vec().map_or(Reply::Nothing, Reply::Answer)
}

fn reply<'a>(packet: &Packet<'a>, question: &Question<'a>, code: RCODE) -> Packet<'a> {
    let mut reply = Packet::new_reply(packet.id());
    reply
        .set_flags(PacketFlag::RESPONSE | PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *reply.rcode_mut() = code;
    reply.questions.push(question.clone());
    reply
}

fn fill(reply: &mut Packet<'_>, catalog: &Catalog, asked: &str, kind: QTYPE, mut found: Found) {
    let mut owner = asked.to_owned();
    for _ in 0..MAX_ALIASES {
        let Some(alias) = found.alias.take() else { break };
        push(reply, &owner, name_record(&alias, |n| RData::CNAME(CNAME(n))));
        // The rest of a foreign chain is the client's resolver's to find.
        let Lookup::Found(next) = zone::lookup(catalog, &alias) else { return };
        (owner, found) = (alias, next);
    }
    let wants = |t: TYPE| kind == QTYPE::ANY || kind == QTYPE::TYPE(t);
    if wants(TYPE::A) {
        for ip in &found.addresses {
            push(reply, &owner, Some(RData::A(A { address: u32::from(*ip) })));
        }
    }
    if wants(TYPE::SRV) {
        for (port, target) in &found.services {
            let record = name_record(target, |target| {
                RData::SRV(SRV { priority: 0, weight: 100, port: *port, target })
            });
            push(reply, &owner, record);
            if let Lookup::Found(target_found) = zone::lookup(catalog, target) {
                for ip in target_found.addresses {
                    let data = RData::A(A { address: u32::from(ip) });
                    if let Ok(name) = Name::new(target) {
                        reply.additional_records.push(ResourceRecord::new(
                            name.into_owned(),
                            CLASS::IN,
                            TTL,
                            data,
                        ));
                    }
                }
            }
        }
    }
}

fn name_record(target: &str, make: impl FnOnce(Name<'static>) -> RData<'static>) -> Option<RData<'static>> {
    // A service's external name may be no DNS name: then there is no record.
    Some(make(Name::new(target).ok()?.into_owned()))
}

fn push(reply: &mut Packet<'_>, owner: &str, data: Option<RData<'static>>) {
    if let (Some(data), Ok(name)) = (data, Name::new(owner)) {
        reply.answers.push(ResourceRecord::new(name.into_owned(), CLASS::IN, TTL, data));
    }
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
    Some(ResourceRecord::new(Name::new(DOMAIN).ok()?, CLASS::IN, TTL, RData::SOA(soa)))
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

fn limit(query: &Packet<'_>) -> usize {
    query.opt().map_or(MIN_UDP, |opt| usize::from(opt.udp_packet_size).clamp(MIN_UDP, MAX_UDP))
}

/// Encodes; what does not fit is cut, and the client told to ask over TCP.
fn encode(mut reply: Packet<'_>, limit: Option<usize>) -> Reply {
    loop {
        let Ok(bytes) = reply.build_bytes_vec_compressed() else { return Reply::Nothing };
        if limit.is_none_or(|limit| bytes.len() <= limit) {
            return Reply::Answer(bytes);
        }
        if reply.additional_records.pop().is_some() {
            continue;
        }
        reply.set_flags(PacketFlag::TRUNCATION);
        if reply.answers.pop().is_none() {
            return Reply::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Sink;

    fn catalog(endpoints: u8) -> std::sync::Arc<Catalog> {
        let catalog = Catalog::new();
        let services = serde_json::json!([
            {"metadata": {"name": "web", "namespace": "n"},
             "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}]}},
            {"metadata": {"name": "many", "namespace": "n"}, "spec": {"clusterIP": "None"}},
            {"metadata": {"name": "alias", "namespace": "n"},
             "spec": {"type": "ExternalName", "externalName": "web.n.svc.cluster.local"}}]);
        catalog.service_sink().replace(serde_json::from_value(services).unwrap());
        let addresses: Vec<_> =
            (1..=endpoints).map(|n| serde_json::json!({"addresses": [format!("10.244.1.{n}")]})).collect();
        let slice = serde_json::json!({"metadata": {"name": "m", "namespace": "n",
            "labels": {"kubernetes.io/service-name": "many"}}, "addressType": "IPv4", "endpoints": addresses});
        catalog.slice_sink().replace(vec![serde_json::from_value(slice).unwrap()]);
        catalog
    }

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let name = Name::new(name).unwrap().into_owned();
        packet.questions.push(Question::new(
            name,
            QTYPE::TYPE(kind),
            simple_dns::QCLASS::CLASS(CLASS::IN),
            false,
        ));
        packet.build_bytes_vec().unwrap()
    }

    fn bytes(endpoints: u8, name: &str, kind: TYPE, udp: bool) -> Vec<u8> {
        match answer(&catalog(endpoints), &query(name, kind), udp) {
            Reply::Answer(bytes) => bytes,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn names_have_addresses_and_case_does_not_matter() {
        let bytes = bytes(0, "WEB.n.svc.Cluster.Local", TYPE::A, true);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.id(), packet.rcode(), packet.answers.len()), (7, RCODE::NoError, 1));
        assert_eq!(packet.answers[0].ttl, TTL);
        assert_eq!(packet.answers[0].rdata, RData::A(A { address: u32::from(Ipv4Addr::new(10, 96, 0, 9)) }));
    }

    #[test]
    fn a_name_without_ipv6_exists_and_a_wrong_one_does_not() {
        let empty = bytes(0, "web.n.svc.cluster.local", TYPE::AAAA, true);
        let packet = Packet::parse(&empty).unwrap();
        assert_eq!((packet.rcode(), packet.answers.len(), packet.name_servers.len()), (RCODE::NoError, 0, 1));
        let missing = bytes(0, "web.n.svc.cluster.local.n.svc.cluster.local", TYPE::A, true);
        assert_eq!(Packet::parse(&missing).unwrap().rcode(), RCODE::NameError);
    }

    #[test]
    fn aliases_are_followed_within_the_cluster() {
        let bytes = bytes(0, "alias.n.svc.cluster.local", TYPE::A, true);
        let packet = Packet::parse(&bytes).unwrap();
        assert!(matches!(packet.answers[0].rdata, RData::CNAME(_)));
        assert!(matches!(packet.answers[1].rdata, RData::A(_)));
    }

    #[test]
    fn what_is_too_long_for_udp_is_cut_and_whole_over_tcp() {
        let cut = bytes(200, "many.n.svc.cluster.local", TYPE::A, true);
        assert!(cut.len() <= MIN_UDP && Packet::parse(&cut).unwrap().has_flags(PacketFlag::TRUNCATION));
        let whole = bytes(200, "many.n.svc.cluster.local", TYPE::A, false);
        assert_eq!(Packet::parse(&whole).unwrap().answers.len(), 200);
    }

    #[test]
    fn garbage_and_answers_are_no_queries() {
        let catalog = catalog(0);
        assert!(matches!(answer(&catalog, &[1], true), Reply::Nothing));
        assert!(matches!(answer(&catalog, &[0; 5], true), Reply::Answer(_)));
        let response = bytes(0, "web.n.svc.cluster.local", TYPE::A, true);
        assert!(matches!(answer(&catalog, &response, true), Reply::Nothing));
        assert!(matches!(answer(&catalog, &query("example.com", TYPE::A), true), Reply::Forward));
    }
}
