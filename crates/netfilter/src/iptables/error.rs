//! What can go wrong, in words.

/// Rules that iptables cannot express, or programs that are missing or fail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// iptables has nothing that does the same.
    #[error("iptables: {what}: {reason}")]
    Untranslatable {
        /// The rule or chain, in nft's syntax.
        what: String,
        /// What is in the way.
        reason: String,
    },
    /// None of the programs is installed.
    #[error("iptables: neither {legacy}-restore nor {plain}-restore is installed")]
    Missing {
        /// `iptables-legacy` or `ip6tables-legacy`.
        legacy: String,
        /// `iptables` or `ip6tables`.
        plain: &'static str,
    },
    /// A program could not be run.
    #[error("iptables: cannot run {program}: {reason}")]
    Run {
        /// Its file.
        program: String,
        /// The system's answer.
        reason: String,
    },
    /// A program ended with an error.
    #[error("iptables: {program} failed{at}: {stderr}")]
    Failed {
        /// Its file.
        program: String,
        /// The line of the input that it complains of, if it names one: ` at "..."`.
        at: String,
        /// What it said.
        stderr: String,
    },
    /// A program failed, and what was there before could not be put back.
    #[error("{failure}; what was there could not be put back: {restoring}")]
    HalfApplied {
        /// Why the change failed.
        failure: Box<Error>,
        /// Why it could not be undone.
        restoring: Box<Error>,
    },
}
