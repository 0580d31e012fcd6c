//! Capture by address translation: Istio's `nat` chains.

use std::net::IpAddr;

use lateen_netfilter::{Chain, Cmp, Hook, Prefix, Proto, Rule, Side, Verdict};

use crate::ruleset::locals;
use crate::{Capture, Mode, Ports, Ranges, dns};

const INBOUND: &str = "ISTIO_INBOUND";
const IN_REDIRECT: &str = "ISTIO_IN_REDIRECT";
const OUTPUT: &str = "ISTIO_OUTPUT";
const REDIRECT: &str = "ISTIO_REDIRECT";

/// The chains of a capture; inbound ones are left to TPROXY in its mode.
pub(crate) fn chains(capture: &Capture) -> Vec<Chain> {
    let tcp = || Rule::new().proto(Cmp::Eq, Proto::Tcp);
    let mut chains = vec![prerouting(capture), output_hook(capture)];
    if capture.mode == Mode::Redirect {
        chains.push(inbound(capture));
    }
    chains.push(Chain::regular(IN_REDIRECT).rule(tcp().redirect(capture.inbound_port)));
    chains.push(output(capture));
    if capture.dns.is_some() {
        chains.push(dns::redirected(capture));
    }
    chains.push(Chain::regular(REDIRECT).rule(tcp().redirect(capture.outbound_port)));
    chains
}

fn jump(chain: &str) -> Verdict {
    Verdict::Jump(chain.to_owned())
}

fn prerouting(capture: &Capture) -> Chain {
    let mut chain = Chain::base("PREROUTING", Hook::nat_prerouting());
    for name in &capture.exclude_interfaces {
        chain = chain.rule(Rule::new().iif(Cmp::Eq, name).verdict(Verdict::Return));
    }
    // Traffic of virtual machines and the like behind the pod: arriving here, but outbound to the mesh.
    for name in &capture.virtual_interfaces {
        let from = || Rule::new().iif(Cmp::Eq, name);
        match &capture.include {
            Ranges::All => chain = chain.rule(from().verdict(jump(REDIRECT))),
            Ranges::Only(ranges) => {
                for range in usable(capture, ranges) {
                    let rule = from().addr(Side::Destination, Cmp::Eq, range);
                    chain = chain.rule(rule.verdict(jump(REDIRECT)));
                }
            }
        }
    }
    if capture.mode == Mode::Redirect && capture.inbound != Ports::Only(vec![]) {
        chain = chain.rule(Rule::new().proto(Cmp::Eq, Proto::Tcp).verdict(jump(INBOUND)));
    }
    chain
}

fn output_hook(capture: &Capture) -> Chain {
    let mut chain = Chain::base("OUTPUT", Hook::nat_output());
    for name in &capture.exclude_interfaces {
        chain = chain.rule(Rule::new().oif(Cmp::Eq, name).verdict(Verdict::Return));
    }
    chain.rule(Rule::new().verdict(jump(OUTPUT)))
}

fn inbound(capture: &Capture) -> Chain {
    let port = |ports: &[u16]| Rule::new().dport(Proto::Tcp, Cmp::Eq, ports);
    let chain = Chain::regular(INBOUND).rule(port(&[capture.tunnel_port]).verdict(Verdict::Return));
    match &capture.inbound {
        Ports::Only(ports) if ports.is_empty() => chain,
        Ports::Only(ports) => chain.rule(port(ports).verdict(jump(IN_REDIRECT))),
        Ports::AllBut(ports) => {
            let chain = match ports.as_slice() {
                [] => chain,
                ports => chain.rule(port(ports).verdict(Verdict::Return)),
            };
            chain.rule(Rule::new().proto(Cmp::Eq, Proto::Tcp).verdict(jump(IN_REDIRECT)))
        }
    }
}

