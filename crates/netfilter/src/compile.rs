//! Rules to expressions.

use std::net::{IpAddr, SocketAddr};

use crate::expr::{Base, Expr, R0, VERDICT_REGISTER, ct, meta};
use crate::model::Family;
use crate::rule::{Cmp, CtState, Part, Pick, Prefix, Proto, Reject, Rule, Side};
use crate::set::datatype;

/// `IPS_DST_NAT`: the connection's destination was translated.
const CT_STATUS_DNAT: u32 = 1 << 5;
const INTERFACE_NAME_LEN: usize = 16;

/// A set that belongs to one rule and goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnonymousSet {
    pub id: u32,
    pub key_type: u32,
    pub key_len: u32,
    /// Type and length, for maps.
    pub data: Option<(u32, u32)>,
    pub elements: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl AnonymousSet {
    /// The kernel replaces `%d` by a free number.
    pub fn name(&self) -> &'static str {
        if self.data.is_some() { "__map%d" } else { "__set%d" }
    }
}

/// A rule as the kernel takes it.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    pub sets: Vec<AnonymousSet>,
    pub exprs: Vec<Expr>,
}

/// Compiles one rule for a table of `family`; anonymous sets get ids from `next_id` on.
pub(crate) fn compile(rule: &Rule, family: Family, next_id: &mut u32) -> Compiled {
    let mut compiler = Compiler { family, next_id, restricted: None, proto: None, out: Compiled::default() };
    for part in &rule.parts {
        compiler.part(part);
    }
    compiler.out
}

struct Compiler<'a> {
    family: Family,
    next_id: &'a mut u32,
    /// The IP version that the rule has been restricted to so far.
    restricted: Option<bool>,
    /// The transport protocol that the rule has been restricted to so far.
    proto: Option<u8>,
    out: Compiled,
}

