//! Connection tracking of captured DNS: queries of the application and of the agent are kept apart.
//!
//! Both go from the pod to the same name server. A query of the agent that leaves from a port which the application used a
//! moment ago would be taken for the application's connection, and be led back to the agent: in zones of their own the two
//! are never seen together.
//!
//! Source: istio-iptables, the `CT --zone` rules of its `raw` table.

use lateen_netfilter::{Chain, Cmp, Hook, HookPoint, Proto, Rule, Side, Verdict};

use crate::Capture;
use crate::redirect::{DNS_PORT, PROXY_DNS_PORT, to_servers};
use crate::ruleset::locals;

/// The agent and the name servers.
const AGENT: u16 = 1;
/// The application and the agent.
const APPLICATION: u16 = 2;
/// The chains' names.
pub(crate) const CHAINS: [&str; 2] = ["ISTIO_DNS_ZONES_OUT", "ISTIO_DNS_ZONES_IN"];

/// The chains; none where DNS is not captured.
pub(crate) fn chains(capture: &Capture) -> Vec<Chain> {
    if capture.dns.is_none() {
        return Vec::new();
    }
    let query = || Rule::new().dport(Proto::Udp, Cmp::Eq, &[DNS_PORT]);
    let in_zone = |rule: Rule, zone: u16| rule.set_ct_zone(zone).verdict(Verdict::Return);
    let mut out = Chain::base(CHAINS[0], Hook::raw(HookPoint::Output));
    for identity in &capture.identities {
        out = out.rule(in_zone(identity.of(query(), Cmp::Eq), AGENT));
    }
    for local in locals(capture) {
        let answer = Rule::new().addr(Side::Source, Cmp::Eq, local.loopback);
        out = out.rule(in_zone(answer.sport(Proto::Udp, Cmp::Eq, &[PROXY_DNS_PORT]), APPLICATION));
    }
    for rule in to_servers(capture, Side::Destination, query()) {
        out = out.rule(in_zone(rule, APPLICATION));
    }
    let mut into = Chain::base(CHAINS[1], Hook::raw(HookPoint::Prerouting));
    let answer = Rule::new().sport(Proto::Udp, Cmp::Eq, &[DNS_PORT]);
    for rule in to_servers(capture, Side::Source, answer) {
        into = into.rule(in_zone(rule, AGENT));
    }
    vec![out, into]
}
