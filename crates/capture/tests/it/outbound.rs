//! What leaves the pod.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::capture;
use crate::ears::{Ears, datagram_arrives, outbound};
use crate::namespace::{OUTSIDE, World, has_other_users, has_v6};

/// An address that is nowhere: a connection to it fails unless it is captured.
pub const NOWHERE: &str = "192.0.2.7:80";
const NOWHERE_V6: &str = "[2001:db8::7]:80";
const OTHER: &str = "198.51.100.7:80";

pub const TESTS: &[(&str, fn())] = &[
    ("all_ranges_and_those_left_out", all_ranges_and_those_left_out),
    ("listed_ranges_only", listed_ranges_only),
    ("outbound_ports_in_and_out", outbound_ports_in_and_out),
    ("an_excluded_interface_is_left_alone", an_excluded_interface_is_left_alone),
    ("the_proxys_user_and_group_are_exempt", the_proxys_user_and_group_are_exempt),
    ("a_socket_mark_exempts_as_the_user_does", a_socket_mark_exempts_as_the_user_does),
    ("groups_can_be_chosen", groups_can_be_chosen),
    ("dns_goes_to_the_proxy", dns_goes_to_the_proxy),
    (
        "the_agents_queries_are_not_taken_for_the_applications",
        the_agents_queries_are_not_taken_for_the_applications,
    ),
    ("more_ports_than_a_match_of_iptables_holds", more_ports_than_a_match_of_iptables_holds),
];

pub fn pod(arguments: &str) -> (World, Ears) {
    let world = World::new();
    capture(&world, arguments).unwrap();
    let ears = world.in_pod(|| Ears::open(&[15001, 15006], false));
    (world, ears)
}

fn all_ranges_and_those_left_out() {
    let (world, ears) = pod("-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x 198.51.100.0/24 -b * -d 15020");
    assert_eq!(outbound(&world, &ears, NOWHERE), Some(15001));
    assert_eq!(outbound(&world, &ears, OTHER), None);
    assert!(world.in_pod(|| crate::ears::connect("127.0.0.1:9")).is_none(), "loopback is the pod's own");
    if has_v6() {
        assert_eq!(outbound(&world, &ears, NOWHERE_V6), Some(15001));
        assert!(world.in_pod(|| crate::ears::connect("[::1]:9")).is_none());
    }
}

fn listed_ranges_only() {
    let (world, ears) = pod("-z 15006 -i 192.0.2.0/24,2001:db8::/64 -b ''");
    assert_eq!(outbound(&world, &ears, NOWHERE), Some(15001));
    assert_eq!(outbound(&world, &ears, OTHER), None);
    if has_v6() {
        assert_eq!(outbound(&world, &ears, NOWHERE_V6), Some(15001));
        assert_eq!(outbound(&world, &ears, "[2001:db8:1::7]:80"), None);
    }
}

fn outbound_ports_in_and_out() {
    let (world, ears) = pod("-p 15001 -i '' -q 27017 -o 3306");
    assert_eq!(outbound(&world, &ears, "192.0.2.7:27017"), Some(15001));
    assert_eq!(outbound(&world, &ears, NOWHERE), None);
    let (world, ears) = pod("-p 15001 -i * -o 80,3306");
    assert_eq!(outbound(&world, &ears, NOWHERE), None);
    assert_eq!(outbound(&world, &ears, "192.0.2.7:81"), Some(15001));
}

fn more_ports_than_a_match_of_iptables_holds() {
    let many = (1..=20).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    let (world, ears) = pod(&format!("-p 15001 -i * -o {many}"));
    for (port, expected) in [(1, None), (15, None), (16, None), (20, None), (21, Some(15001))] {
        assert_eq!(outbound(&world, &ears, &format!("192.0.2.7:{port}")), expected, "{port}");
    }
}

fn an_excluded_interface_is_left_alone() {
    let (world, ears) = pod("-p 15001 -i * -b * -c eth0");
    assert_eq!(outbound(&world, &ears, NOWHERE), None);
    let (world, ears) = pod("-p 15001 -i * -b * -c eth7");
    assert_eq!(outbound(&world, &ears, NOWHERE), Some(15001));
}

