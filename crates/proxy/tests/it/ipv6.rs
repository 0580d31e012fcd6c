//! Pods of IPv6 alone, and of both IP versions, with capture's real rules: what a sidecar's listeners and sources are for.

use crate::harness::*;
use crate::sockets::{INSIDE, in_namespaces, run, skip};
use crate::transparent::{Outside, POD, capture};
use lateen_proxy::config::*;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

const POD_V6: &str = "fd00:9::9";
const CLIENT: &str = "10.244.0.1";
const CLIENT_V6: &str = "fd00:9::1";
/// The application's, on the pod's own addresses.
const PORT: u16 = 8080;
/// The same, on `::1` alone; a Sidecar leads 7171 there.
const LOOPBACK_PORT: u16 = 7070;
const LED_PORT: u16 = 7171;
/// A service's, outside of the pod.
const SERVICE: u16 = 9090;
const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;
const OWN_MARK: u32 = 1339;

#[test]
fn a_pod_of_ipv6_alone_is_served_in_both_directions() {
    where_there_is_ipv6("ipv6::inside_of_ipv6");
}

#[test]
fn a_pod_of_both_versions_is_served_by_either() {
    where_there_is_ipv6("ipv6::inside_of_both");
}

fn where_there_is_ipv6(test: &str) {
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        return skip("this kernel has no IPv6");
    }
    in_namespaces(test);
}

#[test]
#[ignore = "needs a namespace, which another test makes"]
fn inside_of_ipv6() {
    if std::env::var_os(INSIDE).is_some() {
        walk(false);
    }
}

#[test]
#[ignore = "needs a namespace, which another test makes"]
fn inside_of_both() {
    if std::env::var_os(INSIDE).is_some() {
        walk(true);
    }
}

/// Answers each request with the peer's address as it sees it, and what `x-forwarded-for` says.
fn answer(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip();
            std::thread::spawn(move || {
                let mut buffer = Vec::new();
                while let Some(request) = read_message(&mut stream, &mut buffer, true) {
                    let before = request.header("x-forwarded-for").unwrap_or("-").to_owned();
                    let host = request.header("host").unwrap_or("-").to_owned();
                    stream.write_all(ok(&format!("{peer} {before} {host}")).as_bytes()).unwrap();
                }
            });
        }
    });
}

fn sidecar() -> Proxy {
    let proxy = Proxy::with_workers(2);
    let sources = (Some("127.0.0.6:0".parse().unwrap()), Some("[::6]:0".parse().unwrap()));
    let original = |name: &str, (source_v4, source_v6)| {
        let discovery = Discovery::OriginalDst { header: None, port: None };
        let endpoints = Arc::new(EndpointSlot::holding(name, EndpointSet::default()));
        let socket = UpstreamSocket { mark: Some(OWN_MARK), source_v4, source_v6, keepalive: None };
        proxy.put(Cluster { socket, ..Cluster::with(name, discovery, endpoints) })
    };
    let inbound = original("inbound|8080||", sources);
    let outbound = original("PassthroughCluster", (None, None));
    let led = proxy.cluster("inbound|7171||", &[(Ipv6Addr::LOCALHOST, LOOPBACK_PORT).into()]);
    let manager = |name: &str, cluster| {
        let config = RouteConfig { name: name.into(), max_direct_response: 4096, ..RouteConfig::default() };
        let everything = host("all", &["*"], vec![forward(RouteAction::to(cluster))]);
        proxy.store.put_routes(RouteTable::new(Arc::new(config), vec![Arc::new(everything)]).unwrap());
        let mut manager =
            HttpConnectionManager::new(name, proxy.store.route_slot(name), proxy.store.workers());
        manager.use_remote_address = true;
        manager.access_logs.push(proxy.log.clone());
        FilterChain::plain(Terminal::Http(Arc::new(manager)))
    };
    let everywhere = |name: &str, port: u16, chain| Listener {
        addresses: vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()],
        ..Listener::simple(name, (Ipv4Addr::UNSPECIFIED, port).into(), chain)
    };
    let mut virtual_inbound = everywhere("virtualInbound", INBOUND, manager("in", inbound));
    virtual_inbound.listener_filters.original_dst = true;
    let matches = FilterChainMatch { destination_port: Some(LED_PORT), ..FilterChainMatch::default() };
    let led = FilterChain { matches, ..manager("led", led) };
    virtual_inbound.filter_chains.push(Arc::new(led));
    let mut virtual_outbound = everywhere("virtualOutbound", OUTBOUND, FilterChain::plain(Terminal::Close));
    virtual_outbound.use_original_dst = true;
    let mut service = everywhere("0.0.0.0_9090", SERVICE, manager("out", outbound));
    service.bind_to_port = false;
    proxy.store.update_listeners(vec![virtual_inbound, virtual_outbound, service], &[]);
    let errors = proxy.workers.sync_listeners();
    assert!(errors.is_empty(), "{errors:?}");
    proxy
}

