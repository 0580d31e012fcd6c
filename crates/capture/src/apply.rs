//! From arguments to a captured namespace.

use std::fs::File;
use std::net::IpAddr;
use std::path::Path;

use lateen_dns::ResolvConf;

use crate::{Arguments, Backend, Capture, Error, Mode, Ruleset, routes, source, validation};

/// Does what `lateen capture` was asked: prints, applies, checks or removes capture in the current network namespace, or
/// in the one that the arguments name (then the calling thread stays there). Returns what to print.
///
/// # Errors
/// Arguments that cannot be read, and the kernel's refusals; what was there stays then. Also a check that fails.
pub fn run(arguments: &Arguments) -> Result<String, Error> {
    if let Some(path) = &arguments.network_namespace {
        enter(path)?;
    }
    let addresses = addresses();
    let ipv6 = addresses.iter().any(IpAddr::is_ipv6);
    let capture = arguments.resolve(None, ipv6, ResolvConf::read().nameservers)?;
    let chosen = arguments.backend()?;
    if arguments.cleanup {
        if !arguments.dry_run {
            Ruleset::remove()?;
            routes::remove(&capture)?;
            source::remove()?;
        }
        return Ok(String::new());
    }
    let ruleset = Ruleset::new(&capture);
    let mut used = None;
    if !arguments.dry_run && !arguments.skip_rule_apply {
        used = Some(apply(&capture, &ruleset, chosen)?);
    }
    if arguments.run_validation && !arguments.dry_run {
        validation::validate(&capture, &addresses, arguments.iptables_probe_port, arguments.probe_timeout)?;
        return Ok("the pod's traffic is captured\n".to_owned());
    }
    used.unwrap_or_else(|| Backend::foreseen(&ruleset, chosen)).text(&ruleset)
}

fn apply(capture: &Capture, ruleset: &Ruleset, chosen: Option<Backend>) -> Result<Backend, Error> {
    match capture.mode {
        Mode::Tproxy => routes::add(capture)?,
        // An earlier capture may have been a transparent one.
        Mode::Redirect => routes::remove(capture)?,
    }
    if let Err(error) = source::add(capture) {
        tracing::warn!(%error, "inbound connections of IPv6 do not reach the application");
    }
    let backend = Backend::apply(ruleset, chosen)?;
    tracing::info!(
        ?backend,
        outbound = capture.outbound_port,
        inbound = capture.inbound_port,
        "traffic is captured"
    );
    Ok(backend)
}

/// Moves the calling thread into a network namespace, which a file stands for (`/proc/PID/ns/net`, `/run/netns/NAME`).
///
/// # Errors
/// There is no such namespace, or it may not be entered: that takes CAP_SYS_ADMIN.
pub fn enter(path: &Path) -> Result<(), Error> {
    let fail = |reason: String| Error::Namespace { path: path.display().to_string(), reason };
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).map_err(|e| fail(e.to_string()))
}

/// The addresses of the namespace that others can reach.
fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |interface: nix::ifaddrs::InterfaceAddress| -> Option<IpAddr> {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    interfaces
        .filter_map(address)
        .filter(|address| !address.is_loopback() && !is_link_local(address) && *address != source::ADDRESS)
        .collect()
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}
