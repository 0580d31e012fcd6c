use super::*;
use lateen_dns::RData;
use std::collections::BTreeMap;

fn names() -> Names {
    let place = Place {
        namespace: "shop".into(),
        domain: "shop.svc.cluster.local".into(),
        search: Some("shop.svc.cluster.local".into()),
        control: "istiod.istio-system.svc".into(),
    };
    Names::new(place)
}

fn table() -> NameTable {
    let kubernetes = |ips: &[&str], shortname: &str, namespace: &str| NameInfo {
        ips: ips.iter().map(ToString::to_string).collect(),
        registry: NameTable::KUBERNETES.into(),
        shortname: shortname.into(),
        namespace: namespace.into(),
    };
    let external =
        |ips: &[&str]| NameInfo { registry: NameTable::EXTERNAL.into(), ..kubernetes(ips, "", "") };
    let all = [
        ("web.shop.svc.cluster.local", kubernetes(&["10.96.0.1", "fd00::1"], "web", "shop")),
        ("web.other.svc.cluster.local", kubernetes(&["10.96.0.2"], "web", "other")),
        ("db.shop.svc.cluster.local", kubernetes(&["10.244.0.1", "10.244.0.2", "10.244.0.3"], "db", "shop")),
        ("db-0.db.shop.svc.cluster.local", kubernetes(&["10.244.0.1"], "db-0.db", "shop")),
        ("Address.Internal", external(&["198.51.100.1", "nonsense"])),
        ("*.wild.internal", external(&["198.51.100.2"])),
        ("*.deep.wild.internal", external(&["198.51.100.3"])),
        ("entry.shop.svc.cluster.local", external(&["198.51.100.4"])),
        ("none.internal", external(&["10.0.0.0/8"])),
    ];
    NameTable { table: BTreeMap::from(all.map(|(host, info)| (host.to_owned(), info))) }
}

fn known() -> Names {
    let names = names();
    names.put(NameTable::WHOLE, &table());
    names
}

/// The answers as text, `name=address` or `name>alias`.
fn ask(names: &Names, name: &str, kind: TYPE) -> Result<String, RCODE> {
    match names.look_up(&Asked::new(name, kind)) {
        Verdict::Elsewhere { missing } => Err(missing),
        Verdict::Missing(_) => panic!("nothing is known to be missing"),
        Verdict::Found(records) => {
            let one = |record: &lateen_dns::ResourceRecord<'_>| {
                assert_eq!(record.ttl, TTL);
                match &record.rdata {
                    RData::A(a) => format!("{}={}", record.name, Ipv4Addr::from(a.address)),
                    RData::AAAA(a) => format!("{}={}", record.name, Ipv6Addr::from(a.address)),
                    RData::CNAME(to) => format!("{}>{}", record.name, to.0),
                    other => panic!("{other:?}"),
                }
            };
            Ok(records.answers.iter().map(one).collect::<Vec<_>>().join(" "))
        }
    }
}

fn a(name: &str) -> Result<String, RCODE> {
    ask(&known(), name, TYPE::A)
}

#[test]
fn services_are_found_by_every_name_that_they_have_in_a_cluster() {
    for name in ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "WEB.Shop."] {
        let owner = name.trim_end_matches('.').to_lowercase();
        assert_eq!(a(name), Ok(format!("{owner}=10.96.0.1")));
    }
    assert_eq!(a("web.other").unwrap(), "web.other=10.96.0.2");
    assert_eq!(a("db-0.db").unwrap(), "db-0.db=10.244.0.1");
    assert_eq!(a("other"), Err(RCODE::NameError));
    assert_eq!(a("entry"), Err(RCODE::NameError), "an entry has one name");
}

#[test]
fn entries_are_found_by_host_and_wildcard_the_narrowest_first() {
    assert_eq!(a("address.INTERNAL").unwrap(), "address.internal=198.51.100.1");
    assert_eq!(a("a.b.wild.internal").unwrap(), "a.b.wild.internal=198.51.100.2");
    assert_eq!(a("a.deep.wild.internal").unwrap(), "a.deep.wild.internal=198.51.100.3");
    for unknown in ["wild.internal", "none.internal", "internal", "example.com", ""] {
        assert_eq!(a(unknown), Err(RCODE::NameError), "{unknown}");
    }
}

