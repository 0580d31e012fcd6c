//! Istio's traffic capture: the arguments of istio-iptables (and of Istio 1.0's `istio-init`) become a ruleset, which
//! is applied in the current network namespace: by one nftables transaction, or by iptables where the kernel has no
//! nf_tables.
//!
//! ```
//! use clap::Parser;
//! let arguments = lateen_capture::Arguments::parse_from(["capture", "-p", "15001", "-z", "15006", "-i", "*", "-b", "*"]);
//! let ruleset = lateen_capture::Ruleset::new(&arguments.resolve(None, false, vec![])?);
//! assert!(ruleset.to_string().contains("redirect to :15006"));
//! # Ok::<(), lateen_capture::Error>(())
//! ```

mod apply;
mod arguments;
mod backend;
mod dns;
mod identity;
mod iptables;
mod nftables;
mod redirect;
mod routes;
mod ruleset;
mod source;
mod tproxy;
mod validation;
mod values;

pub use apply::{enter, run};
pub use arguments::{Accepted, Arguments, Capture, Mode, Ports, Ranges};
pub use backend::Backend;
pub use identity::Identity;
pub use ruleset::Ruleset;
pub use validation::NOT_CAPTURED;

/// What can go wrong with capture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument that says nothing usable.
    #[error("{flag} {value:?}: {reason}")]
    Argument {
        /// The flag as the user may write it.
        flag: &'static str,
        /// What stood there.
        value: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The kernel refused the ruleset.
    #[error(transparent)]
    Netfilter(#[from] lateen_netfilter::Error),
    /// The programs of iptables are missing or refused the ruleset.
    #[error(transparent)]
    Iptables(#[from] lateen_netfilter::iptables::Error),
    /// Neither nftables nor iptables works here.
    #[error(
        "traffic cannot be captured, neither by {nftables} nor by {iptables}. Either load nf_tables (with nft_chain_nat, \
         nft_redir and, for TPROXY, nft_tproxy) into the node's kernel, or install iptables where this runs, or let the \
         CNI plugin capture, which uses the node's iptables"
    )]
    NoBackend {
        /// Why not nftables.
        nftables: String,
        /// Why not iptables.
        iptables: String,
    },
    /// The network namespace cannot be entered.
    #[error("network namespace {path}: {reason}")]
    Namespace {
        /// Its file.
        path: String,
        /// The kernel's answer.
        reason: String,
    },
    /// The check found that connections are not captured.
    #[error("{0}")]
    NotCaptured(String),
    /// The kernel refused the routes that TPROXY needs.
    #[error("cannot {action}: {reason}")]
    Route {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        reason: String,
    },
}
