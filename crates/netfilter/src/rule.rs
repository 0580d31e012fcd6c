//! Rules: matches, then what to do.

use std::net::{IpAddr, SocketAddr};

/// Equality or its opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
}

/// Which end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Transport protocols with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Proto {
    /// IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Proto::Tcp => 6,
            Proto::Udp => 17,
            Proto::Sctp => 132,
        }
    }

    /// nft's word.
    pub fn word(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
            Proto::Sctp => "sctp",
        }
    }
}

/// An address with the number of leading bits that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Address; bits behind the prefix are ignored.
    pub addr: IpAddr,
    /// Bits that count: 0-32 or 0-128.
    pub len: u8,
}

impl Prefix {
    /// One address.
    pub fn host(addr: IpAddr) -> Self {
        Self { addr, len: if addr.is_ipv4() { 32 } else { 128 } }
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (addr, len) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let addr: IpAddr =
            addr.parse().map_err(|_| format!("{text:?} is no IP address or CIDR such as 10.0.0.0/8"))?;
        let full = Self::host(addr).len;
        let len = match len {
            None => full,
            Some(len) => len
                .parse()
                .ok()
                .filter(|l| *l <= full)
                .ok_or_else(|| format!("{text:?}: the prefix length must be 0-{full}"))?,
        };
        Ok(Self { addr, len })
    }
}

/// Connection tracking states that a rule may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtState {
    /// First packet.
    New,
    /// Answered connections.
    Established,
    /// Belongs to another connection.
    Related,
    /// Makes no sense to the tracker.
    Invalid,
}

impl CtState {
    /// `NF_CT_STATE_BIT`.
    pub(crate) fn bit(self) -> u32 {
        match self {
            CtState::Invalid => 1,
            CtState::Established => 2,
            CtState::Related => 4,
            CtState::New => 8,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            CtState::New => "new",
            CtState::Established => "established",
            CtState::Related => "related",
            CtState::Invalid => "invalid",
        }
    }
}

/// How one of several translation targets is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pick {
    /// At random for each connection.
    Random,
    /// By a hash of the client's address, so that a client stays with its endpoint.
    SourceHash,
}

/// The answer that a rejected packet gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// TCP reset (the rule must match TCP).
    TcpReset,
    /// ICMP port unreachable: a client sees "connection refused".
    PortUnreachable,
}

/// The end of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let pass this hook.
    Accept,
    /// Discard.
    Drop,
    /// Go on behind the jump.
    Return,
    /// Evaluate a chain, then come back.
    Jump(String),
    /// Evaluate a chain and do not come back.
    Goto(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    L4Proto(Cmp, u8),
    Mark(Cmp, u32),
    SkUid(Cmp, u32),
    SkGid(Cmp, u32),
    Iif(Cmp, String),
    Oif(Cmp, String),
    Addr(Side, Cmp, Prefix),
    Addrs(Side, Cmp, Vec<IpAddr>),
    Ports(Proto, Side, Cmp, Vec<u16>),
    CtState(Vec<CtState>),
    CtMark(Cmp, u32),
    CtDnat,
    PairIn(String),
    ServiceVmap(String, crate::ConcatKey),
    TransparentSocket,
    SetMark(u32),
    SaveMark,
    RestoreMark,
    SetCtZone(u16),
    Trace,
    Redirect(u16),
    Dnat(Pick, Vec<SocketAddr>),
    Masquerade,
    Tproxy(u16),
    Reject(Reject),
    Verdict(Verdict),
}

/// One rule, built part by part in the order in which the kernel evaluates it.
///
/// ```
/// use lateen_netfilter::{Cmp, Proto, Rule, Verdict};
/// let rule = Rule::new().dport(Proto::Tcp, Cmp::Eq, &[15020]).verdict(Verdict::Return);
/// assert_eq!(rule.to_string(), "tcp dport 15020 return");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub(crate) parts: Vec<Part>,
}

impl Rule {
    /// A rule that matches everything and does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Matches the transport protocol.
    pub fn proto(self, cmp: Cmp, proto: Proto) -> Self {
        self.with(Part::L4Proto(cmp, proto.number()))
    }

    /// Matches the packet's mark (a socket's `SO_MARK` on output).
    pub fn mark(self, cmp: Cmp, mark: u32) -> Self {
        self.with(Part::Mark(cmp, mark))
    }

    /// Matches the user that owns the sending socket.
    pub fn uid(self, cmp: Cmp, uid: u32) -> Self {
        self.with(Part::SkUid(cmp, uid))
    }

    /// Matches the group that owns the sending socket.
    pub fn gid(self, cmp: Cmp, gid: u32) -> Self {
        self.with(Part::SkGid(cmp, gid))
    }

