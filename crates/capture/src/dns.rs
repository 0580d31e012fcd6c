//! Capture of DNS: queries go to the agent.
//!
//! Its own and the application's both go from the pod to the same name server. A query of the agent that leaves from a port
//! which the application used a moment ago would be taken for the application's connection, and be led back to the agent:
//! in zones of their own the two are never seen together.
//!
//! Source: istio-iptables, chain `ISTIO_OUTPUT_DNS` and the `CT --zone` rules of its `raw` table.

use lateen_netfilter::{Chain, Cmp, Hook, HookPoint, Prefix, Proto, Rule, Side, Verdict};

use crate::Capture;
use crate::ruleset::locals;

/// Where name servers listen.
pub(crate) const PORT: u16 = 53;
/// Where the agent resolves names.
const AGENT_PORT: u16 = 15053;
/// The chain that redirects.
pub(crate) const OUTPUT: &str = "ISTIO_OUTPUT_DNS";
/// The agent and the name servers.
const AGENT: u16 = 1;
/// The application and the agent.
const APPLICATION: u16 = 2;
/// The names of the chains that set zones.
pub(crate) const ZONES: [&str; 2] = ["ISTIO_DNS_ZONES_OUT", "ISTIO_DNS_ZONES_IN"];

/// The chains that keep queries apart; none where DNS is not captured.
pub(crate) fn zones(capture: &Capture) -> Vec<Chain> {
    if capture.dns.is_none() {
        return Vec::new();
    }
    let query = || Rule::new().dport(Proto::Udp, Cmp::Eq, &[PORT]);
    let in_zone = |rule: Rule, zone: u16| rule.set_ct_zone(zone).verdict(Verdict::Return);
    let mut out = Chain::base(ZONES[0], Hook::raw(HookPoint::Output));
    for identity in &capture.identities {
        out = out.rule(in_zone(identity.of(query(), Cmp::Eq), AGENT));
    }
    for local in locals(capture) {
        let answer = Rule::new().addr(Side::Source, Cmp::Eq, local.loopback);
        out = out.rule(in_zone(answer.sport(Proto::Udp, Cmp::Eq, &[AGENT_PORT]), APPLICATION));
    }
    for rule in to_servers(capture, Side::Destination, query()) {
        out = out.rule(in_zone(rule, APPLICATION));
    }
    let mut into = Chain::base(ZONES[1], Hook::raw(HookPoint::Prerouting));
    let answer = Rule::new().sport(Proto::Udp, Cmp::Eq, &[PORT]);
    for rule in to_servers(capture, Side::Source, answer) {
        into = into.rule(in_zone(rule, AGENT));
    }
    vec![out, into]
}

/// Leads queries to the agent, but not the agent's own.
pub(crate) fn redirected(capture: &Capture) -> Chain {
    let mut chain = Chain::regular(OUTPUT);
    let query = |proto: Proto| Rule::new().dport(proto, Cmp::Eq, &[PORT]);
    for rule in to_servers(capture, Side::Destination, query(Proto::Tcp)) {
        chain = chain.rule(rule.redirect(AGENT_PORT));
    }
    for identity in &capture.identities {
        chain = chain.rule(identity.of(query(Proto::Udp), Cmp::Eq).verdict(Verdict::Return));
    }
    for rule in to_servers(capture, Side::Destination, query(Proto::Udp)) {
        chain = chain.rule(rule.redirect(AGENT_PORT));
    }
    chain
}

/// The rule for each name server at that side of a packet; one for all of them where every query is captured.
fn to_servers(capture: &Capture, side: Side, rule: Rule) -> Vec<Rule> {
    let mut servers = capture.dns.iter().flatten().peekable();
    if servers.peek().is_none() {
        return vec![rule];
    }
    servers.map(|server| rule.clone().addr(side, Cmp::Eq, Prefix::host(*server))).collect()
}
