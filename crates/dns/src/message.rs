//! A query in, an answer out.

use simple_dns::rdata::OPT;
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QCLASS, Question, RCODE};

use crate::zone::{Asked, Records, Verdict, Zone};

/// Size of a UDP answer that every client takes (RFC 1035).
const MIN_UDP: usize = 512;
/// Size of a UDP answer that is never exceeded; also what is told to clients that speak EDNS.
const MAX_UDP: u16 = 4096;

/// What to do with a query.
#[derive(Debug)]
pub enum Reply {
    /// Send this.
    Answer(Vec<u8>),
    /// Ask others.
    Forward {
        /// What takes the place of their `NameError`.
        missing: RCODE,
    },
    /// Not a query.
    Nothing,
}

/// Answers a message out of a zone. Over UDP what is too long is cut, and the client told to ask over TCP.
pub fn reply(zone: &impl Zone, query: &[u8], udp: bool) -> Reply {
    let Ok(packet) = Packet::parse(query) else { return malformed(query) };
    if packet.has_flags(PacketFlag::RESPONSE) {
        return Reply::Nothing;
    }
    if packet.opcode() != OPCODE::StandardQuery {
        return plain(&packet, RCODE::NotImplemented);
    }
    let [question] = packet.questions.as_slice() else { return plain(&packet, RCODE::FormatError) };
    if !matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) {
        return Reply::Forward { missing: RCODE::NameError };
    }
    let name = question.qname.to_string().to_ascii_lowercase();
    let asked = Asked { name: name.trim_end_matches('.').to_owned(), kind: question.qtype };
    let (code, records) = match zone.look_up(&asked) {
        Verdict::Found(records) => (RCODE::NoError, records),
        Verdict::Missing(records) => (RCODE::NameError, records),
        Verdict::Elsewhere { missing } => return Reply::Forward { missing },
    };
    let mut reply = head(&packet, question, code);
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    let Records { answers, authority, additional } = records;
    reply.answers = answers;
    reply.name_servers = authority;
    reply.additional_records = additional;
    encode(reply, udp.then(|| limit(&packet)))
}

/// An answer without records; none for what is no message.
pub(crate) fn failure(query: &[u8], code: RCODE) -> Option<Vec<u8>> {
    match plain(&Packet::parse(query).ok()?, code) {
        Reply::Answer(bytes) => Some(bytes),
        _ => None,
    }
}

fn malformed(query: &[u8]) -> Reply {
    let Some([high, low]) = query.get(..2) else { return Reply::Nothing };
    // An answer that cannot be read is not answered: two servers would go on for ever.
    if query.get(2).is_some_and(|flags| flags & 0x80 != 0) {
        return Reply::Nothing;
    }
    let mut reply = Packet::new_reply(u16::from_be_bytes([*high, *low]));
    *reply.rcode_mut() = RCODE::FormatError;
    reply.build_bytes_vec().map_or(Reply::Nothing, Reply::Answer)
}

fn plain(packet: &Packet<'_>, code: RCODE) -> Reply {
    let mut reply = match packet.questions.first() {
        Some(question) => head(packet, question, code),
        None => Packet::new_reply(packet.id()),
    };
    *reply.rcode_mut() = code;
    reply.build_bytes_vec().map_or(Reply::Nothing, Reply::Answer)
}

fn head<'a>(packet: &Packet<'a>, question: &Question<'a>, code: RCODE) -> Packet<'a> {
    let mut reply = Packet::new_reply(packet.id());
    reply.set_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if packet.opt().is_some() {
        *reply.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: MAX_UDP, version: 0 });
    }
    *reply.rcode_mut() = code;
    reply.questions.push(question.clone());
    reply
}

fn limit(query: &Packet<'_>) -> usize {
    query.opt().map_or(MIN_UDP, |opt| usize::from(opt.udp_packet_size.min(MAX_UDP)).max(MIN_UDP))
}

