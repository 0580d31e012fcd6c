use std::net::SocketAddr;

use super::*;
use crate::rule::{CtState, Pick};

fn v4(rule: Rule) -> Vec<String> {
    lines(&rule, Version::V4).unwrap()
}

fn refused(rule: Rule) -> String {
    lines(&rule, Version::V4).unwrap_err().to_string()
}

fn net(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn matches_are_spelled_as_iptables_save_spells_them() {
    let tcp = || Rule::new().proto(Cmp::Eq, Proto::Tcp);
    for (rule, expected) in [
        (Rule::new().verdict(Verdict::Jump("NEXT".into())), " -j NEXT"),
        (Rule::new().proto(Cmp::Ne, Proto::Udp).verdict(Verdict::Goto("NEXT".into())), " ! -p udp -g NEXT"),
        (tcp().mark(Cmp::Ne, 1338).verdict(Verdict::Return), " -p tcp -m mark ! --mark 0x53a -j RETURN"),
        (
            tcp().ct_mark(Cmp::Eq, 1337).restore_mark(),
            " -p tcp -m connmark --mark 0x539 -j CONNMARK --restore-mark",
        ),
        (tcp().mark(Cmp::Eq, 1337).save_mark(), " -p tcp -m mark --mark 0x539 -j CONNMARK --save-mark"),
        (
            Rule::new().oif(Cmp::Eq, "lo").uid(Cmp::Ne, 1337).gid(Cmp::Ne, 1338).verdict(Verdict::Return),
            " -o lo -m owner ! --uid-owner 1337 -m owner ! --gid-owner 1338 -j RETURN",
        ),
        (
            Rule::new()
                .iif(Cmp::Ne, "eth0")
                .addr(Side::Source, Cmp::Ne, net("10.0.0.0/8"))
                .verdict(Verdict::Drop),
            " ! -i eth0 ! -s 10.0.0.0/8 -j DROP",
        ),
        (
            Rule::new().addr(Side::Destination, Cmp::Eq, net("127.0.0.1")).dport(Proto::Udp, Cmp::Ne, &[53]),
            " -p udp -d 127.0.0.1/32 -m udp ! --dport 53",
        ),
        (
            Rule::new().addr(Side::Destination, Cmp::Eq, net("0.0.0.0/0")).verdict(Verdict::Accept),
            " -j ACCEPT",
        ),
        (
            tcp().ct_state(&[CtState::Related, CtState::Established]).verdict(Verdict::Accept),
            " -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ),
        (
            tcp().dport(Proto::Tcp, Cmp::Eq, &[443, 80, 80]).redirect(15006),
            " -p tcp -m multiport --dports 80,443 -j REDIRECT --to-ports 15006",
        ),
        (
            Rule::new().ct_state(&[CtState::Invalid]).verdict(Verdict::Drop),
            " -m conntrack --ctstate INVALID -j DROP",
        ),
        (Rule::new().trace(), " -j TRACE"),
        (Rule::new().ct_dnat().masquerade(), " -m conntrack --ctstate DNAT -j MASQUERADE"),
        (tcp().reject(Reject::TcpReset), " -p tcp -j REJECT --reject-with tcp-reset"),
        (
            tcp().transparent_socket().set_mark(1),
            " -p tcp -m socket --transparent -j MARK --set-xmark 0x1/0xffffffff",
        ),
    ] {
        assert_eq!(v4(rule), [expected]);
    }
}

#[test]
fn tproxy_sets_the_mark_itself_and_accepts() {
    let rule = || Rule::new().proto(Cmp::Eq, Proto::Tcp).set_mark(1337).tproxy(15006);
    let expected = [" -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x539/0xffffffff"];
    assert_eq!(v4(rule().verdict(Verdict::Accept)), expected);
    assert_eq!(v4(rule()), expected);
    assert!(refused(rule().verdict(Verdict::Drop)).contains("nothing can follow"));
    assert!(refused(Rule::new().tproxy(15006)).contains("must match tcp or udp"));
}

#[test]
fn several_actions_are_several_rules() {
    let rule = Rule::new().proto(Cmp::Eq, Proto::Tcp).set_mark(1337).verdict(Verdict::Accept);
    assert_eq!(v4(rule), [" -p tcp -j MARK --set-xmark 0x539/0xffffffff", " -p tcp -j ACCEPT"]);
    let zone = Rule::new().mark(Cmp::Eq, 1337).set_ct_zone(2).verdict(Verdict::Return);
    assert_eq!(v4(zone), [" -m mark --mark 0x539 -j CT --zone 2", " -m mark --mark 0x539 -j RETURN"]);
    let changed = Rule::new().mark(Cmp::Eq, 1).set_mark(2).verdict(Verdict::Accept);
    assert!(
        refused(changed).contains(
            "meta mark 0x00000001 meta mark set 0x00000002 accept: a rule that matches a mark cannot"
        )
    );
}

#[test]
fn more_ports_than_a_match_holds_are_several_rules_or_several_matches() {
    let ports: Vec<u16> = (1..=31).collect();
    let listed = v4(Rule::new().dport(Proto::Tcp, Cmp::Eq, &ports).verdict(Verdict::Return));
    let list =
        |range: std::ops::RangeInclusive<u16>| range.map(|p| p.to_string()).collect::<Vec<_>>().join(",");
    let (first, second) = (list(1..=15), list(16..=30));
    assert_eq!(
        listed,
        [
            format!(" -p tcp -m multiport --dports {first} -j RETURN"),
            format!(" -p tcp -m multiport --dports {second} -j RETURN"),
            " -p tcp -m multiport --dports 31 -j RETURN".to_owned(),
        ]
    );
    let others = v4(Rule::new().sport(Proto::Tcp, Cmp::Ne, &ports).verdict(Verdict::Return));
    let expected = format!(
        " -p tcp -m multiport ! --sports {first} -m multiport ! --sports {second} -m multiport ! --sports 31 -j RETURN"
    );
    assert_eq!(others, [expected]);
    assert!(v4(Rule::new().dport(Proto::Tcp, Cmp::Eq, &[]).verdict(Verdict::Return)).is_empty());
}

#[test]
fn rules_for_addresses_of_the_other_version_are_left_out() {
    for cmp in [Cmp::Eq, Cmp::Ne] {
        let rule = Rule::new().addr(Side::Destination, cmp, net("::1")).verdict(Verdict::Return);
        assert!(lines(&rule, Version::V4).unwrap().is_empty());
        let not = if cmp == Cmp::Ne { "! " } else { "" };
        assert_eq!(lines(&rule, Version::V6).unwrap(), [format!(" {not}-d ::1/128 -j RETURN")]);
    }
    let both: [SocketAddr; 1] = ["10.0.0.1:80".parse().unwrap()];
    let dnat = Rule::new().proto(Cmp::Eq, Proto::Tcp).dnat(Pick::Random, &both);
    assert!(lines(&dnat, Version::V6).unwrap().is_empty());
    assert_eq!(v4(dnat), [" -p tcp -j DNAT --to-destination 10.0.0.1:80"]);
}

#[test]
fn one_of_several_addresses_is_several_rules() {
    let addrs = ["10.0.0.1", "10.0.0.2"].map(|addr| addr.parse().unwrap());
    let rule = Rule::new().addrs(Side::Source, Cmp::Eq, &addrs).verdict(Verdict::Return);
    assert_eq!(v4(rule), [" -s 10.0.0.1/32 -j RETURN", " -s 10.0.0.2/32 -j RETURN"]);
    let rule = Rule::new().addrs(Side::Source, Cmp::Ne, &addrs).verdict(Verdict::Return);
    assert!(refused(rule).contains("several addresses"));
}

#[test]
fn what_has_no_counterpart_or_is_no_word_is_refused() {
    let targets = ["10.0.0.1:80", "10.0.0.2:80"].map(|target| target.parse().unwrap());
    for (rule, reason) in [
        (Rule::new().pair_in("hairpin"), "nftables' alone"),
        (Rule::new().dnat(Pick::Random, &targets), "nftables alone"),
        (Rule::new().iif(Cmp::Eq, "eth0\nCOMMIT"), "no name of an interface"),
        (Rule::new().oif(Cmp::Eq, "-j"), "no name of an interface"),
        (Rule::new().oif(Cmp::Eq, ""), "no name of an interface"),
        (Rule::new().proto(Cmp::Eq, Proto::Udp).dport(Proto::Tcp, Cmp::Eq, &[80]), "one protocol"),
        (Rule::new().oif(Cmp::Eq, "lo").oif(Cmp::Eq, "eth0"), "-o once"),
    ] {
        let error = refused(rule);
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(v4(Rule::new().iif(Cmp::Eq, "a-name-of-17-byte")), [" -i a-name-of-17-by"]);
}
