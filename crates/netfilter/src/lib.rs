//! nftables spoken over netlink, so that no `nft` or `iptables` program need be installed; and the same tables as input
//! of [`iptables`] for kernels without nf_tables.
//!
//! A [`Batch`] collects changes (tables, chains, rules, maps, elements) and is sent as one transaction: the kernel
//! applies all of it or nothing. [`Rule`] prints in nft's own syntax, so what a dry run shows is what is applied.
//!
//! Everything acts on the network namespace of the calling thread.

mod attr;
mod batch;
mod compile;
mod display;
mod error;
mod expr;
pub mod iptables;
mod model;
mod rule;
mod set;
mod socket;

pub use batch::{Batch, table_exists};
pub use error::Error;
pub use model::{Chain, ChainKind, Family, Hook, HookPoint, Policy, Table};
pub use rule::{Cmp, CtState, Pick, Prefix, Proto, Reject, Rule, Side, Verdict};
pub use set::{ConcatKey, PairSet, ServiceMap};