/// Whether a process of that user and group reaches the listener outside of the pod directly.
fn reaches_outside(world: &World, uid: u32, gid: u32) -> bool {
    let outside = world.outside(|| Ears::open(&[80], false));
    let script = format!("exec 3<>/dev/tcp/{OUTSIDE}/80");
    world.in_pod(|| {
        drop(Command::new("bash").args(["-c", &script]).uid(uid).gid(gid).output().unwrap());
    });
    outside.next().is_some()
}

fn the_proxys_user_and_group_are_exempt() {
    if !has_other_users() {
        return println!("skipped: processes of other users take root");
    }
    let (world, _ears) = pod("-p 15001 -z 15006 -u 1337,1444 -g 1555 -i * -b *");
    assert!(!reaches_outside(&world, 1000, 1000));
    assert!(reaches_outside(&world, 1337, 1000));
    assert!(reaches_outside(&world, 1444, 1000));
    assert!(reaches_outside(&world, 1000, 1555));
    let (world, _ears) = pod("-p 15001 -z 15006 -u 1337 -i * -b *");
    assert!(reaches_outside(&world, 1000, 1337), "without -g the groups are those of -u");
}

fn a_socket_mark_exempts_as_the_user_does() {
    let (world, ears) = pod("-p 15001 -z 15006 -i * -b * --socket-mark 1337");
    let connect = |target: &str, mark: u32| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_mark(mark).unwrap();
        let target: std::net::SocketAddr = target.parse().unwrap();
        socket.connect_timeout(&target.into(), Duration::from_millis(500)).map(|()| socket)
    };
    assert!(world.in_pod(|| connect(NOWHERE, 1337)).is_err(), "it leaves the pod");
    // To the pod's own address it is inbound: the application calls its own service.
    let own = format!("{}:80", crate::namespace::POD);
    let _open = world.in_pod(|| connect(&own, 1337)).unwrap();
    assert_eq!(ears.next().map(|heard| heard.port), Some(15006));
}

fn groups_can_be_chosen() {
    if !has_other_users() {
        return println!("skipped: processes of other users take root");
    }
    let (world, _ears) = pod("-p 15001 -i * --outbound-owner-groups 2000,2001");
    assert!(!reaches_outside(&world, 1000, 2000));
    assert!(reaches_outside(&world, 1000, 2002));
    let (world, _ears) = pod("-p 15001 -i * --outbound-owner-groups-exclude 2000");
    assert!(reaches_outside(&world, 1000, 2000));
    assert!(!reaches_outside(&world, 1000, 2002));
}

fn dns_goes_to_the_proxy() {
    let (world, _ears) = pod("-p 15001 -u 1337 -i * --redirect-dns --capture-all-dns");
    assert!(datagram_arrives(&world, "192.0.2.53:53", 15053));
    assert!(!datagram_arrives(&world, "192.0.2.53:54", 15053));
    let (world, _ears) = pod("-p 15001 -u 1337 -i *");
    assert!(!datagram_arrives(&world, "192.0.2.53:53", 15053), "only if it is asked for");
}

/// The agent may ask the same name server from a port that the application used a moment before.
fn the_agents_queries_are_not_taken_for_the_applications() {
    let (world, _ears) = pod("-p 15001 -u 1337 -i * --redirect-dns --capture-all-dns --socket-mark 1337");
    world.in_pod(|| {
        let agent = UdpSocket::bind("127.0.0.1:15053").unwrap();
        agent.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let send = |from: &str, mark: Option<u32>| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
            mark.into_iter().for_each(|mark| socket.set_mark(mark).unwrap());
            socket.bind(&from.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
            let socket = UdpSocket::from(socket);
            socket.send_to(b"query", "192.0.2.53:53").unwrap();
            agent.recv_from(&mut [0; 16]).ok().map(|(_, client)| (socket, client))
        };
        let (application, client) = send("0.0.0.0:0", None).expect("the application's query is captured");
        application.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        agent.send_to(b"answer", client).unwrap();
        let (_, from) = application.recv_from(&mut [0; 16]).expect("the answer comes");
        assert_eq!(from.to_string(), "192.0.2.53:53", "from whom the application asked");
        let used = application.local_addr().unwrap().to_string();
        drop(application);
        assert!(send(&used, Some(1337)).is_none(), "the agent's query comes back to it");
        assert!(send(&used, None).is_some());
    });
}
