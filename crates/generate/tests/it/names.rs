//! The table of names: what is in it, for whom, and when it is made anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use lateen_generate::{Generator, Proxy, ProxyResources};
use lateen_xds::TypeUrl;
use lateen_xds::istio::{NameInfo, NameTable};
use prost::Message;

use crate::kit::{Cluster0, sidecar};

const WORLD: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.1.1, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: udp, namespace: other}
spec: {clusterIP: 10.96.1.2, ports: [{name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: example.com, clusterIP: ''}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: fixed}
spec:
  hosts: [address.internal, '*.wild.internal']
  addresses: [198.51.100.1, 198.51.100.2/32, 198.51.100.128/25, '2001:db8::1']
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: auto}
spec:
  hosts: [auto.internal]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hidden, namespace: other}
spec:
  hosts: [hidden.internal]
  exportTo: ['.']
  addresses: [198.51.100.9]
  ports: [{number: 80, name: http, protocol: HTTP}]
";

fn world() -> Cluster0 {
    let mut cluster = Cluster0::new();
    cluster.apply(WORLD);
    pods(&mut cluster, &[("10.244.0.7", Some("db-0")), ("10.244.0.8", None)]);
    cluster
}

fn pods(cluster: &mut Cluster0, pods: &[(&str, Option<&str>)]) {
    let endpoints: Vec<_> = pods
        .iter()
        .map(|(ip, hostname)| serde_json::json!({"addresses": [ip], "hostname": hostname}))
        .collect();
    let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4", "ports": [{"name": "tcp", "port": 3306}], "endpoints": endpoints,
    }))
    .unwrap();
    cluster.world.upsert(slice.into());
}

fn captured(more: &[(&str, &str)]) -> Proxy {
    let mut proxy = sidecar("c-0", &[], "lateen");
    for (key, value) in [("DNS_CAPTURE", "true")].iter().chain(more) {
        proxy.metadata.insert((*key).to_owned(), (*value).to_owned());
    }
    proxy
}

fn table(resources: &ProxyResources) -> BTreeMap<String, NameInfo> {
    let all: Vec<_> = resources.iter(TypeUrl::NameTable).collect();
    let [one] = all.as_slice() else { panic!("{} tables", all.len()) };
    assert_eq!(&*one.name, NameTable::WHOLE);
    NameTable::decode(one.body.clone()).unwrap().table
}

/// The tables of hosts, joined.
fn by_host(resources: &ProxyResources) -> BTreeMap<String, NameInfo> {
    let mut joined = BTreeMap::new();
    let mut all: Vec<_> = resources.iter(TypeUrl::NameTable).collect();
    assert_eq!(&*all.pop().unwrap().name, NameTable::LAST);
    for one in all {
        let table = NameTable::decode(one.body.clone()).unwrap().table;
        assert_eq!(table.keys().collect::<Vec<_>>(), [&*one.name]);
        joined.extend(table);
    }
    joined
}

fn ips<'a>(table: &'a BTreeMap<String, NameInfo>, host: &str) -> Vec<&'a str> {
    table.get(host).into_iter().flat_map(|info| &info.ips).map(String::as_str).collect()
}

#[test]
fn services_entries_and_pods_are_in_the_table_with_their_addresses() {
    let mut cluster = world();
    let table = table(&Generator::new(cluster.mesh()).resources(&captured(&[])));
    let web = &table["web.default.svc.cluster.local"];
    assert_eq!((web.ips.as_slice(), &*web.registry), (["10.96.1.1".to_owned()].as_slice(), "Kubernetes"));
    assert_eq!((&*web.shortname, &*web.namespace), ("web", "default"));
    assert_eq!(ips(&table, "udp.other.svc.cluster.local"), ["10.96.1.2"]);
    assert_eq!(ips(&table, "db.default.svc.cluster.local"), ["10.244.0.7", "10.244.0.8"]);
    assert_eq!(ips(&table, "db-0.db.default.svc.cluster.local"), ["10.244.0.7"]);
    assert_eq!(table["db-0.db.default.svc.cluster.local"].shortname, "db-0.db");
    for host in ["address.internal", "*.wild.internal"] {
        assert_eq!(ips(&table, host), ["198.51.100.1", "198.51.100.2", "2001:db8::1"], "{host}");
        assert_eq!((&*table[host].registry, &*table[host].shortname), ("External", ""));
    }
    assert!(ips(&table, "auto.internal")[0].starts_with("240.240."));
    assert!(!table.contains_key("alias.default.svc.cluster.local"), "its name servers know it");
    assert!(!table.contains_key("hidden.internal"), "it is not exported");
}

