//! A table of the model to tables of iptables.

use std::collections::BTreeSet;

use super::owned::{Content, Owned};
use super::{ENTRANCE, Error, Version, translate};
use crate::model::{Chain, ChainKind, Hook, HookPoint, Policy, Table};
use crate::rule::{Part, Verdict};

/// `XT_EXTENSION_MAXNAMELEN - 1`: the kernel takes no longer names of chains.
const MAX_CHAIN_NAME: usize = 28;

impl Owned {
    /// The chains and rules of `table` for one IP version; pure. A base chain goes into the table of iptables that sees
    /// the same packets at the same time; other chains into each table from which they are reached. Rules that name
    /// addresses of the other IP version are left out.
    ///
    /// # Errors
    /// [`Error::Untranslatable`] names the rule or chain that iptables cannot express.
    pub fn of(table: &Table, version: Version) -> Result<Owned, Error> {
        let mut bases = Vec::new();
        for chain in &table.chains {
            if let Some(hook) = &chain.hook {
                bases.push((place(chain, hook)?, hook, chain));
            }
        }
        bases.sort_by_key(|(_, hook, _)| hook.priority);
        let mut owned = Owned::default();
        for ((name, builtin), _, chain) in bases {
            let content = owned.tables.entry(name.to_owned()).or_default();
            let entrance = format!("{ENTRANCE}{}", chain.name);
            content.entrances.push(format!("{builtin} -j {entrance}"));
            content.add(&entrance, chain, version)?;
            for chain in reached(table, chain)? {
                if !content.chains.contains(&chain.name) {
                    content.add(&chain.name, chain, version)?;
                }
            }
        }
        Ok(owned)
    }
}

impl Content {
    fn add(&mut self, name: &str, chain: &Chain, version: Version) -> Result<(), Error> {
        if name.len() > MAX_CHAIN_NAME || !translate::is_word(name) {
            let reason =
                format!("a chain's name must be one word of at most {MAX_CHAIN_NAME} bytes, {name:?} is not");
            return Err(Error::Untranslatable { what: format!("chain {}", chain.name), reason });
        }
        self.chains.push(name.to_owned());
        for rule in &chain.rules {
            self.rules.extend(translate::lines(rule, version)?.iter().map(|line| format!("{name}{line}")));
        }
        Ok(())
    }
}

/// The regular chains that `from` leads to, in the table's order.
fn reached<'a>(table: &'a Table, from: &'a Chain) -> Result<Vec<&'a Chain>, Error> {
    let mut names = BTreeSet::new();
    let mut open = vec![from];
    while let Some(chain) = open.pop() {
        for part in chain.rules.iter().flat_map(|rule| &rule.parts) {
            let Part::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) = part else { continue };
            let Some(next) = table.chains.iter().find(|chain| chain.name == *to && chain.hook.is_none())
            else {
                let reason = format!("it leads to {to:?}, which is no regular chain of the table");
                return Err(Error::Untranslatable { what: format!("chain {}", chain.name), reason });
            };
            if names.insert(to.as_str()) {
                open.push(next);
            }
        }
    }
    Ok(table.chains.iter().filter(|chain| names.contains(chain.name.as_str())).collect())
}

/// The table and the built-in chain that stand for a hook.
fn place(chain: &Chain, hook: &Hook) -> Result<(&'static str, &'static str), Error> {
    use HookPoint::{Forward, Input, Output, Postrouting, Prerouting};
    let refuse = |reason: &str| Error::Untranslatable {
        what: format!("chain {} ({hook})", chain.name),
        reason: reason.into(),
    };
    if hook.policy == Policy::Drop {
        return Err(refuse(
            "the policy of a built-in chain is everybody's: end the chain with a drop instead",
        ));
    }
    let builtin = match hook.point {
        Prerouting => "PREROUTING",
        Input => "INPUT",
        Forward => "FORWARD",
        Output => "OUTPUT",
        Postrouting => "POSTROUTING",
    };
    let table = match (hook.kind, hook.point, hook.priority) {
        (ChainKind::Nat, Prerouting | Output, -100) | (ChainKind::Nat, Postrouting | Input, 100) => "nat",
        (ChainKind::Filter, Prerouting | Output, -300) => "raw",
        // A mark that changes in mangle's OUTPUT routes the packet again, as the kind `route` does.
        (ChainKind::Filter, Prerouting | Input | Forward | Postrouting, -150)
        | (ChainKind::Route, Output, -150) => "mangle",
        (ChainKind::Filter, Input | Forward | Output, 0) => "filter",
        _ => return Err(refuse("no table of iptables sees packets there")),
    };
    Ok((table, builtin))
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
