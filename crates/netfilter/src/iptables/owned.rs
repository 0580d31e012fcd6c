//! What is ours in the tables of one IP version, and how one state of it follows another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

/// Our chains and rules: those that shall be there, or those that are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owned {
    /// By table of iptables: `nat`, `mangle`, ...
    pub(super) tables: BTreeMap<String, Content>,
}

/// Our part of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Names of our chains.
    pub chains: Vec<String>,
    /// `CHAIN MATCHES -j TARGET`, in our chains.
    pub rules: Vec<String>,
    /// The same in others' chains: what leads to ours.
    pub entrances: Vec<String>,
}

impl Content {
    fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.entrances.is_empty()
    }
}

impl Owned {
    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.tables.values().all(Content::is_empty)
    }

    /// Input of `iptables-restore --noflush` that puts this in place of `old`. Each table changes in one step.
    pub fn replacing(&self, old: &Owned) -> String {
        let names: BTreeSet<&String> = self.tables.keys().chain(old.tables.keys()).collect();
        let nothing = Content::default();
        let mut text = String::new();
        for name in names {
            let (new, old) = [self, old].map(|owned| owned.tables.get(name).unwrap_or(&nothing)).into();
            if !(new.is_empty() && old.is_empty()) {
                text.push_str(&format!("*{name}\n{}COMMIT\n", change(new, old)));
            }
        }
        text
    }
}

/// The changes to one table. A chain that is named again is emptied.
fn change(new: &Content, old: &Content) -> String {
    let gone = || old.chains.iter().filter(|chain| !new.chains.contains(chain));
    let named = new.chains.iter().chain(gone()).map(|chain| format!(":{chain} - [0:0]\n"));
    let shut = old.entrances.iter().map(|rule| format!("-D {rule}\n"));
    let removed = gone().map(|chain| format!("-X {chain}\n"));
    let added = new.rules.iter().chain(&new.entrances).map(|rule| format!("-A {rule}\n"));
    named.chain(shut).chain(removed).chain(added).collect()
}

/// Input of `iptables-restore --noflush` where nothing of ours is there yet.
impl Display for Owned {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.replacing(&Owned::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(table: &str, chains: &[&str], rules: &[&str], entrances: &[&str]) -> Owned {
        let all = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        let content = Content { chains: all(chains), rules: all(rules), entrances: all(entrances) };
        Owned { tables: BTreeMap::from([(table.to_owned(), content)]) }
    }

    #[test]
    fn what_was_there_goes_in_the_same_step() {
        let old = owned("nat", &["LATEEN_OUTPUT", "OLD"], &["OLD -j ACCEPT"], &["OUTPUT -j LATEEN_OUTPUT"]);
        let new = owned(
            "nat",
            &["LATEEN_OUTPUT"],
            &["LATEEN_OUTPUT -p tcp -j RETURN"],
            &["OUTPUT -j LATEEN_OUTPUT"],
        );
        let expected = "\
*nat
:LATEEN_OUTPUT - [0:0]
:OLD - [0:0]
-D OUTPUT -j LATEEN_OUTPUT
-X OLD
-A LATEEN_OUTPUT -p tcp -j RETURN
-A OUTPUT -j LATEEN_OUTPUT
COMMIT
";
        assert_eq!(new.replacing(&old), expected);
        assert_eq!(
            new.to_string(),
            expected.replace(":OLD - [0:0]\n-D OUTPUT -j LATEEN_OUTPUT\n-X OLD\n", "")
        );
    }

    #[test]
    fn nothing_after_something_is_removal_and_nothing_after_nothing_is_nothing() {
        let old = owned("mangle", &["LATEEN_X"], &["LATEEN_X -j DROP"], &["PREROUTING -j LATEEN_X"]);
        let expected = "*mangle\n:LATEEN_X - [0:0]\n-D PREROUTING -j LATEEN_X\n-X LATEEN_X\nCOMMIT\n";
        assert_eq!(Owned::default().replacing(&old), expected);
        assert_eq!(Owned::default().replacing(&owned("raw", &[], &[], &[])), "");
    }
}