/// Encodes; what does not fit is cut, and the client told so.
fn encode(mut reply: Packet<'_>, limit: Option<usize>) -> Reply {
    let limit = limit.unwrap_or(usize::from(u16::MAX));
    loop {
        let Ok(bytes) = reply.build_bytes_vec_compressed() else { return Reply::Nothing };
        if bytes.len() <= limit {
            return Reply::Answer(bytes);
        }
        if reply.additional_records.pop().is_some() {
            continue;
        }
        reply.set_flags(PacketFlag::TRUNCATION);
        // By halves: one record at a time would take long over thousands.
        let fewer = reply.answers.len() / 2;
        if reply.answers.is_empty() {
            return Reply::Nothing;
        }
        reply.answers.truncate(fewer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::address;
    use simple_dns::{Name, QTYPE, TYPE};
    use std::net::{IpAddr, Ipv4Addr};

    /// `many` has 200 addresses; other names are elsewhere.
    struct Fixed;

    impl Zone for Fixed {
        fn look_up(&self, asked: &Asked) -> Verdict {
            match asked.name.as_str() {
                "many" => {
                    let ips = (1..=200).map(|n| IpAddr::from(Ipv4Addr::new(10, 0, 0, n)));
                    let answers =
                        ips.filter(|_| asked.wants(TYPE::A)).filter_map(|ip| address("many", 7, ip));
                    Verdict::Found(Records { answers: answers.collect(), ..Records::default() })
                }
                "none" => Verdict::Missing(Records::default()),
                _ => Verdict::Elsewhere { missing: RCODE::NameError },
            }
        }
    }

    fn query(name: &str, class: CLASS, size: Option<u16>) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        let name = Name::new(name).unwrap().into_owned();
        packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(class), false));
        *packet.opt_mut() =
            size.map(|udp_packet_size| OPT { opt_codes: Vec::new(), udp_packet_size, version: 0 });
        packet.build_bytes_vec().unwrap()
    }

    fn bytes(query: &[u8], udp: bool) -> Vec<u8> {
        match reply(&Fixed, query, udp) {
            Reply::Answer(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_too_long_for_udp_is_cut_and_whole_over_tcp() {
        let cut = bytes(&query("MANY", CLASS::IN, None), true);
        assert!(cut.len() <= MIN_UDP && Packet::parse(&cut).unwrap().has_flags(PacketFlag::TRUNCATION));
        let whole = bytes(&query("many", CLASS::IN, None), false);
        assert_eq!(Packet::parse(&whole).unwrap().answers.len(), 200);
    }

    #[test]
    fn clients_that_speak_edns_get_more_and_are_told_so() {
        let whole = bytes(&query("many", CLASS::IN, Some(65_000)), true);
        let packet = Packet::parse(&whole).unwrap();
        assert_eq!((packet.answers.len(), packet.opt().map(|opt| opt.udp_packet_size)), (200, Some(MAX_UDP)));
        let none = bytes(&query("none", CLASS::IN, None), true);
        let packet = Packet::parse(&none).unwrap();
        assert_eq!((packet.rcode(), packet.opt()), (RCODE::NameError, None));
    }

    #[test]
    fn other_names_and_classes_are_elsewhere() {
        assert!(matches!(reply(&Fixed, &query("many", CLASS::CH, None), true), Reply::Forward { .. }));
        assert!(matches!(reply(&Fixed, &query("other", CLASS::IN, None), true), Reply::Forward { .. }));
    }

    #[test]
    fn garbage_is_refused_and_answers_are_no_queries() {
        assert!(matches!(reply(&Fixed, &[1], true), Reply::Nothing));
        assert!(matches!(reply(&Fixed, &[0, 1, 0x80, 9], true), Reply::Nothing));
        let refused = bytes(&[0; 5], true);
        assert_eq!(Packet::parse(&refused).unwrap().rcode(), RCODE::FormatError);
        let answer = bytes(&query("many", CLASS::IN, None), true);
        assert!(matches!(reply(&Fixed, &answer, true), Reply::Nothing));
        // No message that is cut or bent anywhere makes the server fall.
        let whole = query("many", CLASS::IN, Some(1200));
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0xff;
            reply(&Fixed, &bent, true);
            reply(&Fixed, &whole[..at], true);
        }
        let mut update = whole;
        update[2] = 5 << 3;
        assert_eq!(Packet::parse(&bytes(&update, true)).unwrap().rcode(), RCODE::NotImplemented);
    }
}