#[test]
fn lateens_agents_get_each_name_by_itself_and_of_a_change_what_it_touches() {
    let mut cluster = world();
    let mut generator = Generator::new(cluster.mesh());
    let each = captured(&[(NameTable::BY_HOST, "true")]);
    let before = generator.resources(&each);
    assert_eq!(by_host(&before), table(&generator.resources(&captured(&[]))));
    cluster.apply("{apiVersion: v1, kind: Service, metadata: {name: more}, spec: {clusterIP: 10.96.1.9, ports: [{port: 80}]}}");
    pods(&mut cluster, &[("10.244.0.8", None)]);
    let (mesh, changes) = cluster.world.snapshot();
    generator.step(mesh, &changes);
    let after = generator.resources(&each);
    let delta = after.diff(&before);
    let of = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>();
    let changed = delta.of(TypeUrl::NameTable).flat_map(|d| &d.changed).map(|r| r.name.to_string());
    assert_eq!(
        of(&mut changed.into_iter()),
        ["db.default.svc.cluster.local", "more.default.svc.cluster.local"]
    );
    let removed = delta.of(TypeUrl::NameTable).flat_map(|d| &d.removed).map(|name| name.to_string());
    assert_eq!(of(&mut removed.into_iter()), ["db-0.db.default.svc.cluster.local"]);
}

#[test]
fn only_proxies_that_capture_dns_get_one() {
    let mut cluster = world();
    let mut generator = Generator::new(cluster.mesh());
    let plain = generator.resources(&sidecar("c-0", &[], "lateen"));
    assert_eq!(plain.iter(TypeUrl::NameTable).count(), 0);
    let refused = generator.resources(&captured(&[("DNS_AUTO_ALLOCATE", "false")]));
    assert!(!table(&refused).contains_key("auto.internal"));
}

#[test]
fn a_sidecar_limits_the_names() {
    let mut cluster = world();
    cluster.apply(
        "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ['./web.default.svc.cluster.local', 'other/*']}]}
",
    );
    let table = table(&Generator::new(cluster.mesh()).resources(&captured(&[])));
    let hosts: Vec<_> = table.keys().map(String::as_str).collect();
    assert_eq!(hosts, ["udp.other.svc.cluster.local", "web.default.svc.cluster.local"]);
}

#[test]
fn a_chosen_address_is_listened_on() {
    let mut cluster = world();
    let mut generator = Generator::new(cluster.mesh());
    let addressed = generator.resources(&captured(&[]));
    let listener = format!("{}_9000", ips(&table(&addressed), "auto.internal")[0]);
    assert!(addressed.get(TypeUrl::Listener, &listener).is_some(), "{listener}");
    let plain = generator.resources(&sidecar("c-0", &[], "lateen"));
    assert!(plain.get(TypeUrl::Listener, &listener).is_none());
    assert!(plain.get(TypeUrl::Listener, "0.0.0.0_9000").is_some());
}

#[test]
fn the_table_is_made_anew_when_a_name_or_a_headless_pod_changes_and_else_kept() {
    let mut cluster = world();
    let proxy = captured(&[]);
    let mut generator = Generator::new(cluster.mesh());
    let first = generator.resources(&proxy);
    let step = |cluster: &mut Cluster0, generator: &mut Generator| {
        let (mesh, changes) = cluster.world.snapshot();
        generator.step(mesh, &changes);
        generator.resources(&proxy)
    };
    cluster.apply(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}], timeout: 1s}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 4}}}}
",
    );
    let same = step(&mut cluster, &mut generator);
    let list = |r: &ProxyResources| r.shared.list(TypeUrl::NameTable).clone();
    assert!(Arc::ptr_eq(&list(&first), &list(&same)));
    assert!(!Arc::ptr_eq(&first.shared, &same.shared));
    pods(&mut cluster, &[("10.244.0.9", Some("db-0"))]);
    let moved = step(&mut cluster, &mut generator);
    assert_eq!(ips(&table(&moved), "db-0.db.default.svc.cluster.local"), ["10.244.0.9"]);
    assert_eq!(moved.diff(&same).of(TypeUrl::NameTable).map(|delta| delta.changed.len()).sum::<usize>(), 1);
}
