//! The same model for kernels without nf_tables: input of `iptables-restore`, for each IP version.
//!
//! The built-in chains are everybody's: a base chain becomes a chain of its own, whose name begins with `LATEEN_`, and
//! one rule at the end of the built-in chain that leads to it. Chains that these lead to keep their names. So what is
//! there can be told from what others have made ([`Owned::saved`]), replaced as a whole and removed.
//!
//! Everything acts on the network namespace of the calling thread.

mod error;
mod owned;
mod program;
mod saved;
mod table;
mod translate;

pub use error::Error;
pub use owned::Owned;
pub use program::{Programs, has_tables};

/// How the chains begin to which the built-in ones lead.
pub(crate) const ENTRANCE: &str = "LATEEN_";

/// Which of the two sets of tables: IPv4 and IPv6 have their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `iptables`.
    V4,
    /// `ip6tables`.
    V6,
}

impl Version {
    /// How the programs' names begin.
    pub fn word(self) -> &'static str {
        match self {
            Version::V4 => "iptables",
            Version::V6 => "ip6tables",
        }
    }
}
