//! What comes to the pod, and the check that it is captured.

use std::process::Command;

use crate::capture;
use crate::ears::{Ears, inbound};
use crate::namespace::{OUTSIDE, OUTSIDE_V6, POD, POD_V6, World, has_v6};

pub const TESTS: &[(&str, fn())] = &[
    ("inbound_ports_are_redirected", inbound_ports_are_redirected),
    ("listed_inbound_ports_only", listed_inbound_ports_only),
    ("tproxy_keeps_both_addresses", tproxy_keeps_both_addresses),
    ("tproxy_takes_its_mark_and_table", tproxy_takes_its_mark_and_table),
    ("virtual_interfaces_count_as_outbound", virtual_interfaces_count_as_outbound),
    ("the_check_tells_a_captured_pod_from_another", the_check_tells_a_captured_pod_from_another),
    ("a_namespace_can_be_named", a_namespace_can_be_named),
];

fn ears(world: &World, ports: &[u16], transparent: bool) -> Ears {
    world.in_pod(|| Ears::open(ports, transparent))
}

/// The pod's addresses with a port, of every IP version that there is.
fn pod_addresses(port: u16) -> Vec<(String, &'static str)> {
    let v6 = has_v6().then(|| (format!("[{POD_V6}]:{port}"), OUTSIDE_V6));
    std::iter::once((format!("{POD}:{port}"), OUTSIDE)).chain(v6).collect()
}

fn inbound_ports_are_redirected() {
    let world = World::new();
    capture(&world, "-p 15001 -z 15006 -i * -b * -d 22,15020 -e 15008").unwrap();
    let ears = ears(&world, &[15006, 22, 15008], false);
    for (port, expected) in [(80, 15006), (22, 22), (15008, 15008)] {
        for (target, client) in pod_addresses(port) {
            let heard = inbound(&world, &ears, &target).unwrap_or_else(|| panic!("{target}"));
            assert_eq!(heard.port, expected, "{target}");
            assert_eq!(heard.peer.ip().to_string(), client);
        }
    }
}

fn listed_inbound_ports_only() {
    let world = World::new();
    capture(&world, "-z 15006 -b 9080,9443 -i ''").unwrap();
    let ears = ears(&world, &[15006, 80], false);
    for (port, expected) in [(9080, 15006), (9443, 15006), (80, 80)] {
        let heard = inbound(&world, &ears, &format!("{POD}:{port}"));
        assert_eq!(heard.map(|heard| heard.port), Some(expected), "{port}");
    }
    capture(&world, "-z 15006 -b '' -i ''").unwrap();
    assert_eq!(inbound(&world, &ears, &format!("{POD}:80")).map(|heard| heard.port), Some(80));
    // Without -z both directions go to -p, as the oldest tutorials have it.
    capture(&world, "-p 15006 -b * -i ''").unwrap();
    assert_eq!(inbound(&world, &ears, &format!("{POD}:80")).map(|heard| heard.port), Some(15006));
}

fn tproxy_keeps_both_addresses() {
    let world = World::new();
    capture(&world, "-p 15001 -z 15006 -m TPROXY -i * -b * -d 22").unwrap();
    // Where no proxy listens, or not transparently, nobody gets past it.
    for unguarded in [&[80][..], &[80, 15006]] {
        let application = ears(&world, unguarded, false);
        for (target, _) in pod_addresses(80) {
            assert_eq!(inbound(&world, &application, &target), None, "{target} {unguarded:?}");
        }
    }
    let proxy = ears(&world, &[15006], true);
    for (target, client) in pod_addresses(80) {
        let heard = inbound(&world, &proxy, &target).unwrap_or_else(|| panic!("{target}"));
        assert_eq!(heard.port, 15006);
        assert_eq!(heard.local.to_string(), target, "the proxy sees the destination");
        assert_eq!(heard.peer.ip().to_string(), client);
    }
    let application = ears(&world, &[22], false);
    assert_eq!(inbound(&world, &application, &format!("{POD}:22")).map(|heard| heard.port), Some(22));
}

fn tproxy_takes_its_mark_and_table() {
    let world = World::new();
    capture(&world, "-z 15006 -m TPROXY -b * -t 2222 -r 99").unwrap();
    let listed = |arguments: &str| {
        let output = world.in_pod(|| Command::new("ip").args(arguments.split(' ')).output().unwrap());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let versions = if has_v6() { &["", "-6 "][..] } else { &[""][..] };
    for version in versions {
        assert_eq!(listed(&format!("{version}rule list")).matches("fwmark 0x8ae lookup 99").count(), 1);
        assert!(listed(&format!("{version}route list table 99")).contains("local default dev lo"));
    }
    let proxy = ears(&world, &[15006], true);
    assert!(inbound(&world, &proxy, &format!("{POD}:80")).is_some());
    // A rule of somebody else with the same mark stays.
    world.in_pod(|| {
        Command::new("ip").args(["rule", "add", "fwmark", "2222", "lookup", "50"]).status().unwrap()
    });
    capture(&world, "-t 2222 -r 99 --cleanup").unwrap();
    assert!(listed("rule list").contains("lookup 50") && !listed("rule list").contains("lookup 99"));
}

fn virtual_interfaces_count_as_outbound() {
    for flag in ["-k", "--kube-virt-interfaces"] {
        let world = World::new();
        capture(&world, &format!("-p 15001 -z 15006 -i * -b * {flag} eth0")).unwrap();
        let ears = ears(&world, &[15001, 15006], false);
        let heard = inbound(&world, &ears, &format!("{POD}:80"));
        assert_eq!(heard.map(|heard| heard.port), Some(15001));
    }
}

fn the_check_tells_a_captured_pod_from_another() {
    let arguments = "-p 15001 -z 15006 -u 0 -i * -b *";
    let check = format!(
        "{arguments} --run-validation --skip-rule-apply --probe-timeout 300ms --iptables-probe-port 15002"
    );
    for mode in ["REDIRECT", "TPROXY"] {
        let world = World::new();
        let error = capture(&world, &check).unwrap_err();
        assert!(error.contains("not captured") && error.contains("15002"), "{error}");
        capture(&world, &format!("{arguments} -m {mode}")).unwrap();
        assert!(capture(&world, &format!("{check} -m {mode}")).unwrap().contains("captured"));
    }
}

fn a_namespace_can_be_named() {
    let world = World::new();
    let words = format!("-z 15006 -b * --network-namespace {} --cni-mode --dual-stack -f", world.file());
    world.outside(|| {
        lateen_capture::run(&crate::arguments(&words)).unwrap();
    });
    let ears = ears(&world, &[15006], false);
    assert_eq!(inbound(&world, &ears, &format!("{POD}:80")).map(|heard| heard.port), Some(15006));
    let error = capture(&world, "--network-namespace /proc/none/ns/net").unwrap_err();
    assert!(error.contains("/proc/none/ns/net"), "{error}");
}