impl Compiler<'_> {
    fn part(&mut self, part: &Part) {
        match part {
            Part::L4Proto(cmp, proto) => self.l4proto(*cmp, *proto),
            Part::Mark(cmp, mark) => self.meta_u32(meta::MARK, *cmp, *mark),
            Part::SkUid(cmp, uid) => self.meta_u32(meta::SKUID, *cmp, *uid),
            Part::SkGid(cmp, gid) => self.meta_u32(meta::SKGID, *cmp, *gid),
            Part::Iif(cmp, name) => self.interface(meta::IIFNAME, *cmp, name),
            Part::Oif(cmp, name) => self.interface(meta::OIFNAME, *cmp, name),
            Part::Addr(side, cmp, prefix) => self.addr(*side, *cmp, *prefix),
            Part::Addrs(side, cmp, addrs) => self.addrs(*side, *cmp, addrs),
            Part::Ports(proto, side, cmp, ports) => self.ports(*proto, *side, *cmp, ports),
            Part::CtState(states) => self.ct_bits(ct::STATE, states.iter().copied().map(CtState::bit).sum()),
            Part::CtDnat => self.ct_bits(ct::STATUS, CT_STATUS_DNAT),
            Part::CtMark(cmp, mark) => {
                self.push(Expr::Ct { key: ct::MARK, to: R0 });
                self.cmp(*cmp, mark.to_ne_bytes().to_vec());
            }
            Part::PairIn(set) => self.pair(set),
            Part::ServiceVmap(map, key) => self.service(map, *key),
            Part::TransparentSocket => {
                self.push(Expr::Socket { to: R0 });
                self.cmp(Cmp::Eq, vec![1]);
            }
            Part::SetMark(mark) => {
                self.push(Expr::Immediate { to: R0, value: mark.to_ne_bytes().to_vec() });
                self.push(Expr::SetMeta { key: meta::MARK, from: R0 });
            }
            Part::Trace => {
                self.push(Expr::Immediate { to: R0, value: vec![1] });
                self.push(Expr::SetMeta { key: meta::NFTRACE, from: R0 });
            }
            Part::SaveMark => {
                self.push(Expr::Meta { key: meta::MARK, to: R0 });
                self.push(Expr::SetCt { key: ct::MARK, from: R0 });
            }
            Part::RestoreMark => {
                self.push(Expr::Ct { key: ct::MARK, to: R0 });
                self.push(Expr::SetMeta { key: meta::MARK, from: R0 });
            }
            Part::SetCtZone(zone) => {
                self.push(Expr::Immediate { to: R0, value: zone.to_ne_bytes().to_vec() });
                self.push(Expr::SetCt { key: ct::ZONE, from: R0 });
            }
            Part::Redirect(port) => {
                self.port_immediate(*port);
                self.push(Expr::Redirect { port: R0 });
            }
            Part::Tproxy(port) => {
                self.port_immediate(*port);
                self.push(Expr::Tproxy { port: R0 });
            }
            Part::Dnat(pick, targets) => self.dnat(*pick, targets),
            Part::Masquerade => self.push(Expr::Masquerade),
            Part::Reject(how) => self.reject(*how),
            Part::Verdict(verdict) => self.push(Expr::Verdict(verdict.clone())),
        }
    }

    fn push(&mut self, expr: Expr) {
        self.out.exprs.push(expr);
    }

    fn cmp(&mut self, cmp: Cmp, value: Vec<u8>) {
        self.push(Expr::Cmp { reg: R0, equal: cmp == Cmp::Eq, value });
    }

    fn meta_u32(&mut self, key: u32, cmp: Cmp, value: u32) {
        self.push(Expr::Meta { key, to: R0 });
        self.cmp(cmp, value.to_ne_bytes().to_vec());
    }

    fn interface(&mut self, key: u32, cmp: Cmp, name: &str) {
        let mut value: Vec<u8> = name.bytes().take(INTERFACE_NAME_LEN - 1).collect();
        value.resize(INTERFACE_NAME_LEN, 0);
        self.push(Expr::Meta { key, to: R0 });
        self.cmp(cmp, value);
    }

    fn l4proto(&mut self, cmp: Cmp, proto: u8) {
        if cmp == Cmp::Eq && self.proto == Some(proto) {
            return;
        }
        self.push(Expr::Meta { key: meta::L4PROTO, to: R0 });
        self.cmp(cmp, vec![proto]);
        if cmp == Cmp::Eq {
            self.proto = Some(proto);
        }
    }

    /// An `inet` table sees both families: what reads an address must first ask which one it is.
    fn restrict(&mut self, v4: bool) {
        if self.family == Family::Inet && self.restricted != Some(v4) {
            let family = if v4 { Family::Ip } else { Family::Ip6 };
            self.push(Expr::Meta { key: meta::NFPROTO, to: R0 });
            self.cmp(Cmp::Eq, vec![family.number()]);
            self.restricted = Some(v4);
        }
    }

    fn load_addr(&mut self, side: Side, v4: bool, to: u32) {
        let (offset, len) = match (v4, side) {
            (true, Side::Source) => (12, 4),
            (true, Side::Destination) => (16, 4),
            (false, Side::Source) => (8, 16),
            (false, Side::Destination) => (24, 16),
        };
        self.push(Expr::Payload { base: Base::Network, offset, len, to });
    }

    fn addr(&mut self, side: Side, cmp: Cmp, prefix: Prefix) {
        let v4 = prefix.addr.is_ipv4();
        self.restrict(v4);
        if prefix.len == 0 && cmp == Cmp::Eq {
            return;
        }
        self.load_addr(side, v4, R0);
        let mut bytes = octets(prefix.addr);
        if prefix.len < Prefix::host(prefix.addr).len {
            let mask = mask(prefix.len, bytes.len());
            bytes.iter_mut().zip(&mask).for_each(|(b, m)| *b &= m);
            self.push(Expr::Bitwise { reg: R0, mask });
        }
        self.cmp(cmp, bytes);
    }

    fn addrs(&mut self, side: Side, cmp: Cmp, addrs: &[IpAddr]) {
        let v4 = addrs.first().is_none_or(IpAddr::is_ipv4);
        self.restrict(v4);
        self.load_addr(side, v4, R0);
        let key_type = if v4 { datatype::IPADDR } else { datatype::IP6ADDR };
        let len = if v4 { 4 } else { 16 };
        self.lookup(cmp, key_type, len, addrs.iter().map(|a| octets(*a)).collect());
    }

    fn ports(&mut self, proto: Proto, side: Side, cmp: Cmp, ports: &[u16]) {
        self.l4proto(Cmp::Eq, proto.number());
        let offset = if side == Side::Source { 0 } else { 2 };
        self.push(Expr::Payload { base: Base::Transport, offset, len: 2, to: R0 });
        match ports {
            [port] => self.cmp(cmp, port.to_be_bytes().to_vec()),
            many => {
                self.lookup(
                    cmp,
                    datatype::INET_SERVICE,
                    2,
                    many.iter().map(|p| p.to_be_bytes().to_vec()).collect(),
                );
            }
        }
    }

    fn lookup(&mut self, cmp: Cmp, key_type: u32, key_len: u32, mut keys: Vec<Vec<u8>>) {
        keys.sort();
        keys.dedup();
        let elements = keys.into_iter().map(|key| (key, None)).collect();
        let (set, id) = self.anonymous(AnonymousSet { id: 0, key_type, key_len, data: None, elements });
        self.push(Expr::Lookup { set, id: Some(id), from: R0, to: None, invert: cmp == Cmp::Ne });
    }

    fn anonymous(&mut self, mut set: AnonymousSet) -> (String, u32) {
        set.id = *self.next_id;
        *self.next_id += 1;
        let reference = (set.name().to_owned(), set.id);
        self.out.sets.push(set);
        reference
    }

    fn ct_bits(&mut self, key: u32, bits: u32) {
        self.push(Expr::Ct { key, to: R0 });
        self.push(Expr::Bitwise { reg: R0, mask: bits.to_ne_bytes().to_vec() });
        self.cmp(Cmp::Ne, vec![0; 4]);
    }

    fn pair(&mut self, set: &str) {
        self.restrict(true);
        self.load_addr(Side::Source, true, R0);
        self.load_addr(Side::Destination, true, R0 + 1);
        self.push(Expr::Lookup { set: set.to_owned(), id: None, from: R0, to: None, invert: false });
    }

    fn service(&mut self, map: &str, key: crate::ConcatKey) {
        self.restrict(true);
        let mut reg = R0;
        if key == crate::ConcatKey::AddrProtoPort {
            self.load_addr(Side::Destination, true, reg);
            reg += 1;
        }
        self.push(Expr::Meta { key: meta::L4PROTO, to: reg });
        self.push(Expr::Payload { base: Base::Transport, offset: 2, len: 2, to: reg + 1 });
        self.push(Expr::Lookup {
            set: map.to_owned(),
            id: None,
            from: R0,
            to: Some(VERDICT_REGISTER),
            invert: false,
        });
    }

    fn port_immediate(&mut self, port: u16) {
        self.push(Expr::Immediate { to: R0, value: port.to_be_bytes().to_vec() });
    }

    /// One target is written into the rule; of several, a map from number to target decides.
    fn dnat(&mut self, pick: Pick, targets: &[SocketAddr]) {
        let Some(first) = targets.first() else { return };
        let v4 = first.is_ipv4();
        self.restrict(v4);
        let (addr_type, addr_len) = if v4 { (datatype::IPADDR, 4) } else { (datatype::IP6ADDR, 16) };
        let family = if v4 { Family::Ip } else { Family::Ip6 }.number();
        let port_register = R0 + addr_len / 4;
        if let [one] = targets {
            self.push(Expr::Immediate { to: R0, value: octets(one.ip()) });
            self.push(Expr::Immediate { to: port_register, value: one.port().to_be_bytes().to_vec() });
        } else {
            let modulus = targets.len() as u32;
            match pick {
                Pick::Random => self.push(Expr::Numgen { to: R0, modulus }),
                Pick::SourceHash => {
                    self.load_addr(Side::Source, v4, R0);
                    self.push(Expr::Hash { from: R0, len: addr_len, to: R0, modulus });
                }
            }
            let elements = targets.iter().enumerate().map(|(i, t)| {
                let mut value = octets(t.ip());
                value.extend_from_slice(&t.port().to_be_bytes());
                value.extend_from_slice(&[0, 0]);
                ((i as u32).to_ne_bytes().to_vec(), Some(value))
            });
            let (set, id) = self.anonymous(AnonymousSet {
                id: 0,
                key_type: datatype::INTEGER,
                key_len: 4,
                data: Some((datatype::concat(&[addr_type, datatype::INET_SERVICE]), addr_len + 4)),
                elements: elements.collect(),
            });
            self.push(Expr::Lookup { set, id: Some(id), from: R0, to: Some(R0), invert: false });
        }
        self.push(Expr::Dnat { family, addr: R0, port: port_register });
    }

    fn reject(&mut self, how: Reject) {
        // 1: NFT_REJECT_TCP_RST; 0 and 2: ICMP code 3 of one family, or the code that fits both.
        let (kind, code) = match (how, self.family) {
            (Reject::TcpReset, _) => (1, 0),
            (Reject::PortUnreachable, Family::Inet) => (2, 1),
            (Reject::PortUnreachable, Family::Ip) => (0, 3),
            (Reject::PortUnreachable, Family::Ip6) => (0, 4),
        };
        self.push(Expr::Reject { kind, code });
    }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

