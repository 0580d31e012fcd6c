//! What a server knows by itself.

use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, CNAME, RData};
use simple_dns::{CLASS, Name, QTYPE, RCODE, ResourceRecord, TYPE};

/// Names that a server answers for.
pub trait Zone: Send + Sync + 'static {
    /// Looks a question up. Called for every query, on the server's task: it must not take long.
    fn look_up(&self, asked: &Asked) -> Verdict;
}

/// A question of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name in lower case, without the last dot.
    pub name: String,
    pub(crate) kind: QTYPE,
}

impl Asked {
    /// A question for a type.
    pub fn new(name: &str, kind: TYPE) -> Asked {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        Asked { name, kind: QTYPE::TYPE(kind) }
    }

    /// Whether records of a type are asked for.
    pub fn wants(&self, kind: TYPE) -> bool {
        self.kind == QTYPE::ANY || self.kind == QTYPE::TYPE(kind)
    }
}

/// What a zone says to a question.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The name exists; it may have nothing of the type that was asked for.
    Found(Records),
    /// The name does not exist.
    Missing(Records),
    /// Others know.
    Elsewhere {
        /// What the client is told when the others say that the name does not exist; `NameError` leaves it at that.
        missing: RCODE,
    },
}

/// The records of an answer.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// What was asked for, aliases on the way included.
    pub answers: Vec<ResourceRecord<'static>>,
    /// Who says so, where there is no answer (RFC 2308).
    pub authority: Vec<ResourceRecord<'static>>,
    /// What the client will ask for next.
    pub additional: Vec<ResourceRecord<'static>>,
}

/// A record; none where the owner is no DNS name. `ttl` is in seconds.
pub fn record(owner: &str, ttl: u32, data: RData<'static>) -> Option<ResourceRecord<'static>> {
    Some(ResourceRecord::new(Name::new(owner).ok()?.into_owned(), CLASS::IN, ttl, data))
}

/// An A or AAAA record.
pub fn address(owner: &str, ttl: u32, ip: IpAddr) -> Option<ResourceRecord<'static>> {
    let data = match ip {
        IpAddr::V4(ip) => RData::A(A { address: u32::from(ip) }),
        IpAddr::V6(ip) => RData::AAAA(AAAA { address: u128::from(ip) }),
    };
    record(owner, ttl, data)
}

/// A CNAME record; none where the target is no DNS name.
pub fn alias(owner: &str, ttl: u32, target: &str) -> Option<ResourceRecord<'static>> {
    record(owner, ttl, RData::CNAME(CNAME(Name::new(target).ok()?.into_owned())))
}