fn output(capture: &Capture) -> Chain {
    let mut chain = Chain::regular(OUTPUT);
    if !capture.outbound_exclude.is_empty() {
        let rule = Rule::new().dport(Proto::Tcp, Cmp::Eq, &capture.outbound_exclude);
        chain = chain.rule(rule.verdict(Verdict::Return));
    }
    for local in locals(capture) {
        let rule = Rule::new().oif(Cmp::Eq, "lo").addr(Side::Source, Cmp::Eq, local.passthrough);
        chain = chain.rule(rule.verdict(Verdict::Return));
    }
    if capture.mode == Mode::Tproxy {
        // The proxy's connections to the application in a client's name; it would get them itself for ever.
        let rule = Rule::new().proto(Cmp::Eq, Proto::Tcp).oif(Cmp::Eq, "lo");
        chain = chain.rule(rule.mark(Cmp::Eq, capture.tproxy_mark).verdict(Verdict::Return));
    }
    chain = exempt(capture, chain);
    if capture.dns.is_some() {
        chain = chain.rule(Rule::new().verdict(jump(dns::OUTPUT)));
    }
    chain = owners(capture, chain);
    for local in locals(capture) {
        let rule = Rule::new().addr(Side::Destination, Cmp::Eq, local.loopback);
        chain = chain.rule(rule.verdict(Verdict::Return));
    }
    destinations(capture, chain)
}

/// Who is captured, by the group that owns the socket.
fn owners(capture: &Capture, mut chain: Chain) -> Chain {
    for group in &capture.exclude_groups {
        chain = chain.rule(Rule::new().gid(Cmp::Eq, *group).verdict(Verdict::Return));
    }
    match &capture.groups {
        None => chain,
        Some(groups) => {
            let others = groups.iter().fold(Rule::new(), |rule, group| rule.gid(Cmp::Ne, *group));
            chain.rule(others.verdict(Verdict::Return))
        }
    }
}

/// The proxy's own traffic: to another address of the pod it is inbound (the application calls its own service),
/// else it leaves. What others send over loopback stays there.
fn exempt(capture: &Capture, mut chain: Chain) -> Chain {
    let own = match capture.dns {
        Some(_) => vec![dns::PORT, capture.tunnel_port],
        None => vec![capture.tunnel_port],
    };
    for identity in &capture.identities {
        for local in locals(capture) {
            let rule = Rule::new().oif(Cmp::Eq, "lo").addr(Side::Destination, Cmp::Ne, local.loopback);
            let rule = identity.of(rule.dport(Proto::Tcp, Cmp::Ne, &own), Cmp::Eq);
            chain = chain.rule(rule.verdict(jump(IN_REDIRECT)));
        }
    }
    let mut others = Rule::new().oif(Cmp::Eq, "lo");
    others = match capture.dns {
        Some(_) => others.dport(Proto::Tcp, Cmp::Ne, &[dns::PORT]),
        None => others.proto(Cmp::Eq, Proto::Tcp),
    };
    others = capture.identities.iter().fold(others, |rule, identity| identity.of(rule, Cmp::Ne));
    chain = chain.rule(others.verdict(Verdict::Return));
    for identity in &capture.identities {
        chain = chain.rule(identity.of(Rule::new(), Cmp::Eq).verdict(Verdict::Return));
    }
    chain
}

fn destinations(capture: &Capture, mut chain: Chain) -> Chain {
    for range in usable(capture, &capture.exclude) {
        chain = chain.rule(Rule::new().addr(Side::Destination, Cmp::Eq, range).verdict(Verdict::Return));
    }
    if !capture.outbound_include.is_empty() {
        let rule = Rule::new().dport(Proto::Tcp, Cmp::Eq, &capture.outbound_include);
        chain = chain.rule(rule.verdict(jump(REDIRECT)));
    }
    match &capture.include {
        Ranges::All if capture.ipv6 => chain.rule(Rule::new().verdict(jump(REDIRECT))),
        Ranges::All => {
            let any = Prefix { addr: IpAddr::from([0, 0, 0, 0]), len: 0 };
            chain.rule(Rule::new().addr(Side::Destination, Cmp::Eq, any).verdict(jump(REDIRECT)))
        }
        Ranges::Only(ranges) => usable(capture, ranges).fold(chain, |chain, range| {
            chain.rule(Rule::new().addr(Side::Destination, Cmp::Eq, range).verdict(jump(REDIRECT)))
        }),
    }
}

/// Ranges of the IP versions that are captured.
fn usable<'a>(capture: &'a Capture, ranges: &'a [Prefix]) -> impl Iterator<Item = Prefix> + 'a {
    ranges.iter().copied().filter(|range| capture.ipv6 || range.addr.is_ipv4())
}

#[cfg(test)]
mod tests {
    use crate::{Arguments, Ruleset};
    use clap::Parser;

    fn ruleset(arguments: &[&str]) -> String {
        let all = std::iter::once(&"capture").chain(arguments);
        Ruleset::new(&Arguments::parse_from(all).resolve(None, false, vec![]).unwrap()).to_string()
    }

