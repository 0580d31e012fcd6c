use super::*;
use crate::zone::{Asked, Records, Verdict, address};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE};
use std::net::Ipv4Addr;

/// Knows `known`; what others miss is taken for a failure.
struct One;

impl Zone for One {
    fn look_up(&self, asked: &Asked) -> Verdict {
        if asked.name != "known" {
            return Verdict::Elsewhere { missing: RCODE::ServerFailure };
        }
        let answers = address("known", 30, Ipv4Addr::new(10, 0, 0, 1).into());
        Verdict::Found(Records { answers: answers.into_iter().collect(), ..Records::default() })
    }
}

/// Knows `far` with 100 addresses, and nothing else.
struct Far;

impl Zone for Far {
    fn look_up(&self, asked: &Asked) -> Verdict {
        if asked.name != "far" {
            return Verdict::Missing(Records::default());
        }
        let answers = (1..=100).filter_map(|n| address("far", 5, Ipv4Addr::new(10, 1, 0, n).into()));
        Verdict::Found(Records { answers: answers.collect(), ..Records::default() })
    }
}

async fn start(zone: impl Zone, resolvers: Vec<SocketAddr>) -> SocketAddr {
    let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = sockets.address().unwrap();
    serve(sockets, Arc::new(zone), Arc::new(Upstream::new(resolvers, None)));
    address
}

fn query(name: &str) -> Vec<u8> {
    let mut packet = Packet::new_query(0x0102);
    let name = Name::new(name).unwrap().into_owned();
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().unwrap()
}

async fn ask(server: SocketAddr, name: &str, transport: Transport) -> (RCODE, usize, bool) {
    let upstream = Upstream::new(vec![server], None);
    let answer = upstream.ask(&query(name), transport).await.expect("an answer");
    let packet = Packet::parse(&answer).unwrap();
    assert_eq!(packet.id(), 0x0102);
    (packet.rcode(), packet.answers.len(), packet.has_flags(PacketFlag::TRUNCATION))
}

#[tokio::test(flavor = "current_thread")]
async fn names_of_the_zone_are_answered_and_others_forwarded_the_way_they_came() {
    let far = start(Far, Vec::new()).await;
    let near = start(One, vec![far]).await;
    for transport in [Transport::Udp, Transport::Tcp] {
        assert_eq!(ask(near, "known", transport).await, (RCODE::NoError, 1, false));
        let code = ask(near, "missing", transport).await.0;
        assert_eq!(code, RCODE::ServerFailure, "the zone says what a missing name is");
    }
    let (code, some, cut) = ask(near, "far", Transport::Udp).await;
    assert!(code == RCODE::NoError && some < 100 && cut, "{some}");
    assert_eq!(ask(near, "far", Transport::Tcp).await, (RCODE::NoError, 100, false));
}

#[tokio::test(flavor = "current_thread")]
async fn a_resolver_that_is_gone_or_fails_leaves_it_to_the_next_and_none_is_a_failure() {
    let gone = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap().address().unwrap();
    let fails = start(One, vec![gone]).await;
    assert_eq!(ask(fails, "far", Transport::Udp).await.0, RCODE::ServerFailure);
    let far = start(Far, Vec::new()).await;
    let near = start(One, vec![gone, fails, far]).await;
    for transport in [Transport::Udp, Transport::Tcp] {
        assert_eq!(ask(near, "far", transport).await.0, RCODE::NoError);
    }
    let alone = start(One, Vec::new()).await;
    assert_eq!(ask(alone, "far", Transport::Tcp).await.0, RCODE::ServerFailure);
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_takes_many_queries_and_ends_at_one_that_is_too_long() {
    let server = start(One, Vec::new()).await;
    let mut stream = TcpStream::connect(server).await.unwrap();
    for _ in 0..3 {
        let query = query("known");
        stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
        stream.write_all(&query).await.unwrap();
        let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(Packet::parse(&answer).unwrap().answers.len(), 1);
    }
    stream.write_u16(u16::MAX).await.unwrap();
    assert!(stream.read_u16().await.is_err());
}
