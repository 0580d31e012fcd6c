//! From arguments to a captured namespace.

use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::packet_route::rule::RuleAttribute;
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};

use crate::{Arguments, Capture, Error, Mode, Ruleset};

const LOOPBACK_INDEX: u32 = 1;

/// Does what `lateen capture` was asked: prints, applies or removes capture in the current network namespace.
/// Returns what to print.
///
/// # Errors
/// Arguments that cannot be read, and the kernel's refusals; what was there stays then.
pub fn run(arguments: &Arguments) -> Result<String, Error> {
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let capture = arguments.resolve(None, has_ipv6(), nameservers(&resolv_conf))?;
    if arguments.cleanup {
        if !arguments.dry_run {
            Ruleset::remove()?;
            if capture.mode == Mode::Tproxy {
                routes(&capture, false)?;
            }
        }
        return Ok(String::new());
    }
    let ruleset = Ruleset::new(&capture);
    if !arguments.dry_run {
        if capture.mode == Mode::Tproxy {
            routes(&capture, true)?;
        }
        ruleset.apply()?;
        tracing::info!(
            outbound = capture.outbound_port,
            inbound = capture.inbound_port,
            "traffic is captured"
        );
    }
    Ok(ruleset.to_string())
}

/// Whether the namespace has an IPv6 address that others can reach.
fn has_ipv6() -> bool {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return false };
    interfaces.filter_map(|i| i.address?.as_sockaddr_in6().map(|a| a.ip())).any(|ip| {
        let link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
        !ip.is_loopback() && !link_local
    })
}

fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    let lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|rest| rest.trim().parse().ok()).collect()
}

/// Packets that TPROXY marks are delivered here whatever their destination: a rule by mark and a local route.
fn routes(capture: &Capture, add: bool) -> Result<(), Error> {
    let fail = |action: &'static str| move |e: std::io::Error| Error::Route { action, reason: e.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(fail("start the netlink client"))?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(fail("open a netlink socket"))?;
        tokio::spawn(connection);
        remove_rules(&handle, capture).await?;
        if add {
            add_rule_and_route(&handle, capture).await?;
        }
        Ok(())
    })
}

async fn remove_rules(handle: &Handle, capture: &Capture) -> Result<(), Error> {
    let fail = |e: rtnetlink::Error| Error::Route { action: "change routing rules", reason: e.to_string() };
    let rules: Vec<_> = handle.rule().get(IpVersion::V4).execute().try_collect().await.map_err(fail)?;
    for rule in rules {
        if rule.attributes.contains(&RuleAttribute::FwMark(capture.tproxy_mark)) {
            handle.rule().del(rule).execute().await.map_err(fail)?;
        }
    }
    Ok(())
}

async fn add_rule_and_route(handle: &Handle, capture: &Capture) -> Result<(), Error> {
    let fail =
        |action: &'static str| move |e: rtnetlink::Error| Error::Route { action, reason: e.to_string() };
    let rule = handle.rule().add().v4().fw_mark(capture.tproxy_mark).table_id(capture.tproxy_table);
    let rule = rule.action(rtnetlink::packet_route::rule::RuleAction::ToTable);
    rule.execute().await.map_err(fail("add the routing rule of TPROXY"))?;
    let route = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
        .table_id(capture.tproxy_table)
        .kind(rtnetlink::packet_route::route::RouteType::Local)
        .scope(rtnetlink::packet_route::route::RouteScope::Host)
        .output_interface(LOOPBACK_INDEX)
        .build();
    handle.route().add(route).replace().execute().await.map_err(fail("add the local route of TPROXY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_read_from_resolv_conf() {
        let text =
            "search a b\nnameserver 10.96.0.10\n# nameserver 1.1.1.1\nnameserver fd00::1\nnameserver x\n";
        assert_eq!(nameservers(text), ["10.96.0.10".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    }
}