fn mask(len: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (0xff00u16 >> usize::from(len).saturating_sub(i * 8).min(8)) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_count_leading_bits() {
        assert_eq!(mask(0, 4), [0, 0, 0, 0]);
        assert_eq!(mask(9, 4), [0xff, 0x80, 0, 0]);
        assert_eq!(mask(32, 4), [0xff; 4]);
    }

    #[test]
    fn an_inet_rule_asks_for_the_family_and_protocol_once() {
        let rule = Rule::new()
            .addr(Side::Source, Cmp::Eq, "10.0.0.0/8".parse().unwrap())
            .addr(Side::Destination, Cmp::Ne, "10.1.2.3".parse().unwrap())
            .dport(Proto::Tcp, Cmp::Eq, &[80])
            .sport(Proto::Tcp, Cmp::Eq, &[81]);
        let compiled = compile(&rule, Family::Inet, &mut 1);
        let metas = compiled.exprs.iter().filter(|e| matches!(e, Expr::Meta { .. })).count();
        assert_eq!(metas, 2);
        assert!(compiled.sets.is_empty());
    }

    #[test]
    fn each_anonymous_set_has_an_id_of_its_own() {
        let mut next = 1;
        let rule = Rule::new().dport(Proto::Tcp, Cmp::Eq, &[1, 2]).sport(Proto::Tcp, Cmp::Ne, &[2, 3, 2]);
        let compiled = compile(&rule, Family::Ip, &mut next);
        assert_eq!(compiled.sets.iter().map(|s| s.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(compiled.sets[1].elements.len(), 2, "duplicates would be refused");
        assert_eq!(next, 3);
    }
}
