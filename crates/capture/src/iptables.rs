//! Capture by the programs of iptables, for kernels without nf_tables: the same chains, in the tables of each IP version.

use std::path::PathBuf;

use lateen_netfilter::Table;
use lateen_netfilter::iptables::{Error, Owned, Programs, Version, has_tables};

use crate::dns;
use crate::ruleset::Ruleset;

/// Puts the rules in place of an earlier capture's, for all captured IP versions or for none. Returns the program that
/// did it.
pub(crate) fn apply(ruleset: &Ruleset) -> Result<PathBuf, Error> {
    match put(ruleset, ruleset.table()) {
        Err(Error::Failed { at, .. }) if ruleset.has_zones() && of_zones(&at) => {
            let program = put(ruleset, &ruleset.without_zones())?;
            tracing::warn!("this kernel has no zones (xt_CT): queries are kept apart by port alone");
            Ok(program)
        }
        outcome => outcome,
    }
}

/// Whether the line at fault belongs to the zones of connection tracking.
fn of_zones(line: &str) -> bool {
    line.contains("*raw") || dns::ZONES.iter().any(|chain| line.contains(chain))
}

fn put(ruleset: &Ruleset, table: &Table) -> Result<PathBuf, Error> {
    let v4 = Programs::find(Version::V4)?;
    let rules = Owned::of(table, Version::V4)?;
    let (v6, rules_v6) = match ruleset.ipv6() {
        true => (Some(Programs::find(Version::V6)?), Owned::of(table, Version::V6)?),
        // An earlier capture may have been of both.
        false => (Programs::find(Version::V6).ok(), Owned::default()),
    };
    let before = v4.replace(&rules)?;
    let Some(Err(failure)) = v6.map(|programs| programs.replace(&rules_v6)) else {
        return Ok(v4.file().to_owned());
    };
    match v4.replace(&before) {
        Ok(_) => Err(failure),
        Err(restoring) => {
            Err(Error::HalfApplied { failure: Box::new(failure), restoring: Box::new(restoring) })
        }
    }
}

/// The input of `iptables-restore` and `ip6tables-restore`.
pub(crate) fn text(ruleset: &Ruleset) -> Result<String, Error> {
    let versions = [Version::V4, Version::V6].into_iter().take(1 + usize::from(ruleset.ipv6()));
    let text = |version: Version| {
        let rules = Owned::of(ruleset.table(), version)?;
        Ok(format!("# {}-restore --noflush\n{rules}", version.word()))
    };
    versions.map(text).collect()
}

/// Whether rules of capture are there; none are where the programs are not.
pub(crate) fn is_applied() -> Result<bool, Error> {
    for programs in installed() {
        if !programs.read()?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the rules, if there are any.
pub(crate) fn remove() -> Result<(), Error> {
    installed().try_for_each(|programs| programs.replace(&Owned::default()).map(drop))
}

/// As [`remove`], where anybody has used the kernel's ip_tables: most pods need not wait for a program to tell.
pub(crate) fn remove_old() -> Result<(), Error> {
    match has_tables(Version::V4) || has_tables(Version::V6) {
        true => remove(),
        false => Ok(()),
    }
}

fn installed() -> impl Iterator<Item = Programs> {
    [Version::V4, Version::V6].into_iter().filter_map(|version| Programs::find(version).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arguments;
    use clap::Parser;

    fn rules(arguments: &str, ipv6: bool) -> String {
        let arguments = Arguments::parse_from(std::iter::once("capture").chain(arguments.split(' ')));
        text(&Ruleset::new(&arguments.resolve(None, ipv6, vec![]).unwrap())).unwrap()
    }

    /// Istio's rules, but for what leads to them, and for users and groups, which are told apart together.
    const REDIRECT: &str = "\
# iptables-restore --noflush
*nat
:LATEEN_PREROUTING - [0:0]
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:LATEEN_OUTPUT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
-A LATEEN_PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m multiport --dports 22,80,443 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A LATEEN_OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -p tcp -o lo ! -d 127.0.0.1/32 -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -p tcp -o lo ! -d 127.0.0.1/32 -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -p tcp -o lo -m owner ! --uid-owner 1337 -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A PREROUTING -j LATEEN_PREROUTING
-A OUTPUT -j LATEEN_OUTPUT
COMMIT
";

    #[test]
    fn redirection_is_istios_in_both_ip_versions() {
        let arguments = "-p 15001 -z 15006 -i * -b * -d 22,80,443";
        assert_eq!(rules(arguments, false), REDIRECT);
        let v6 = REDIRECT.replace("127.0.0.1/32", "::1/128").replace("127.0.0.6/32", "::6/128");
        assert_eq!(rules(arguments, true), format!("{REDIRECT}{}", v6.replace("# iptables", "# ip6tables")));
    }

    #[test]
    fn tproxy_is_istios() {
        let text = rules("-z 15006 -m TPROXY -b * -c eth9 --drop-invalid", false);
        let expected = "\
-A LATEEN_ISTIO_DROP -p tcp -m conntrack --ctstate INVALID -j DROP
-A LATEEN_PREROUTING_MANGLE -i eth9 -j RETURN
-A LATEEN_PREROUTING_MANGLE -p tcp -j ISTIO_INBOUND
-A LATEEN_PREROUTING_MANGLE -p tcp -m mark --mark 0x539 -j CONNMARK --save-mark
-A ISTIO_INBOUND -p tcp -m mark --mark 0x539 -j RETURN
-A ISTIO_INBOUND -p tcp -i lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark 0x53a -j RETURN
-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT
-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY
-A ISTIO_DIVERT -j MARK --set-xmark 0x539/0xffffffff
-A ISTIO_DIVERT -j ACCEPT
-A ISTIO_TPROXY -p tcp ! -d 127.0.0.1/32 -j TPROXY --on-port 15006 --tproxy-mark 0x539/0xffffffff
-A ISTIO_TPROXY -p tcp ! -d 127.0.0.1/32 -j DROP
-A LATEEN_OUTPUT_MANGLE -o eth9 -j RETURN
-A LATEEN_OUTPUT_MANGLE -p tcp -o lo -m mark --mark 0x539 -j RETURN
-A LATEEN_OUTPUT_MANGLE -p tcp -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 1337 -j MARK --set-xmark 0x53a/0xffffffff
-A LATEEN_OUTPUT_MANGLE -p tcp -o lo ! -d 127.0.0.1/32 -m owner --gid-owner 1337 -j MARK --set-xmark 0x53a/0xffffffff
-A LATEEN_OUTPUT_MANGLE -p tcp -m connmark --mark 0x539 -j CONNMARK --restore-mark
-A PREROUTING -j LATEEN_ISTIO_DROP
-A PREROUTING -j LATEEN_PREROUTING_MANGLE
-A OUTPUT -j LATEEN_OUTPUT_MANGLE
COMMIT
";
        assert!(text.contains(expected), "{expected}\nis not in\n{text}");
    }
}
