//! Capture of real connections: each argument of istio-iptables in network namespaces of the test's own.

//! Everything is asked of both backends: nftables, and iptables.

mod ears;
mod inbound;
mod leftovers;
mod namespace;
mod outbound;

use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use lateen_capture::{Arguments, Backend};
use namespace::World;

fn main() {
    let required = std::env::var("LATEEN_PEERS").as_deref() == Ok("required");
    if let Err(reason) = namespace::enter() {
        assert!(!required, "no namespaces: {reason}");
        println!("skipped: this kernel gives no user and network namespace: {reason}");
        return;
    }
    if !namespace::loopback_up() {
        assert!(!required, "`ip` is missing");
        println!("skipped: `ip link set lo up` did not work in the namespace");
        return;
    }
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let run = |backend: &str, tests: &[(&str, fn())]| {
        for (name, test) in tests {
            if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
                test();
                println!("test {backend}::{name} ... ok");
            }
        }
    };
    for backend in [Backend::Nftables, Backend::Iptables] {
        LEGACY.store(backend == Backend::Iptables, Ordering::Relaxed);
        if let Err(reason) = capture(&World::new(), "-b * -i *") {
            assert!(!required, "{reason}");
            println!("skipped: {backend:?} does not work here: {reason}");
            continue;
        }
        let name = if is_legacy() { "iptables" } else { "nftables" };
        run(name, outbound::TESTS);
        run(name, inbound::TESTS);
        run(name, leftovers::TESTS);
    }
}

/// Whether capture is to go through iptables.
static LEGACY: AtomicBool = AtomicBool::new(false);

fn is_legacy() -> bool {
    LEGACY.load(Ordering::Relaxed)
}

/// Arguments with the backend under test; the words are split at spaces, and `''` is an empty one.
fn arguments(words: &str) -> Arguments {
    let backend = if is_legacy() { "legacy" } else { "nft" };
    let words = words.split(' ').map(|word| if word == "''" { "" } else { word });
    let all = ["capture", "--force-iptables-binary", backend].into_iter().chain(words);
    Arguments::try_parse_from(all).unwrap()
}

/// Runs `lateen capture` in a pod with these words.
fn capture(world: &World, words: &str) -> Result<String, String> {
    run(world, &arguments(words))
}

fn run(world: &World, arguments: &Arguments) -> Result<String, String> {
    world.in_pod(|| lateen_capture::run(arguments).map_err(|error| error.to_string()))
}
