//! nf_tables expressions as attributes (`linux/netfilter/nf_tables.h`).

use crate::attr::Buffer;
use crate::rule::Verdict;

/// A 32-bit register; four of them make one of the old 128-bit registers.
pub(crate) type Register = u32;
pub(crate) const VERDICT_REGISTER: Register = 0;
/// First data register.
pub(crate) const R0: Register = 8;

pub(crate) mod meta {
    pub const MARK: u32 = 3;
    pub const IIFNAME: u32 = 6;
    pub const OIFNAME: u32 = 7;
    pub const SKUID: u32 = 10;
    pub const SKGID: u32 = 11;
    pub const NFTRACE: u32 = 12;
    pub const NFPROTO: u32 = 15;
    pub const L4PROTO: u32 = 16;
}

pub(crate) mod ct {
    pub const STATE: u32 = 0;
    pub const STATUS: u32 = 2;
    pub const MARK: u32 = 3;
    pub const ZONE: u32 = 17;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Network = 1,
    Transport = 2,
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Meta { key: u32, to: Register },
    SetMeta { key: u32, from: Register },
    Ct { key: u32, to: Register },
    SetCt { key: u32, from: Register },
    Payload { base: Base, offset: u32, len: u32, to: Register },
    Bitwise { reg: Register, mask: Vec<u8> },
    Cmp { reg: Register, equal: bool, value: Vec<u8> },
    Lookup { set: String, id: Option<u32>, from: Register, to: Option<Register>, invert: bool },
    Immediate { to: Register, value: Vec<u8> },
    Verdict(Verdict),
    Numgen { to: Register, modulus: u32 },
    Hash { from: Register, len: u32, to: Register, modulus: u32 },
    Dnat { family: u8, addr: Register, port: Register },
    Redirect { port: Register },
    Masquerade,
    Tproxy { port: Register },
    Socket { to: Register },
    Reject { kind: u32, code: u8 },
}

/// `NFTA_DATA_VALUE` inside an attribute.
pub(crate) fn data(buffer: &mut Buffer, kind: u16, value: &[u8]) {
    buffer.nested(kind, |b| b.raw(1, value));
}

/// `NFTA_DATA_VERDICT` inside an attribute.
pub(crate) fn verdict_data(buffer: &mut Buffer, kind: u16, verdict: &Verdict) {
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Return => (-5, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
    };
    buffer.nested(kind, |b| {
        b.nested(2, |b| {
            b.u32(1, code as u32);
            if let Some(chain) = chain {
                b.text(2, chain);
            }
        });
    });
}

impl Expr {
    /// Writes the expression as one list element.
    pub fn encode(&self, buffer: &mut Buffer) {
        buffer.nested(1, |b| {
            b.text(1, self.name());
            b.nested(2, |b| self.encode_data(b));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Expr::Meta { .. } | Expr::SetMeta { .. } => "meta",
            Expr::Ct { .. } | Expr::SetCt { .. } => "ct",
            Expr::Payload { .. } => "payload",
            Expr::Bitwise { .. } => "bitwise",
            Expr::Cmp { .. } => "cmp",
            Expr::Lookup { .. } => "lookup",
            Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
            Expr::Numgen { .. } => "numgen",
            Expr::Hash { .. } => "hash",
            Expr::Dnat { .. } => "nat",
            Expr::Redirect { .. } => "redir",
            Expr::Masquerade => "masq",
            Expr::Tproxy { .. } => "tproxy",
            Expr::Socket { .. } => "socket",
            Expr::Reject { .. } => "reject",
        }
    }

    /// Attribute numbers are `NFTA_<NAME>_*`, in the order of the kernel's header.
    fn encode_data(&self, b: &mut Buffer) {
        match self {
            Expr::Meta { key, to } => words(b, &[(2, *key), (1, *to)]),
            Expr::SetMeta { key, from } => words(b, &[(2, *key), (3, *from)]),
            Expr::Ct { key, to } => words(b, &[(2, *key), (1, *to)]),
            Expr::SetCt { key, from } => words(b, &[(2, *key), (4, *from)]),
            Expr::Payload { base, offset, len, to } => {
                words(b, &[(1, *to), (2, *base as u32), (3, *offset), (4, *len)]);
            }
            Expr::Bitwise { reg, mask } => {
                words(b, &[(1, *reg), (2, *reg), (3, mask.len() as u32)]);
                data(b, 4, mask);
                data(b, 5, &vec![0; mask.len()]);
            }
            Expr::Cmp { reg, equal, value } => {
                words(b, &[(1, *reg), (2, u32::from(!*equal))]);
                data(b, 3, value);
            }
            Expr::Lookup { set, id, from, to, invert } => {
                b.text(1, set);
                b.u32(2, *from);
                to.iter().for_each(|to| b.u32(3, *to));
                id.iter().for_each(|id| b.u32(4, *id));
                b.u32(5, u32::from(*invert));
            }
            Expr::Immediate { to, value } => {
                b.u32(1, *to);
                data(b, 2, value);
            }
            Expr::Verdict(verdict) => {
                b.u32(1, VERDICT_REGISTER);
                verdict_data(b, 2, verdict);
            }
            // Type 1: NFT_NG_RANDOM.
            Expr::Numgen { to, modulus } => words(b, &[(1, *to), (2, *modulus), (3, 1), (4, 0)]),
            // Type 0: NFT_HASH_JENKINS, with a fixed seed so that every update keeps clients where they are.
            Expr::Hash { from, len, to, modulus } => {
                words(b, &[(1, *from), (2, *to), (3, *len), (4, *modulus), (5, 0x1a7e), (6, 0), (7, 0)]);
            }
            // Type 1: NFT_NAT_DNAT.
            Expr::Dnat { family, addr, port } => {
                words(b, &[(1, 1), (2, u32::from(*family)), (3, *addr), (5, *port)]);
            }
            Expr::Redirect { port } => b.u32(1, *port),
            Expr::Masquerade => {}
            // Family 0: whatever the packet is.
            Expr::Tproxy { port } => words(b, &[(1, 0), (3, *port)]),
            // Key 0: NFT_SOCKET_TRANSPARENT.
            Expr::Socket { to } => words(b, &[(1, 0), (2, *to)]),
            Expr::Reject { kind, code } => {
                b.u32(1, *kind);
                b.raw(2, &[*code]);
            }
        }
    }
}

fn words(buffer: &mut Buffer, attributes: &[(u16, u32)]) {
    for (kind, value) in attributes {
        buffer.u32(*kind, *value);
    }
}
