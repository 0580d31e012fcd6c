use super::*;
use crate::rule::{Cmp, Proto, Rule, Side};

fn jump(to: &str) -> Verdict {
    Verdict::Jump(to.to_owned())
}

/// Hooks of three tables, one chain that two of them reach, and one that nothing reaches.
fn table() -> Table {
    let tcp = || Rule::new().proto(Cmp::Eq, Proto::Tcp);
    let own = |addr: &str| Rule::new().addr(Side::Destination, Cmp::Eq, addr.parse().unwrap());
    let mut table = Table::new(crate::Family::Inet, "pod");
    table.chains = vec![
        Chain::base("LATE", Hook::mangle_prerouting()).rule(tcp().verdict(jump("SHARED"))),
        Chain::base("TRACE", Hook { priority: -300, ..Hook::filter(HookPoint::Prerouting) })
            .rule(Rule::new().trace()),
        Chain::base("OUTPUT", Hook::nat_output()).rule(Rule::new().verdict(jump("OUT"))),
        Chain::base("MARKS", Hook::mangle_output()).rule(tcp().oif(Cmp::Eq, "lo").set_mark(1338)),
        Chain::regular("OUT")
            .rule(own("127.0.0.1").verdict(Verdict::Return))
            .rule(own("::1").verdict(Verdict::Return))
            .rule(tcp().verdict(jump("SHARED"))),
        Chain::regular("SHARED").rule(tcp().verdict(Verdict::Accept)),
        Chain::regular("UNUSED").rule(tcp().verdict(Verdict::Drop)),
    ];
    table
}

const V4: &str = "\
*mangle
:LATEEN_LATE - [0:0]
:SHARED - [0:0]
:LATEEN_MARKS - [0:0]
-A LATEEN_LATE -p tcp -j SHARED
-A SHARED -p tcp -j ACCEPT
-A LATEEN_MARKS -p tcp -o lo -j MARK --set-xmark 0x53a/0xffffffff
-A PREROUTING -j LATEEN_LATE
-A OUTPUT -j LATEEN_MARKS
COMMIT
*nat
:LATEEN_OUTPUT - [0:0]
:OUT - [0:0]
:SHARED - [0:0]
-A LATEEN_OUTPUT -j OUT
-A OUT -d 127.0.0.1/32 -j RETURN
-A OUT -p tcp -j SHARED
-A SHARED -p tcp -j ACCEPT
-A OUTPUT -j LATEEN_OUTPUT
COMMIT
*raw
:LATEEN_TRACE - [0:0]
-A LATEEN_TRACE -j TRACE
-A PREROUTING -j LATEEN_TRACE
COMMIT
";

#[test]
fn chains_go_where_their_hooks_are() {
    assert_eq!(Owned::of(&table(), Version::V4).unwrap().to_string(), V4);
    let v6 = V4.replace("127.0.0.1/32", "::1/128");
    assert_eq!(Owned::of(&table(), Version::V6).unwrap().to_string(), v6);
}

#[test]
fn what_is_saved_after_it_is_what_was_made() {
    let made = Owned::of(&table(), Version::V4).unwrap();
    let sorted = |owned: &Owned| -> Vec<(Vec<String>, Vec<String>, Vec<String>)> {
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        let tables = owned.tables.values();
        tables.map(|t| (sorted(&t.chains), sorted(&t.rules), sorted(&t.entrances))).collect()
    };
    assert_eq!(sorted(&Owned::saved(V4)), sorted(&made));
}

#[test]
fn chains_of_one_hook_are_entered_by_priority() {
    let mut table = table();
    table.chains.push(Chain::base("EARLY", Hook::mangle_prerouting()).rule(Rule::new()));
    let text = Owned::of(&table, Version::V4).unwrap().to_string();
    let at = |line: &str| text.find(line).unwrap();
    assert!(
        at("-A PREROUTING -j LATEEN_LATE") < at("-A PREROUTING -j LATEEN_EARLY"),
        "as they are listed: {text}"
    );
}

#[test]
fn what_iptables_has_not_is_named() {
    let refused = |chain: Chain| {
        let mut table = Table::new(crate::Family::Inet, "pod");
        table.chains.push(chain);
        Owned::of(&table, Version::V4).unwrap_err().to_string()
    };
    let odd = Hook { priority: -77, ..Hook::mangle_prerouting() };
    let error = refused(Chain::base("ODD", odd));
    assert!(
        error.contains("ODD (type filter hook prerouting priority -77") && error.contains("no table"),
        "{error}"
    );
    let policy = Hook { policy: Policy::Drop, ..Hook::filter(HookPoint::Input) };
    assert!(refused(Chain::base("STRICT", policy)).contains("policy"));
    let lost = Chain::base("LOST", Hook::nat_output()).rule(Rule::new().verdict(jump("NOWHERE")));
    assert!(refused(lost).contains("\"NOWHERE\""));
    assert!(refused(Chain::base("TWENTY-TWO-BYTES-LONG!", Hook::nat_output())).contains("at most 28"));
    assert!(refused(Chain::base("TWO WORDS", Hook::nat_output())).contains("one word"));
}