    #[test]
    fn chains_are_istios() {
        let text = ruleset(&[
            "-z",
            "15006",
            "-i",
            "*",
            "-x",
            "10.9.0.0/16",
            "-b",
            "*",
            "-d",
            "15090,15021,15020",
            "-o",
            "3306",
            "-g",
            "1338",
        ]);
        let expected = r#"table inet lateen-capture {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
		meta l4proto tcp jump ISTIO_INBOUND
	}

	chain OUTPUT {
		type nat hook output priority dstnat; policy accept;
		jump ISTIO_OUTPUT
	}

	chain ISTIO_INBOUND {
		tcp dport 15008 return
		tcp dport { 15020, 15021, 15090 } return
		meta l4proto tcp jump ISTIO_IN_REDIRECT
	}

	chain ISTIO_IN_REDIRECT {
		meta l4proto tcp redirect to :15006
	}

	chain ISTIO_OUTPUT {
		tcp dport 3306 return
		oifname "lo" ip saddr 127.0.0.6 return
		oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 jump ISTIO_IN_REDIRECT
		oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1338 jump ISTIO_IN_REDIRECT
		oifname "lo" meta l4proto tcp meta skuid != 1337 meta skgid != 1338 return
		meta skuid 1337 return
		meta skgid 1338 return
		ip daddr 127.0.0.1 return
		ip daddr 10.9.0.0/16 return
		ip daddr 0.0.0.0/0 jump ISTIO_REDIRECT
	}

	chain ISTIO_REDIRECT {
		meta l4proto tcp redirect to :15001
	}
}
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn listed_ports_and_ranges_only() {
        let text =
            ruleset(&["-i", "10.0.0.0/8,fd00::/8", "-b", "80,443", "-q", "27017", "-k", "br0", "-c", "eth9"]);
        assert!(text.contains("tcp dport { 80, 443 } jump ISTIO_IN_REDIRECT"), "{text}");
        assert!(text.contains("\t\tip daddr 10.0.0.0/8 jump ISTIO_REDIRECT\n"), "{text}");
        assert!(text.contains("iifname \"br0\" ip daddr 10.0.0.0/8 jump ISTIO_REDIRECT"), "{text}");
        assert!(text.contains("tcp dport 27017 jump ISTIO_REDIRECT"), "{text}");
        assert!(
            text.contains("iifname \"eth9\" return") && text.contains("oifname \"eth9\" return"),
            "{text}"
        );
        assert!(!text.contains("fd00"), "the pod has no IPv6: {text}");
    }

    #[test]
    fn nothing_asked_nothing_captured() {
        let text = ruleset(&[]);
        assert!(!text.contains("jump ISTIO_INBOUND") && !text.contains("jump ISTIO_REDIRECT"), "{text}");
    }

    #[test]
    fn a_socket_mark_exempts_as_the_user_would() {
        let text = ruleset(&["-i", "*", "--socket-mark", "1337"]);
        assert!(text.contains("tcp dport != 15008 meta mark 0x00000539 jump ISTIO_IN_REDIRECT"), "{text}");
        assert!(text.contains("\t\tmeta mark 0x00000539 return\n"), "{text}");
        assert!(text.contains("meta l4proto tcp meta mark != 0x00000539 meta skuid != 1337"), "{text}");
    }

    #[test]
    fn dns_goes_to_the_proxy_but_not_the_proxys_own() {
        let arguments = Arguments::parse_from(["capture", "-i", "*", "--redirect-dns"]);
        let servers = vec!["10.96.0.10".parse().unwrap()];
        let text = Ruleset::new(&arguments.resolve(None, true, servers).unwrap()).to_string();
        assert!(text.contains("udp dport 53 meta skuid 1337 return"), "{text}");
        assert!(text.contains("udp dport 53 ip daddr 10.96.0.10 redirect to :15053"), "{text}");
        assert!(text.contains("tcp dport != { 53, 15008 }"), "{text}");
        assert!(text.contains("ip6 saddr ::6 return"), "{text}");
        assert!(text.contains("udp dport 53 meta skuid 1337 ct zone set 1 return"), "{text}");
        assert!(text.contains("ip saddr 127.0.0.1 udp sport 15053 ct zone set 2 return"), "{text}");
        assert!(text.contains("udp dport 53 ip daddr 10.96.0.10 ct zone set 2 return"), "{text}");
        assert!(text.contains("udp sport 53 ip saddr 10.96.0.10 ct zone set 1 return"), "{text}");
    }
}