/// What is answered at an address.
fn asked(ip: IpAddr, port: u16) -> String {
    let to = SocketAddr::new(ip, port);
    let mut stream = TcpStream::connect_timeout(&to, WAIT).unwrap_or_else(|error| panic!("{to}: {error}"));
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).unwrap();
    read_message(&mut stream, &mut Vec::new(), false).expect("an answer").body
}

fn walk(both: bool) {
    let outside = Outside::new();
    let (pod, client): (IpAddr, IpAddr) = (POD.parse().unwrap(), CLIENT.parse().unwrap());
    let (pod_v6, client_v6): (IpAddr, IpAddr) = (POD_V6.parse().unwrap(), CLIENT_V6.parse().unwrap());
    run("ip", &format!("-6 addr add {POD_V6}/64 dev eth0 nodad"));
    outside.here(|| run("ip", &format!("-6 addr add {CLIENT_V6}/64 dev out0 nodad")));
    let mut versions = vec![(pod_v6, client_v6, "::6")];
    if both {
        versions.push((pod, client, "127.0.0.6"));
    } else {
        run("ip", &format!("addr del {POD}/24 dev eth0"));
    }
    let rules = format!("-p {OUTBOUND} -z {INBOUND} -m REDIRECT -i * -b * -u 1337 --socket-mark {OWN_MARK}");
    capture(&rules);
    // Capture is applied again when a pod's init container restarts.
    capture(&rules);
    for (pod, client, _) in &versions {
        answer((*pod, PORT).into());
        outside.here(|| answer((*client, SERVICE).into()));
    }
    answer((Ipv6Addr::LOCALHOST, LOOPBACK_PORT).into());
    let proxy = sidecar();
    for (at, (pod, client, source)) in versions.iter().enumerate() {
        let whole = |ip: &IpAddr, port| SocketAddr::new(*ip, port);
        let inbound = outside.here(|| asked(*pod, PORT));
        assert_eq!(inbound, format!("{source} {client} {}", whole(pod, PORT)), "inbound");
        let outbound = asked(*client, SERVICE);
        assert_eq!(outbound, format!("{pod} {pod} {}", whole(client, SERVICE)), "outbound");
        let led = outside.here(|| asked(*pod, LED_PORT));
        assert_eq!(led, format!("::1 {client} {}", whole(pod, LED_PORT)), "to loopback");
        // All three went through the proxy.
        assert_eq!(proxy.log.line(3 * at + 2), "200 - -");
        // The pod's own address leads the application to itself, beside the proxy.
        assert_eq!(asked(*pod, PORT), format!("{pod} - {}", whole(pod, PORT)));
    }
    capture(&format!("{rules} --cleanup"));
    let direct = outside.here(|| asked(pod_v6, PORT));
    assert!(direct.starts_with(&format!("{client_v6} - ")), "nothing stands between: {direct}");
    assert!(TcpListener::bind((Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6), 0)).is_err(), "the source is gone");
}
