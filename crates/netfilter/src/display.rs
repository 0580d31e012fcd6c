//! Tables, chains and rules in nft's syntax.

use std::fmt::{self, Display, Formatter};

use crate::model::{Chain, Hook, Policy, Table};
use crate::rule::{Cmp, Part, Pick, Prefix, Reject, Rule, Side, Verdict};
use crate::set::ConcatKey;

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family.word(), self.name)?;
        for (i, chain) in self.chains.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = &self.hook {
            writeln!(f, "\t\t{hook}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let policy = match self.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        let (kind, point) = (self.kind.word(), self.point.word());
        write!(f, "type {kind} hook {point} priority {}; policy {policy};", priority(self.priority))
    }
}

/// nft prints the well-known priorities by name.
fn priority(value: i32) -> String {
    match value {
        -300 => "raw".into(),
        -150 => "mangle".into(),
        -100 => "dstnat".into(),
        0 => "filter".into(),
        100 => "srcnat".into(),
        other => other.to_string(),
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, part) in self.parts.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{part}")?;
        }
        Ok(())
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Prefix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.len == Prefix::host(self.addr).len {
            write!(f, "{}", self.addr)
        } else {
            write!(f, "{}/{}", self.addr, self.len)
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Part::L4Proto(c, proto) => write!(f, "meta l4proto {}{}", op(*c), proto_word(*proto)),
            Part::Mark(c, mark) => write!(f, "meta mark {}0x{mark:08x}", op(*c)),
            Part::SkUid(c, id) => write!(f, "meta skuid {}{id}", op(*c)),
            Part::SkGid(c, id) => write!(f, "meta skgid {}{id}", op(*c)),
            Part::Iif(c, name) => write!(f, "iifname {}\"{name}\"", op(*c)),
            Part::Oif(c, name) => write!(f, "oifname {}\"{name}\"", op(*c)),
            Part::Addr(side, c, prefix) => {
                write!(f, "{} {} {}{prefix}", ip(prefix.addr.is_ipv4()), addr(*side), op(*c))
            }
            Part::Addrs(side, c, addrs) => {
                let family = ip(addrs.first().is_none_or(|a| a.is_ipv4()));
                write!(f, "{family} {} {}{}", addr(*side), op(*c), set(addrs))
            }
            Part::Ports(proto, side, c, ports) => {
                let end = if *side == Side::Source { "sport" } else { "dport" };
                write!(f, "{} {end} {}", proto.word(), op(*c))?;
                match ports.as_slice() {
                    [port] => write!(f, "{port}"),
                    many => f.write_str(&set(many)),
                }
            }
            Part::CtState(states) => {
                write!(f, "ct state {}", states.iter().map(|s| s.word()).collect::<Vec<_>>().join(","))
            }
            Part::CtMark(c, mark) => write!(f, "ct mark {}0x{mark:08x}", op(*c)),
            Part::CtDnat => f.write_str("ct status dnat"),
            Part::PairIn(set) => write!(f, "ip saddr . ip daddr @{set}"),
            Part::ServiceVmap(map, ConcatKey::AddrProtoPort) => {
                write!(f, "ip daddr . meta l4proto . th dport vmap @{map}")
            }
            Part::ServiceVmap(map, ConcatKey::ProtoPort) => write!(f, "meta l4proto . th dport vmap @{map}"),
            Part::TransparentSocket => f.write_str("socket transparent 1"),
            Part::SetMark(mark) => write!(f, "meta mark set 0x{mark:08x}"),
            Part::Trace => f.write_str("meta nftrace set 1"),
            Part::SaveMark => f.write_str("ct mark set meta mark"),
            Part::RestoreMark => f.write_str("meta mark set ct mark"),
            Part::SetCtZone(zone) => write!(f, "ct zone set {zone}"),
            Part::Redirect(port) => write!(f, "redirect to :{port}"),
            Part::Tproxy(port) => write!(f, "tproxy to :{port}"),
            Part::Dnat(pick, targets) => dnat(f, *pick, targets),
            Part::Masquerade => f.write_str("masquerade"),
            Part::Reject(Reject::TcpReset) => f.write_str("reject with tcp reset"),
            Part::Reject(Reject::PortUnreachable) => f.write_str("reject"),
            Part::Verdict(verdict) => write!(f, "{verdict}"),
        }
    }
}

fn dnat(f: &mut Formatter<'_>, pick: Pick, targets: &[std::net::SocketAddr]) -> fmt::Result {
    let family = ip(targets.first().is_none_or(|t| t.is_ipv4()));
    if let [one] = targets {
        return write!(f, "dnat {family} to {one}");
    }
    let by = match pick {
        Pick::Random => format!("numgen random mod {}", targets.len()),
        Pick::SourceHash => format!("jhash {family} saddr mod {} seed 0x1a7e", targets.len()),
    };
    let map: Vec<String> =
        targets.iter().enumerate().map(|(i, t)| format!("{i} : {} . {}", t.ip(), t.port())).collect();
    write!(f, "dnat {family} to {by} map {{ {} }}", map.join(", "))
}

fn op(cmp: Cmp) -> &'static str {
    match cmp {
        Cmp::Eq => "",
        Cmp::Ne => "!= ",
    }
}

fn ip(v4: bool) -> &'static str {
    if v4 { "ip" } else { "ip6" }
}

fn addr(side: Side) -> &'static str {
    if side == Side::Source { "saddr" } else { "daddr" }
}

fn proto_word(proto: u8) -> String {
    match proto {
        6 => "tcp".into(),
        17 => "udp".into(),
        132 => "sctp".into(),
        other => other.to_string(),
    }
}

fn set<T: Display + Ord + Clone>(items: &[T]) -> String {
    let mut items = items.to_vec();
    items.sort();
    items.dedup();
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    format!("{{ {} }}", items.join(", "))
}
