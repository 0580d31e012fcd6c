//! The programs of iptables against the kernel.

use std::process::Command;

use lateen_netfilter::iptables::{Owned, Programs, Version};
use lateen_netfilter::{Chain, Cmp, CtState, Family, Hook, HookPoint, Proto, Rule, Table, Verdict};

/// Whether the programs are there and work here; says so if not.
fn programs() -> Option<[Programs; 2]> {
    let found = [Version::V4, Version::V6].map(|version| {
        let programs = Programs::find(version)?;
        programs.replace(&owned(&Table::new(Family::Inet, "nothing"), version))?;
        Ok::<_, lateen_netfilter::iptables::Error>(programs)
    });
    match found {
        [Ok(v4), Ok(v6)] => Some([v4, v6]),
        [Err(error), _] | [_, Err(error)] => {
            assert_ne!(std::env::var("LATEEN_PEERS").as_deref(), Ok("required"), "{error}");
            println!("skipped: {error}");
            None
        }
    }
}

fn owned(table: &Table, version: Version) -> Owned {
    Owned::of(table, version).unwrap()
}

/// Every kind of match and target that capture uses, with long lists of ports. A user namespace of one user has no other
/// owners.
fn everything() -> Table {
    let tcp = || Rule::new().proto(Cmp::Eq, Proto::Tcp);
    let ports: Vec<u16> = (1..=40).collect();
    let mut table = Table::new(Family::Inet, "everything");
    table.chains = vec![
        Chain::base("TRACE", Hook::raw(HookPoint::Prerouting)).rule(Rule::new().trace()),
        Chain::base("ZONES", Hook::raw(HookPoint::Output)).rule(
            Rule::new()
                .dport(Proto::Udp, Cmp::Eq, &[53])
                .uid(Cmp::Eq, 0)
                .set_ct_zone(1)
                .verdict(Verdict::Return),
        ),
        Chain::base("DROP", Hook::mangle_prerouting())
            .rule(tcp().ct_state(&[CtState::Invalid]).verdict(Verdict::Drop))
            .rule(tcp().iif(Cmp::Eq, "lo").set_mark(1337).tproxy(15006).verdict(Verdict::Accept))
            .rule(tcp().mark(Cmp::Eq, 1337).save_mark()),
        Chain::base("MARKS", Hook::mangle_output()).rule(tcp().ct_mark(Cmp::Eq, 1337).restore_mark()),
        Chain::base("OUTPUT", Hook::nat_output())
            .rule(
                Rule::new()
                    .dport(Proto::Tcp, Cmp::Ne, &ports)
                    .gid(Cmp::Ne, 0)
                    .gid(Cmp::Ne, 0)
                    .verdict(Verdict::Jump("OUT".into())),
            )
            .rule(Rule::new().dport(Proto::Tcp, Cmp::Eq, &ports).oif(Cmp::Ne, "lo").redirect(15001)),
        Chain::regular("OUT").rule(Rule::new().verdict(Verdict::Return)),
    ];
    table
}

/// What the kernel holds, without the time of the listing.
fn listing(version: Version) -> String {
    let output = Command::new(format!("{}-legacy-save", version.word())).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

fn in_nat(program: &Programs, version: Version, rule: &str) {
    let plain = program.file().display().to_string().replace("-restore", "");
    let done = Command::new(plain).args("-t nat".split(' ').chain(rule.split(' '))).status().unwrap();
    assert!(done.success(), "{} {rule}", version.word());
}

pub fn rules_are_replaced_and_removed_and_others_stay() {
    let Some(all) = programs() else { return };
    for (programs, version) in all.iter().zip([Version::V4, Version::V6]) {
        in_nat(programs, version, "-N OTHERS");
        in_nat(programs, version, "-A OUTPUT -p tcp --dport 9 -j OTHERS");
        let new = owned(&everything(), version);
        assert!(programs.replace(&new).unwrap().is_empty());
        let once = listing(version);
        assert!(
            once.contains("-A OUTPUT -j LATEEN_OUTPUT") && once.contains("--tproxy-mark 0x539"),
            "{once}"
        );
        let mut small = Table::new(Family::Inet, "small");
        small
            .chains
            .push(Chain::base("OUTPUT", Hook::nat_output()).rule(Rule::new().verdict(Verdict::Return)));
        assert!(!programs.replace(&owned(&small, version)).unwrap().is_empty());
        assert!(!listing(version).contains("LATEEN_MARKS") && !listing(version).contains(":OUT "));
        programs.replace(&new).unwrap();
        programs.replace(&new).unwrap();
        assert_eq!(listing(version), once, "twice is once");
        programs.replace(&Owned::default()).unwrap();
        let left = listing(version);
        assert!(
            left.contains("-A OUTPUT -p tcp -m tcp --dport 9 -j OTHERS") && !left.contains("LATEEN"),
            "{left}"
        );
        assert!(!left.contains(":OUT "), "{left}");
    }
}

pub fn a_refused_table_is_named_and_what_was_there_stays() {
    let Some([programs, _]) = programs() else { return };
    let good = everything();
    programs.replace(&owned(&good, Version::V4)).unwrap();
    let before = listing(Version::V4);
    // `raw` comes behind `mangle` and `nat`, and the owner of arriving packets is not known.
    let mut bad = Table::new(Family::Inet, "bad");
    bad.chains = vec![
        Chain::base("FIRST", Hook::nat_output()).rule(Rule::new().verdict(Verdict::Return)),
        Chain::base("SECOND", Hook::raw(HookPoint::Prerouting))
            .rule(Rule::new().uid(Cmp::Eq, 0).verdict(Verdict::Drop)),
    ];
    let error = programs.replace(&owned(&bad, Version::V4)).unwrap_err().to_string();
    assert!(error.contains("iptables-legacy-restore failed at \"*raw\""), "{error}");
    assert_eq!(listing(Version::V4), before);
    programs.replace(&Owned::default()).unwrap();
}
