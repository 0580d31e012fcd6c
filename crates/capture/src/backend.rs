//! Which packet filter captures: nftables, or iptables where the kernel has no nf_tables.

use lateen_netfilter::Error as Nftables;

use crate::{Error, Ruleset, iptables, nftables};

/// What the rules are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The kernel's nf_tables, over netlink.
    Nftables,
    /// The kernel's ip_tables, by the programs of iptables.
    Iptables,
}

impl Backend {
    /// The choice of `--force-iptables-binary`, and of `--iptables-version` where that says nothing; `None` for the first
    /// that works. Source: Istio's `FORCE_IPTABLES_BINARY`.
    ///
    /// # Errors
    /// The flag says something else than `legacy` or `nft`.
    pub(crate) fn chosen(forced: &str, version: Option<&str>) -> Result<Option<Backend>, Error> {
        match forced.trim() {
            "legacy" => Ok(Some(Backend::Iptables)),
            "nft" => Ok(Some(Backend::Nftables)),
            "" => {
                let version = version.unwrap_or_default();
                let says = |words: &[&str]| words.iter().any(|word| version.contains(word));
                Ok(match (says(&["legacy"]), says(&["nft", "nf_tables"])) {
                    (true, _) => Some(Backend::Iptables),
                    (false, true) => Some(Backend::Nftables),
                    (false, false) => None,
                })
            }
            other => Err(Error::Argument {
                flag: "--force-iptables-binary",
                value: other.to_owned(),
                reason: "must be legacy (iptables) or nft (nftables)".into(),
            }),
        }
    }

    /// Captures the calling thread's network namespace with the chosen one, or with the first that works; what an earlier
    /// capture has left in the other one is removed.
    pub(crate) fn apply(ruleset: &Ruleset, chosen: Option<Backend>) -> Result<Backend, Error> {
        let used = match chosen {
            Some(Backend::Nftables) => nftables::apply(ruleset).map(|()| Backend::Nftables)?,
            Some(Backend::Iptables) => by_programs(ruleset)?,
            None => first(|| nftables::apply(ruleset), || by_programs(ruleset))?,
        };
        match used {
            Backend::Nftables => {
                // Tables of others alone are no reason to leave a captured pod out.
                if let Err(error) = iptables::remove_old() {
                    tracing::warn!(%error, "rules of an earlier capture by iptables may be left");
                }
            }
            Backend::Iptables => nftables::remove()?,
        }
        Ok(used)
    }

    /// The one that [`Self::apply`] would use. Whoever may not ask the kernel is told of nftables.
    pub(crate) fn foreseen(ruleset: &Ruleset, chosen: Option<Backend>) -> Backend {
        chosen.unwrap_or_else(|| match nftables::rehearse(ruleset) {
            Err(refusal) if refusal.kernel_lacks() => Backend::Iptables,
            _ => Backend::Nftables,
        })
    }

    /// The rules as this one takes them.
    pub(crate) fn text(self, ruleset: &Ruleset) -> Result<String, Error> {
        match self {
            Backend::Nftables => Ok(ruleset.to_string()),
            Backend::Iptables => Ok(iptables::text(ruleset)?),
        }
    }

    /// Removes capture from both.
    pub(crate) fn remove_all() -> Result<(), Error> {
        // Neither must keep the other's rules from going.
        let outcomes = (nftables::remove(), iptables::remove());
        outcomes.0?;
        Ok(outcomes.1?)
    }

    /// Whether either captures, with whatever arguments.
    pub(crate) fn is_any_applied() -> Result<bool, Error> {
        Ok(nftables::is_applied()? || iptables::is_applied()?)
    }
}

fn by_programs(ruleset: &Ruleset) -> Result<Backend, Error> {
    let program = iptables::apply(ruleset)?;
    tracing::debug!(program = %program.display(), "the programs of iptables are used");
    Ok(Backend::Iptables)
}

/// nftables, and iptables where the kernel lacks it; every other refusal (of permission, say) is final.
fn first(
    nftables: impl FnOnce() -> Result<(), Nftables>,
    iptables: impl FnOnce() -> Result<Backend, Error>,
) -> Result<Backend, Error> {
    let refusal = match nftables() {
        Ok(()) => return Ok(Backend::Nftables),
        Err(refusal) if refusal.kernel_lacks() => refusal,
        Err(error) => return Err(error.into()),
    };
    tracing::info!(%refusal, "nftables does not work here: iptables is tried");
    iptables()
        .map_err(|error| Error::NoBackend { nftables: refusal.to_string(), iptables: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    fn refused(errno: Errno) -> Result<(), Nftables> {
        Err(Nftables::Refused { change: "add rule ISTIO_REDIRECT redirect to :15001".into(), errno })
    }

    #[test]
    fn iptables_is_used_where_the_kernel_lacks_nftables_and_only_there() {
        for errno in [Errno::ENOENT, Errno::EOPNOTSUPP, Errno::EPROTONOSUPPORT, Errno::EAFNOSUPPORT] {
            assert_eq!(first(|| refused(errno), || Ok(Backend::Iptables)).unwrap(), Backend::Iptables);
        }
        for errno in [Errno::EPERM, Errno::EACCES, Errno::EINVAL, Errno::EBUSY] {
            let error = first(|| refused(errno), || panic!("no fallback")).unwrap_err();
            assert!(matches!(error, Error::Netfilter(_)), "{error}");
        }
        assert_eq!(first(|| Ok(()), || panic!("no need")).unwrap(), Backend::Nftables);
    }

    #[test]
    fn where_neither_works_both_reasons_and_the_mend_are_told() {
        let missing = lateen_netfilter::iptables::Error::Missing {
            legacy: "iptables-legacy".into(),
            plain: "iptables",
        };
        let error = first(|| refused(Errno::EOPNOTSUPP), || Err(missing.into())).unwrap_err().to_string();
        for part in
            ["redirect to :15001", "neither iptables-legacy-restore nor", "load nf_tables", "CNI plugin"]
        {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }

    #[test]
    fn the_choice_is_istios() {
        let chosen = |forced, version| Backend::chosen(forced, version).unwrap();
        assert_eq!(chosen("legacy", Some("1.8.4 (nf_tables)")), Some(Backend::Iptables));
        assert_eq!(chosen("nft", None), Some(Backend::Nftables));
        assert_eq!(chosen("", Some("v1.8.9 (legacy)")), Some(Backend::Iptables));
        assert_eq!(chosen("", Some("1.8.4 (nf_tables)")), Some(Backend::Nftables));
        assert_eq!(chosen("", Some("1.6.1")), None);
        let error = Backend::chosen("iptables", None).unwrap_err().to_string();
        assert!(
            error.starts_with("--force-iptables-binary \"iptables\"") && error.contains("nft"),
            "{error}"
        );
    }
}
