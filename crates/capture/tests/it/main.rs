//! Capture of real connections: each argument of istio-iptables in network namespaces of the test's own.

mod ears;
mod inbound;
mod namespace;
mod outbound;

use clap::Parser;
use lateen_capture::Arguments;
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
    for (name, test) in outbound::TESTS.iter().chain(inbound::TESTS) {
        if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// Runs `lateen capture` in a pod; the words are split at spaces, and `''` is an empty one.
fn capture(world: &World, words: &str) -> Result<String, String> {
    let words = words.split(' ').map(|word| if word == "''" { "" } else { word });
    let arguments = Arguments::try_parse_from(std::iter::once("capture").chain(words)).unwrap();
    world.in_pod(|| lateen_capture::run(&arguments).map_err(|error| error.to_string()))
}