#[test]
fn a_resolver_that_tries_its_search_domain_first_is_led_to_the_name() {
    let searched = |name: &str| a(&format!("{name}.shop.svc.cluster.local"));
    assert_eq!(
        searched("address.internal").unwrap(),
        "address.internal.shop.svc.cluster.local>address.internal address.internal=198.51.100.1"
    );
    assert!(searched("web.other").unwrap().ends_with(">web.other web.other=10.96.0.2"));
    assert!(searched("x.wild.internal").unwrap().ends_with(" x.wild.internal=198.51.100.2"));
    assert_eq!(searched("web").unwrap(), "web.shop.svc.cluster.local=10.96.0.1");
    assert_eq!(searched("nothing"), Err(RCODE::NameError));
    assert_eq!(a("address.internal.svc.cluster.local"), Err(RCODE::NameError), "the first domain only");
}

#[test]
fn the_other_family_is_empty_and_other_types_are_left_to_others() {
    let names = known();
    assert_eq!(ask(&names, "web", TYPE::AAAA).unwrap(), "web=fd00::1");
    assert_eq!(ask(&names, "address.internal", TYPE::AAAA).unwrap(), "");
    assert_eq!(ask(&names, "address.internal.shop.svc.cluster.local", TYPE::AAAA).unwrap(), "");
    assert_eq!(ask(&names, "address.internal", TYPE::MX), Err(RCODE::NoError), "the name exists");
    assert_eq!(names.counts(), (4, 1));
}

#[test]
fn addresses_take_turns() {
    let names = known();
    let first: Vec<String> =
        (0..3).map(|_| ask(&names, "db", TYPE::A).unwrap().split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(first, ["db=10.244.0.1", "db=10.244.0.2", "db=10.244.0.3"]);
}

#[test]
fn before_the_first_table_nothing_is_missing_but_what_the_control_plane_is_searched_by() {
    let names = names();
    assert!(!names.is_ready());
    assert_eq!(ask(&names, "address.internal", TYPE::A), Err(RCODE::ServerFailure));
    assert_eq!(ask(&names, "istiod.istio-system.svc.shop.svc.cluster.local", TYPE::A), Err(RCODE::NameError));
    assert_eq!(ask(&names, "istiod.istio-system.svcx", TYPE::A), Err(RCODE::ServerFailure));
    names.put(NameTable::LAST, &NameTable::default());
    assert!(names.is_ready());
    assert_eq!(ask(&names, "address.internal", TYPE::A), Err(RCODE::NameError));
}

#[test]
fn tables_of_hosts_come_change_and_go_one_by_one() {
    let names = names();
    let one = |host: &str, info: NameInfo| NameTable { table: BTreeMap::from([(host.to_owned(), info)]) };
    for (host, info) in table().table {
        assert!(!names.is_ready());
        names.put(&host, &one(&host, info));
    }
    names.put(NameTable::LAST, &NameTable::default());
    assert!(names.is_ready());
    assert_eq!(ask(&names, "web", TYPE::A).unwrap(), "web=10.96.0.1");
    let host = "web.shop.svc.cluster.local";
    let mut moved = table().table.remove(host).unwrap();
    moved.ips = vec!["10.96.0.9".into()];
    names.put(host, &one(host, moved));
    assert_eq!(ask(&names, "web", TYPE::A).unwrap(), "web=10.96.0.9");
    names.remove(&[host.to_owned(), "Address.Internal".to_owned()]);
    assert_eq!(ask(&names, "web", TYPE::A), Err(RCODE::NameError));
    assert_eq!(ask(&names, "address.internal", TYPE::A), Err(RCODE::NameError));
    assert_eq!(ask(&names, "db-0.db", TYPE::A).unwrap(), "db-0.db=10.244.0.1");
}

#[test]
fn a_whole_table_takes_the_place_of_the_one_before() {
    let names = known();
    let mut later = table();
    later.table.retain(|host, _| host.starts_with("db."));
    names.put(NameTable::WHOLE, &later);
    assert_eq!(ask(&names, "web", TYPE::A), Err(RCODE::NameError));
    assert!(ask(&names, "db", TYPE::A).is_ok());
}
