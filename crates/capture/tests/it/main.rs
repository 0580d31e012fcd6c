//! Capture of real connections, in a user and network namespace of the test's own.

mod namespace;

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};

use clap::Parser;
use lateen_capture::Arguments;
use nix::sys::socket::{setsockopt, sockopt};

fn main() {
    let required = std::env::var("LATEEN_PEERS").as_deref() == Ok("required");
    if let Err(reason) = namespace::enter() {
        assert!(!required, "no namespaces: {reason}");
        println!("skipped: this kernel gives no user and network namespace: {reason}");
        return;
    }
    if !namespace::loopback_up() {
        assert!(!required, "`ip` is missing");
        println!("skipped: `ip link set lo up` did not work in the namespace");
        return;
    }
    outbound_goes_to_the_proxy_and_the_proxys_own_does_not();
    println!("test outbound_goes_to_the_proxy_and_the_proxys_own_does_not ... ok");
    tproxy_rules_and_routes_come_and_go();
    println!("test tproxy_rules_and_routes_come_and_go ... ok");
}

fn capture(arguments: &[&str]) -> String {
    let all = std::iter::once(&"capture").chain(arguments);
    lateen_capture::run(&Arguments::parse_from(all)).unwrap()
}

fn outbound_goes_to_the_proxy_and_the_proxys_own_does_not() {
    let proxy = TcpListener::bind("0.0.0.0:15001").unwrap();
    let inbound = TcpListener::bind("0.0.0.0:15006").unwrap();
    let arguments = ["-p", "15001", "-z", "15006", "-i", "*", "-b", "*", "--socket-mark", "1337"];
    // An address beyond loopback needs a route; everything that is not lo goes to the pair's other end.
    for arguments in [
        vec!["link", "add", "eth0", "type", "veth", "peer", "name", "other"],
        vec!["link", "set", "other", "up"],
        vec!["addr", "add", "10.244.0.9/16", "dev", "eth0"],
        vec!["link", "set", "eth0", "up"],
    ] {
        assert!(std::process::Command::new("ip").args(arguments).status().unwrap().success());
    }
    let dry = capture(&[&arguments[..], &["--dry-run"]].concat());
    assert!(dry.contains("ISTIO_OUTPUT"));
    capture(&arguments);
    assert_eq!(capture(&arguments), dry, "applying twice is applying once");

    let _client = TcpStream::connect("10.244.3.4:80").expect("captured");
    assert!(proxy.accept().is_ok());
    assert_eq!(TcpStream::connect("127.0.0.1:9").unwrap_err().kind(), ErrorKind::ConnectionRefused);

    // The proxy to the pod's own address: inbound, whatever the port.
    let marked = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::empty(),
        None,
    )
    .unwrap();
    setsockopt(&marked, sockopt::Mark, &1337).unwrap();
    let to: nix::sys::socket::SockaddrIn = "10.244.0.9:80".parse().unwrap();
    nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&marked), &to).unwrap();
    assert!(inbound.accept().is_ok());

    capture(&[&arguments[..], &["--cleanup"]].concat());
    let application = TcpListener::bind("10.244.0.9:80").unwrap();
    let _client = TcpStream::connect("10.244.0.9:80").unwrap();
    assert!(application.accept().is_ok(), "nothing is captured any more");
}

fn tproxy_rules_and_routes_come_and_go() {
    let arguments = ["-m", "TPROXY", "-z", "15006", "-i", "*", "-b", "*"];
    capture(&arguments);
    capture(&arguments);
    let rules = || {
        let output = std::process::Command::new("ip").args(["rule", "list"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).matches("fwmark 0x539").count()
    };
    assert_eq!(rules(), 1);
    capture(&[&arguments[..], &["--cleanup"]].concat());
    assert_eq!(rules(), 0);
}
