//! Capture by nftables: one table, put and removed by one transaction.

use lateen_netfilter::{Batch, Error, Family, table_exists};
use nix::errno::Errno;

use crate::ruleset::{Ruleset, TABLE};

/// Puts the rules in place of an earlier capture's.
pub(crate) fn apply(ruleset: &Ruleset) -> Result<(), Error> {
    match Batch::replace_table(ruleset.table()).commit() {
        Err(Error::Refused { errno: Errno::EOPNOTSUPP, .. }) if ruleset.has_zones() => {
            Batch::replace_table(&ruleset.without_zones()).commit()?;
            tracing::warn!(
                "this kernel tracks connections without zones: queries are kept apart by port alone"
            );
            Ok(())
        }
        outcome => outcome,
    }
}

/// Whether the kernel would take the rules.
pub(crate) fn rehearse(ruleset: &Ruleset) -> Result<(), Error> {
    Batch::replace_table(&ruleset.without_zones()).rehearse()
}

/// Whether there is a table of capture; none is where the kernel has no nf_tables.
pub(crate) fn is_applied() -> Result<bool, Error> {
    match table_exists(Family::Inet, TABLE) {
        Err(error) if error.kernel_lacks() => Ok(false),
        outcome => outcome,
    }
}

/// Removes the table, if there is one.
pub(crate) fn remove() -> Result<(), Error> {
    let mut batch = Batch::new(Family::Inet, TABLE);
    batch.remove_table();
    match batch.commit() {
        Err(error) if error.kernel_lacks() => Ok(()),
        outcome => outcome,
    }
}
