//! What capture leaves behind, and what it leaves alone.

use std::process::Command;

use lateen_capture::{Arguments, Ruleset};

use crate::ears::outbound;
use crate::namespace::{World, has_v6};
use crate::outbound::{NOWHERE, pod};
use crate::{arguments, capture, is_legacy, run};

pub const TESTS: &[(&str, fn())] = &[
    ("capture_is_cleanly_undone", capture_is_cleanly_undone),
    ("others_rules_stay", others_rules_stay),
    ("the_other_backends_rules_give_way", the_other_backends_rules_give_way),
    ("whichever_works_captures_as_the_dry_run_foresees", whichever_works_captures_as_the_dry_run_foresees),
    ("a_refused_capture_leaves_the_one_before", a_refused_capture_leaves_the_one_before),
    ("a_dry_run_changes_nothing", a_dry_run_changes_nothing),
];

fn is_applied(world: &World) -> bool {
    world.in_pod(|| Ruleset::is_applied().unwrap())
}

fn capture_is_cleanly_undone() {
    for mode in ["REDIRECT", "TPROXY"] {
        let arguments = format!(
            "-p 15001 -z 15006 -m {mode} -i * -b * --drop-invalid --trace-logging --redirect-dns --capture-all-dns"
        );
        let (world, ears) = pod(&arguments);
        let (rules, once) = (capture(&world, &arguments).unwrap(), leftovers(&world));
        assert_eq!(capture(&world, &arguments).unwrap(), rules);
        assert_eq!(leftovers(&world), once, "applying twice is applying once");
        assert!(is_applied(&world));
        assert_eq!(outbound(&world, &ears, NOWHERE), Some(15001));
        capture(&world, "--cleanup").unwrap();
        assert_eq!(outbound(&world, &ears, NOWHERE), None);
        assert_eq!(leftovers(&world), "", "{mode}");
        assert!(!is_applied(&world));
        capture(&world, "--cleanup").unwrap();
    }
}

/// Somebody else's rules, those that a network plugin makes in a pod.
fn others_rules_stay() {
    let world = World::new();
    let others: &[&str] = match (is_legacy(), has_v6()) {
        (false, _) => &["nft add table inet others", "nft add chain inet others ISTIO_OUTPUT"],
        (true, v6) => &[
            "iptables-legacy -t nat -N OTHERS",
            "iptables-legacy -t nat -A OUTPUT -p tcp --dport 9 -j OTHERS",
            "iptables-legacy -t mangle -A PREROUTING -m mark --mark 7 -j ACCEPT",
            "ip6tables-legacy -t nat -A OUTPUT -p tcp --dport 9 -j ACCEPT",
        ][..if v6 { 4 } else { 3 }],
    };
    for words in others {
        let mut words = words.split(' ');
        let program = words.next().unwrap();
        assert!(world.in_pod(|| Command::new(program).args(words).status().unwrap().success()));
    }
    let before = leftovers(&world);
    assert!(before.contains("others") || before.contains("OTHERS"), "{before}");
    for mode in ["REDIRECT", "TPROXY"] {
        capture(&world, &format!("-z 15006 -m {mode} -i * -b *")).unwrap();
        assert_ne!(leftovers(&world), before);
    }
    capture(&world, "--cleanup").unwrap();
    assert_eq!(leftovers(&world), before);
}

fn the_other_backends_rules_give_way() {
    let words = "-p 15001 -z 15006 -i * -b *";
    let (world, ears) = pod(words);
    let own = leftovers(&world);
    let mut other = arguments(words);
    other.force_iptables_binary = if is_legacy() { "nft" } else { "legacy" }.to_owned();
    if let Err(reason) = run(&world, &other) {
        assert_ne!(std::env::var("LATEEN_PEERS").as_deref(), Ok("required"), "{reason}");
        return println!("skipped: the other backend does not work here: {reason}");
    }
    let theirs = leftovers(&world);
    assert_ne!(theirs, own);
    assert!(!(theirs.contains("table inet") && theirs.contains("LATEEN_")), "one of them: {theirs}");
    assert_eq!(outbound(&world, &ears, NOWHERE), Some(15001));
    capture(&world, words).unwrap();
    assert_eq!(leftovers(&world), own);
    // `--cleanup` need not be told which one it was.
    let cleanup = Arguments { cleanup: true, force_iptables_binary: String::new(), ..arguments(words) };
    run(&world, &cleanup).unwrap();
    assert_eq!(leftovers(&world), "");
}

fn whichever_works_captures_as_the_dry_run_foresees() {
    let (world, ears) = pod("-p 15001 -i *");
    let free = |words: &str| Arguments { force_iptables_binary: String::new(), ..arguments(words) };
    let words = "-p 15001 -z 15006 -i * -b * --redirect-dns --capture-all-dns";
    let foreseen = run(&world, &free(&format!("{words} --dry-run"))).unwrap();
    let before = leftovers(&world);
    assert_eq!(run(&world, &free(words)).unwrap(), foreseen);
    assert_ne!(leftovers(&world), before, "the dry run was one");
    assert_eq!(outbound(&world, &ears, NOWHERE), Some(15001));
    assert!(is_applied(&world));
    run(&world, &free("--cleanup")).unwrap();
    assert_eq!(leftovers(&world), "");
}

fn a_refused_capture_leaves_the_one_before() {
    let (world, ears) = pod("-p 15001 -i *");
    let before = leftovers(&world);
    // What is no name of an interface slips no rule into the input of iptables; with nftables it matches nothing.
    let hostile = Arguments {
        istio_exclude_interfaces: "eth0 -j ACCEPT\nCOMMIT".to_owned(),
        ..arguments("-p 15002 -i *")
    };
    let outcome = run(&world, &hostile);
    if !is_legacy() {
        assert_ne!(leftovers(&world), before);
        return assert_eq!(outbound(&world, &ears, NOWHERE), None, "nobody listens on 15002");
    }
    let error = outcome.unwrap_err();
    assert!(error.contains("no name of an interface"), "{error}");
    assert_eq!(leftovers(&world), before);
    assert_eq!(outbound(&world, &ears, NOWHERE), Some(15001));
}

/// Rules of nftables and iptables, and rules and routes of TPROXY. Empty tables of iptables do not count: the kernel
/// keeps them once they have been looked at.
fn leftovers(world: &World) -> String {
    let run = |command: &str| {
        let (program, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let arguments = arguments.split(' ').filter(|argument| !argument.is_empty());
        let output = Command::new(program).args(arguments).output();
        let text =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let usual = ["lookup local", "lookup main", "lookup default", "# ", "COMMIT"];
        text.lines()
            .filter(|line| !usual.iter().any(|usual| line.contains(usual)))
            .filter(|line| !line.starts_with('*'))
            .filter(|line| !line.starts_with(':') || line.contains(" - "))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let commands = [
        "nft list ruleset",
        "iptables-legacy-save",
        "ip6tables-legacy-save",
        "ip rule list",
        "ip -6 rule list",
        "ip route list table 133",
        "ip -6 route list table 133",
    ];
    world.in_pod(|| commands.map(run).concat())
}

fn a_dry_run_changes_nothing() {
    let world = World::new();
    let text = capture(&world, "-i * -b * -n").unwrap();
    let (expected, other) = match is_legacy() {
        true => (":ISTIO_OUTPUT - [0:0]\n", "chain ISTIO_OUTPUT"),
        false => ("chain ISTIO_OUTPUT", "-A ISTIO_OUTPUT"),
    };
    assert!(text.contains(expected) && !text.contains(other), "{text}");
    assert_eq!(leftovers(&world), "");
    assert!(!is_applied(&world));
}
