//! What the kernel does with sockets: original destinations and marks, in a network namespace of the test's own.

use crate::harness::*;
use lateen_proxy::config::*;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

/// Says to the inner test that it is in its namespace.
pub const INSIDE: &str = "LATEEN_TEST_NAMESPACE";
/// Istio's mark of the proxy's own connections.
const MARK: u32 = 1337;
/// An address that everything is redirected from.
const SERVICE: &str = "10.9.9.9:80";

fn required() -> bool {
    std::env::var("LATEEN_PEERS").as_deref() == Ok("required")
}

pub fn skip(reason: &str) {
    assert!(!required(), "{reason}");
    println!("skipped: {reason}");
}

#[test]
fn a_redirected_connection_reaches_its_destination_by_a_marked_one() {
    in_namespaces("sockets::inside_the_namespace");
}

/// Runs an ignored test of this program in a user and network namespace of its own, where it is root.
pub fn in_namespaces(test: &str) {
    for program in ["unshare", "ip", "nft"] {
        if Command::new(program).arg("--version").output().is_err() {
            return skip(&format!("`{program}` is not installed"));
        }
    }
    if !Command::new("unshare").args(["-Urn", "true"]).status().is_ok_and(|status| status.success()) {
        return skip("this kernel gives no user and network namespace");
    }
    let output = Command::new("unshare")
        .arg("-Urn")
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

pub fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Connections to the service go to the proxy; those that bear the mark to the upstream.
fn redirect(proxy: SocketAddr, upstream: SocketAddr) {
    run("nft", "add table ip test");
    run("nft", "add chain ip test output { type nat hook output priority -100 ; }");
    let service = "add rule ip test output ip daddr 10.9.9.9 tcp dport 80";
    run("nft", &format!("{service} meta mark {MARK} redirect to :{}", upstream.port()));
    run("nft", &format!("{service} redirect to :{}", proxy.port()));
}

fn original_dst(name: &str) -> Cluster {
    let discovery = Discovery::OriginalDst { header: None, port: None };
    let endpoints = Arc::new(EndpointSlot::holding(name, EndpointSet::default()));
    let socket = UpstreamSocket { mark: Some(MARK), ..UpstreamSocket::default() };
    Cluster { socket, ..Cluster::with(name, discovery, endpoints) }
}

#[test]
#[ignore = "needs a namespace, which another test makes"]
fn inside_the_namespace() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    run("ip", "link set lo up");
    run("ip", "addr add 10.9.9.9/32 dev lo");
    let proxy = Proxy::start();
    let slot = proxy.put(original_dst("passthrough"));
    proxy.routes(vec![forward(RouteAction::to(slot))]);
    let chain = FilterChain::plain(Terminal::Http(Arc::new(proxy.manager())));
    let outbound = Listener { use_original_dst: true, ..Listener::simple("out", ([0; 4], 0).into(), chain) };
    let address = proxy.listener(outbound);
    redirect(address, says("reached"));
    assert_eq!(get(SERVICE.parse().unwrap(), "/").body, "reached");
    // Nobody redirected this one: it must not be followed back to the proxy itself.
    let direct = SocketAddr::from(([127, 0, 0, 1], address.port()));
    assert_eq!(get(direct, "/").status(), 503);
    // A listener of the original address takes what is handed over.
    let here = proxy.cluster("here", &[says("handed over")]);
    let chain = FilterChain::plain(Terminal::Tcp(Arc::new(TcpProxy::to("tcp", here, 1))));
    let service = Listener::simple("service", SERVICE.parse().unwrap(), chain);
    proxy.store.update_listeners(vec![Listener { bind_to_port: false, ..service }], &[]);
    assert!(proxy.workers.sync_listeners().is_empty());
    assert_eq!(get(SERVICE.parse().unwrap(), "/").body, "handed over");
}
