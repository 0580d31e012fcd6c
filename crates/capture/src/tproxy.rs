//! Inbound capture that keeps addresses: Istio's `mangle` chains.

use lateen_netfilter::{Chain, Cmp, CtState, Hook, Proto, Rule, Side, Verdict};

use crate::ruleset::locals;
use crate::{Capture, Identity, Ports};

const INBOUND: &str = "ISTIO_INBOUND";
const DIVERT: &str = "ISTIO_DIVERT";
const TPROXY: &str = "ISTIO_TPROXY";
/// Mark of what the proxy sends to its own pod: outbound traffic that is inbound too.
const OUTBOUND_MARK: u32 = 1338;

fn tcp() -> Rule {
    Rule::new().proto(Cmp::Eq, Proto::Tcp)
}

fn jump(chain: &str) -> Verdict {
    Verdict::Jump(chain.to_owned())
}

/// The chains that TPROXY needs beside those of outbound redirection.
pub(crate) fn chains(capture: &Capture) -> Vec<Chain> {
    let mark = capture.tproxy_mark;
    let mut deliver = Chain::regular(TPROXY);
    for local in locals(capture) {
        let rule = || tcp().addr(Side::Destination, Cmp::Ne, local.loopback);
        let tproxy = rule().set_mark(mark).tproxy(capture.inbound_port);
        // Where no proxy listens nftables goes on, and iptables drops.
        deliver = deliver.rule(tproxy.verdict(Verdict::Accept)).rule(rule().verdict(Verdict::Drop));
    }
    let divert = Rule::new().set_mark(mark).verdict(Verdict::Accept);
    vec![prerouting(capture), output(capture), inbound(capture), Chain::regular(DIVERT).rule(divert), deliver]
}

fn prerouting(capture: &Capture) -> Chain {
    let mut chain = Chain::base("PREROUTING_MANGLE", Hook::mangle_prerouting());
    for name in &capture.exclude_interfaces {
        chain = chain.rule(Rule::new().iif(Cmp::Eq, name).verdict(Verdict::Return));
    }
    if capture.inbound != Ports::Only(vec![]) {
        chain = chain.rule(tcp().verdict(jump(INBOUND)));
    }
    chain.rule(tcp().mark(Cmp::Eq, capture.tproxy_mark).save_mark())
}

fn output(capture: &Capture) -> Chain {
    let mut chain = Chain::base("OUTPUT_MANGLE", Hook::mangle_output());
    for name in &capture.exclude_interfaces {
        chain = chain.rule(Rule::new().oif(Cmp::Eq, name).verdict(Verdict::Return));
    }
    let own = |identity: &Identity| -> Vec<Rule> {
        let rule = |local: crate::ruleset::Local| {
            let rule = tcp().oif(Cmp::Eq, "lo").addr(Side::Destination, Cmp::Ne, local.loopback);
            identity.of(rule, Cmp::Eq)
        };
        locals(capture).into_iter().map(rule).collect()
    };
    // What the proxy sends to the application in a client's name is delivered as it is.
    chain = chain.rule(tcp().oif(Cmp::Eq, "lo").mark(Cmp::Eq, capture.tproxy_mark).verdict(Verdict::Return));
    for identity in &capture.identities {
        for rule in own(identity) {
            chain = chain.rule(rule.set_mark(OUTBOUND_MARK));
        }
    }
    chain.rule(tcp().ct_mark(Cmp::Eq, capture.tproxy_mark).restore_mark())
}

fn inbound(capture: &Capture) -> Chain {
    let mut chain = Chain::regular(INBOUND);
    chain = chain.rule(tcp().mark(Cmp::Eq, capture.tproxy_mark).verdict(Verdict::Return));
    for local in locals(capture) {
        let rule = tcp().iif(Cmp::Eq, "lo").addr(Side::Source, Cmp::Eq, local.passthrough);
        chain = chain.rule(rule.verdict(Verdict::Return));
    }
    chain = chain.rule(tcp().iif(Cmp::Eq, "lo").mark(Cmp::Ne, OUTBOUND_MARK).verdict(Verdict::Return));
    let known = [CtState::Related, CtState::Established];
    let deliver = |chain: Chain, rule: &dyn Fn() -> Rule| {
        let chain = chain.rule(rule().ct_state(&known).verdict(jump(DIVERT)));
        chain.rule(rule().verdict(jump(TPROXY)))
    };
    match &capture.inbound {
        Ports::Only(ports) if ports.is_empty() => chain,
        Ports::Only(ports) => deliver(chain, &|| Rule::new().dport(Proto::Tcp, Cmp::Eq, ports)),
        Ports::AllBut(ports) => {
            if !ports.is_empty() {
                let rule = Rule::new().dport(Proto::Tcp, Cmp::Eq, ports);
                chain = chain.rule(rule.verdict(Verdict::Return));
            }
            deliver(chain, &tcp)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Arguments, Ruleset};
    use clap::Parser;

    #[test]
    fn inbound_is_delivered_and_outbound_redirected() {
        let arguments =
            Arguments::parse_from(["capture", "-z", "15006", "-m", "TPROXY", "-i", "*", "-b", "*"]);
        let text = Ruleset::new(&arguments.resolve(None, false, vec![]).unwrap()).to_string();
        for line in [
            "meta l4proto tcp ip daddr != 127.0.0.1 meta mark set 0x00000539 tproxy to :15006 accept",
            "meta l4proto tcp ip daddr != 127.0.0.1 drop",
            "meta l4proto tcp ct state related,established jump ISTIO_DIVERT",
            "meta l4proto tcp meta mark 0x00000539 ct mark set meta mark",
            "meta l4proto tcp ct mark 0x00000539 meta mark set ct mark",
            "meta l4proto tcp redirect to :15001",
            // Connections to the application in a client's name do not come back.
            "chain ISTIO_OUTPUT {\n\t\toifname \"lo\" ip saddr 127.0.0.6 return\n\t\tmeta l4proto tcp oifname \"lo\" meta mark 0x00000539 return",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("\t\tmeta l4proto tcp jump ISTIO_IN_REDIRECT"), "{text}");
    }
}