    /// Matches the interface on which the packet arrived. Names of more than 15 bytes are cut.
    pub fn iif(self, cmp: Cmp, name: impl Into<String>) -> Self {
        self.with(Part::Iif(cmp, name.into()))
    }

    /// Matches the interface on which the packet leaves. Names of more than 15 bytes are cut.
    pub fn oif(self, cmp: Cmp, name: impl Into<String>) -> Self {
        self.with(Part::Oif(cmp, name.into()))
    }

    /// Matches an address prefix; also restricts an `inet` rule to the prefix's family.
    pub fn addr(self, side: Side, cmp: Cmp, prefix: Prefix) -> Self {
        self.with(Part::Addr(side, cmp, prefix))
    }

    /// Matches one of several addresses, all of the first one's family (others are left out).
    pub fn addrs(self, side: Side, cmp: Cmp, addrs: &[IpAddr]) -> Self {
        let v4 = addrs.first().is_none_or(IpAddr::is_ipv4);
        self.with(Part::Addrs(side, cmp, addrs.iter().copied().filter(|a| a.is_ipv4() == v4).collect()))
    }

    /// Matches destination ports.
    pub fn dport(self, proto: Proto, cmp: Cmp, ports: &[u16]) -> Self {
        self.with(Part::Ports(proto, Side::Destination, cmp, ports.to_vec()))
    }

    /// Matches source ports.
    pub fn sport(self, proto: Proto, cmp: Cmp, ports: &[u16]) -> Self {
        self.with(Part::Ports(proto, Side::Source, cmp, ports.to_vec()))
    }

    /// Matches connections in one of the states.
    pub fn ct_state(self, states: &[CtState]) -> Self {
        self.with(Part::CtState(states.to_vec()))
    }

    /// Matches the connection's mark.
    pub fn ct_mark(self, cmp: Cmp, mark: u32) -> Self {
        self.with(Part::CtMark(cmp, mark))
    }

    /// Matches connections whose destination was translated.
    pub fn ct_dnat(self) -> Self {
        self.with(Part::CtDnat)
    }

    /// Matches when (source, destination) is in the named [`crate::PairSet`].
    pub fn pair_in(self, set: impl Into<String>) -> Self {
        self.with(Part::PairIn(set.into()))
    }

    /// Looks the packet up in a named [`crate::ServiceMap`] and goes where it says.
    pub fn vmap(self, map: impl Into<String>, key: crate::ConcatKey) -> Self {
        self.with(Part::ServiceVmap(map.into(), key))
    }

    /// Matches packets that belong to a transparent socket (`xt_socket --transparent`).
    pub fn transparent_socket(self) -> Self {
        self.with(Part::TransparentSocket)
    }

    /// Sets the packet's mark.
    pub fn set_mark(self, mark: u32) -> Self {
        self.with(Part::SetMark(mark))
    }

    /// Copies the packet's mark to its connection.
    pub fn save_mark(self) -> Self {
        self.with(Part::SaveMark)
    }

    /// Copies the connection's mark to the packet.
    pub fn restore_mark(self) -> Self {
        self.with(Part::RestoreMark)
    }

    /// Tracks the packet's connection in a zone of its own, in which no other zone's connections are seen. For chains
    /// before connection tracking; the first zone that is set counts. Takes a kernel with `CONFIG_NF_CONNTRACK_ZONES`.
    pub fn set_ct_zone(self, zone: u16) -> Self {
        self.with(Part::SetCtZone(zone))
    }

    /// Lets the kernel tell `nft monitor trace` of every rule that the packet meets.
    pub fn trace(self) -> Self {
        self.with(Part::Trace)
    }

    /// Sends the packet to a port of this machine.
    pub fn redirect(self, port: u16) -> Self {
        self.with(Part::Redirect(port))
    }

    /// Translates the destination to one of `targets` (of the first one's family; none: no translation).
    pub fn dnat(self, pick: Pick, targets: &[SocketAddr]) -> Self {
        let v4 = targets.first().is_none_or(SocketAddr::is_ipv4);
        self.with(Part::Dnat(pick, targets.iter().copied().filter(|a| a.is_ipv4() == v4).collect()))
    }

    /// Replaces the source address by the leaving interface's.
    pub fn masquerade(self) -> Self {
        self.with(Part::Masquerade)
    }

    /// Hands the packet to a transparent listener on `port`.
    pub fn tproxy(self, port: u16) -> Self {
        self.with(Part::Tproxy(port))
    }

    /// Refuses the packet with an answer.
    pub fn reject(self, how: Reject) -> Self {
        self.with(Part::Reject(how))
    }

    /// Ends the rule.
    pub fn verdict(self, verdict: Verdict) -> Self {
        self.with(Part::Verdict(verdict))
    }
}
