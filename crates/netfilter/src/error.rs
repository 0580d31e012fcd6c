//! What can go wrong, in words.

use nix::errno::Errno;

/// A transaction that the kernel refused, or that could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The netlink socket could not be made or used.
    #[error("nftables: cannot {action}: {}", explain(*.errno))]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The kernel refused one change; nothing of the batch was applied.
    #[error("nftables: {change}: {}; nothing was changed", explain(*.errno))]
    Refused {
        /// The change that was refused, in nft's syntax.
        change: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The kernel answered something that is no netlink message.
    #[error("nftables: the kernel's answer is cut short")]
    Truncated,
}

impl Error {
    /// The kernel's error number.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Socket { errno, .. } | Error::Refused { errno, .. } => Some(*errno),
            Error::Truncated => None,
        }
    }

    /// Whether the kernel lacks nf_tables, or an expression or kind of chain of the batch; lack of permission is none of it.
    pub fn kernel_lacks(&self) -> bool {
        let lacking = [Errno::ENOENT, Errno::EOPNOTSUPP, Errno::EPROTONOSUPPORT, Errno::EAFNOSUPPORT];
        self.errno().is_some_and(|errno| lacking.contains(&errno))
    }

    /// Whether this kernel or sandbox can never do it: no permission, or no nf_tables.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.errno(),
            Some(
                Errno::EPERM
                    | Errno::EACCES
                    | Errno::EPROTONOSUPPORT
                    | Errno::EAFNOSUPPORT
                    | Errno::EOPNOTSUPP
            )
        )
    }
}

/// Errno values as nf_tables uses them.
fn explain(errno: Errno) -> String {
    match errno {
        Errno::EPERM | Errno::EACCES => {
            "not permitted: it takes CAP_NET_ADMIN in this network namespace".into()
        }
        Errno::ENOENT => "there is no such table, chain or set, or the kernel lacks this expression \
                          (module nft_nat, nft_redir, nft_masq, nft_tproxy, nft_numgen ...)"
            .into(),
        Errno::EOPNOTSUPP => "this hook or family does not support it".into(),
        Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => "the kernel has no nf_tables".into(),
        Errno::EEXIST => "it exists already, with other properties".into(),
        Errno::EBUSY => "it is still in use".into(),
        Errno::EINVAL => "the kernel finds it invalid".into(),
        Errno::ENOBUFS | Errno::EMSGSIZE => "the change is too large for the socket's buffer".into(),
        Errno::EAGAIN => "the kernel did not answer in time".into(),
        other => other.desc().to_owned(),
    }
}
