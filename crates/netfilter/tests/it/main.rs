//! Against the kernel, in a user and network namespace of the test's own; what the kernel holds is read back with
//! `nft` where that is installed.

mod iptables;
mod namespace;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use lateen_netfilter::{
    Batch, Chain, Cmp, ConcatKey, CtState, Error, Family, Hook, HookPoint, PairSet, Pick, Proto, Reject,
    Rule, ServiceMap, Side, Table, Verdict, table_exists,
};

fn main() {
    if let Err(reason) = namespace::enter() {
        assert_ne!(std::env::var("LATEEN_PEERS").as_deref(), Ok("required"), "no namespaces: {reason}");
        println!("skipped: this kernel gives no user and network namespace: {reason}");
        return;
    }
    if !namespace::loopback_up() {
        assert_ne!(std::env::var("LATEEN_PEERS").as_deref(), Ok("required"), "`ip` is missing");
        println!("skipped: `ip link set lo up` did not work in the namespace");
        return;
    }
    let tests: [(&str, fn()); 10] = [
        ("a_table_is_there_or_not", a_table_is_there_or_not),
        ("what_is_applied_lists_as_it_prints", what_is_applied_lists_as_it_prints),
        ("replacing_twice_leaves_one_copy", replacing_twice_leaves_one_copy),
        ("a_rehearsal_tells_and_changes_nothing", a_rehearsal_tells_and_changes_nothing),
        (
            "a_refused_change_is_named_and_nothing_is_applied",
            a_refused_change_is_named_and_nothing_is_applied,
        ),
        ("service_maps_translate_and_follow_changes", service_maps_translate_and_follow_changes),
        ("a_reset_refuses_a_connection_at_once", a_reset_refuses_a_connection_at_once),
        ("thousands_of_elements_fit_one_batch", thousands_of_elements_fit_one_batch),
        (
            "iptables_rules_are_replaced_and_removed_and_others_stay",
            iptables::rules_are_replaced_and_removed_and_others_stay,
        ),
        (
            "a_table_refused_by_iptables_is_named_and_what_was_there_stays",
            iptables::a_refused_table_is_named_and_what_was_there_stays,
        ),
    ];
    let only = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    for (name, test) in tests {
        if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// The kernel's view, or `None` without nft.
fn listing(table: &str) -> Option<String> {
    let output = Command::new("nft").args(["list", "table", "inet", table]).output();
    let Ok(output) = output else {
        assert_ne!(std::env::var("LATEEN_PEERS").as_deref(), Ok("required"), "nft is missing");
        println!("skipped the comparison: nft is not installed");
        return None;
    };
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn net(text: &str) -> lateen_netfilter::Prefix {
    text.parse().unwrap()
}

/// Every kind of match and statement that the crate knows.
fn everything() -> Table {
    let mut table = Table::new(Family::Inet, "everything");
    let targets: Vec<SocketAddr> = vec!["10.1.0.1:80".parse().unwrap(), "10.1.0.2:81".parse().unwrap()];
    let v6: Vec<SocketAddr> = vec!["[fd00::1]:80".parse().unwrap()];
    let addrs: Vec<IpAddr> = vec!["10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()];
    table.chains = vec![
        Chain::base("prerouting", Hook::nat_prerouting())
            .rule(Rule::new().proto(Cmp::Eq, Proto::Tcp).verdict(Verdict::Jump("helper".into()))),
        Chain::base("output", Hook::nat_output())
            .rule(Rule::new().uid(Cmp::Eq, 1337).verdict(Verdict::Return))
            .rule(Rule::new().gid(Cmp::Ne, 1337).oif(Cmp::Ne, "lo").verdict(Verdict::Return))
            .rule(Rule::new().mark(Cmp::Eq, 0x539).verdict(Verdict::Return))
            .rule(Rule::new().proto(Cmp::Eq, Proto::Tcp).redirect(15001)),
        Chain::base("postrouting", Hook::nat_postrouting()).rule(Rule::new().ct_dnat().masquerade()),
        Chain::base("mangle", Hook::mangle_prerouting())
            .rule(Rule::new().ct_state(&[CtState::Established, CtState::Related]).verdict(Verdict::Accept))
            .rule(
                Rule::new().proto(Cmp::Eq, Proto::Tcp).set_mark(0x539).tproxy(15006).verdict(Verdict::Accept),
            ),
        Chain::base("filter", Hook::filter(HookPoint::Forward))
            .rule(Rule::new().dport(Proto::Tcp, Cmp::Eq, &[22]).reject(Reject::TcpReset)),
        Chain::regular("helper")
            .rule(Rule::new().iif(Cmp::Eq, "eth0").verdict(Verdict::Accept))
            .rule(Rule::new().addr(Side::Destination, Cmp::Ne, net("127.0.0.1")).verdict(Verdict::Return))
            .rule(Rule::new().addr(Side::Source, Cmp::Eq, net("10.0.0.0/8")).verdict(Verdict::Drop))
            .rule(Rule::new().addr(Side::Source, Cmp::Eq, net("fd00::/9")).verdict(Verdict::Drop))
            .rule(Rule::new().addrs(Side::Source, Cmp::Eq, &addrs).verdict(Verdict::Return))
            .rule(Rule::new().dport(Proto::Tcp, Cmp::Ne, &[443, 80]).verdict(Verdict::Return))
            .rule(Rule::new().sport(Proto::Udp, Cmp::Eq, &[53]).verdict(Verdict::Return))
            .rule(Rule::new().ct_mark(Cmp::Eq, 1).restore_mark())
            .rule(Rule::new().dport(Proto::Tcp, Cmp::Eq, &[80]).dnat(Pick::Random, &targets))
            .rule(Rule::new().dport(Proto::Tcp, Cmp::Eq, &[81]).dnat(Pick::SourceHash, &targets))
            .rule(Rule::new().dport(Proto::Tcp, Cmp::Eq, &[82]).dnat(Pick::Random, &v6)),
    ];
    table
}

fn what_is_applied_lists_as_it_prints() {
    let table = everything();
    // tproxy may only be reached from prerouting, and the helper is; the kernel checks every chain.
    Batch::replace_table(&table).commit().unwrap();
    let Some(listed) = listing("everything") else { return };
    for chain in &table.chains {
        for rule in &chain.rules {
            let text = rule.to_string();
            assert!(normal(&listed).contains(&normal(&text)), "{text}\nis not in\n{listed}");
        }
    }
}

/// nft leaves out what it can infer, and says what it can not.
fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    for implied in ["meta nfproto ipv4 ", "meta nfproto ipv6 ", "meta l4proto tcp "] {
        text = text.replace(implied, "");
    }
    text
}

fn replacing_twice_leaves_one_copy() {
    let table = everything();
    Batch::replace_table(&table).commit().unwrap();
    let once = listing("everything");
    Batch::replace_table(&table).commit().unwrap();
    assert_eq!(once, listing("everything"));
    let mut remove = Batch::new(Family::Inet, "everything");
    remove.remove_table();
    remove.commit().unwrap();
    if let Some(listed) = listing("everything") {
        assert_eq!(listed, "");
    }
    let mut again = Batch::new(Family::Inet, "everything");
    again.remove_table();
    again.commit().expect("removing what is not there is no error");
}

fn a_rehearsal_tells_and_changes_nothing() {
    let mut table = everything();
    table.name = "rehearsed".into();
    Batch::replace_table(&table).rehearse().unwrap();
    assert!(!table_exists(Family::Inet, "rehearsed").unwrap());
    table.chains.push(Chain::regular("lost").rule(Rule::new().verdict(Verdict::Jump("nowhere".into()))));
    let error = Batch::replace_table(&table).rehearse().unwrap_err();
    assert!(error.to_string().contains("add rule lost jump nowhere"), "{error}");
}

fn a_refused_change_is_named_and_nothing_is_applied() {
    let mut batch = Batch::new(Family::Inet, "refused");
    batch.add_table();
    batch.add_chain(&Chain::regular("here"));
    batch.add_rule("here", &Rule::new().verdict(Verdict::Jump("nowhere".into())));
    batch.add_chain(&Chain::regular("there"));
    let error = batch.commit().unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("add rule here jump nowhere"), "{error}");
    if let Some(listed) = listing("refused") {
        assert_eq!(listed, "");
    }
}

fn service_maps_translate_and_follow_changes() {
    let table = "services";
    let map = ServiceMap { name: "vips".into(), key: ConcatKey::AddrProtoPort };
    let pairs = PairSet { name: "hairpin".into() };
    let vip = Ipv4Addr::new(127, 50, 0, 1);
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut batch = Batch::new(Family::Inet, table);
    batch.remove_table();
    batch.add_table();
    batch.add_service_map(&map);
    batch.add_pair_set(&pairs);
    batch.add_pairs(&pairs, &[(vip, vip)]);
    batch.add_chain(&Chain::base("output", Hook::nat_output()));
    batch.add_chain(&Chain::base("postrouting", Hook::nat_postrouting()));
    batch.add_chain(&Chain::regular("one"));
    batch.add_rule("output", &Rule::new().vmap("vips", ConcatKey::AddrProtoPort));
    batch.add_rule("postrouting", &Rule::new().pair_in("hairpin").masquerade());
    batch.add_rule("one", &Rule::new().dnat(Pick::Random, &[target.local_addr().unwrap()]));
    let element = [(Some(vip), Proto::Tcp, 80, Verdict::Goto("one".into()))];
    batch.add_services(&map, &element);
    batch.commit().unwrap();

    let client = TcpStream::connect((vip, 80)).expect("translated");
    let (_, peer) = target.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    TcpStream::connect((vip, 81)).expect_err("no such port");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut batch = Batch::new(Family::Inet, table);
    batch.flush_chain("one");
    let targets = [other.local_addr().unwrap(), other.local_addr().unwrap()];
    batch.add_rule("one", &Rule::new().dnat(Pick::SourceHash, &targets));
    batch.commit().unwrap();
    let _client = TcpStream::connect((vip, 80)).unwrap();
    other.accept().unwrap();

    let mut batch = Batch::new(Family::Inet, table);
    batch.remove_services(&map, &element);
    batch.remove_chain("one");
    batch.remove_pairs(&pairs, &[(vip, vip)]);
    batch.commit().unwrap();
    TcpStream::connect((vip, 80)).expect_err("removed");
}

fn a_reset_refuses_a_connection_at_once() {
    let mut table = Table::new(Family::Inet, "rejects");
    table.chains =
        vec![
            Chain::base("output", Hook::filter(HookPoint::Output)).rule(
                Rule::new()
                    .addr(Side::Destination, Cmp::Eq, net("127.60.0.0/16"))
                    .reject(Reject::PortUnreachable),
            ),
        ];
    Batch::replace_table(&table).commit().unwrap();
    let _listener = TcpListener::bind("127.60.0.1:8099").unwrap();
    let error = TcpStream::connect("127.60.0.1:8099").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
}

fn thousands_of_elements_fit_one_batch() {
    let map = ServiceMap { name: "vips".into(), key: ConcatKey::AddrProtoPort };
    let mut batch = Batch::new(Family::Inet, "many");
    batch.add_table();
    batch.add_service_map(&map);
    let mut elements = Vec::new();
    for i in 0..4000u16 {
        let chain = format!("service-{i}");
        batch.add_chain(&Chain::regular(&chain));
        let targets: Vec<SocketAddr> = (1..3).map(|p| SocketAddr::from(([10, 1, 0, 1], p))).collect();
        batch.add_rule(&chain, &Rule::new().dnat(Pick::Random, &targets));
        let [high, low] = i.to_be_bytes();
        elements.push((Some(Ipv4Addr::new(10, 96, high, low)), Proto::Tcp, 80, Verdict::Goto(chain)));
    }
    batch.add_services(&map, &elements);
    batch.commit().unwrap();
}

fn a_table_is_there_or_not() {
    assert!(!table_exists(Family::Inet, "seen").unwrap());
    let mut table = Table::new(Family::Inet, "seen");
    table.chains.push(Chain::base("all", Hook::filter(HookPoint::Input)).rule(Rule::new().trace()));
    Batch::replace_table(&table).commit().unwrap();
    assert!(table_exists(Family::Inet, "seen").unwrap());
    assert!(!table_exists(Family::Ip, "seen").unwrap(), "a table belongs to its family");
    let mut batch = Batch::new(Family::Inet, "seen");
    batch.remove_table();
    batch.commit().unwrap();
    assert!(!table_exists(Family::Inet, "seen").unwrap());
}
