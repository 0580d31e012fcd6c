//! The routes of TPROXY: what it marks is delivered here, whatever its destination.

use std::net::{Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use rtnetlink::packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};

use crate::{Capture, Error};

pub(crate) const LOOPBACK_INDEX: u32 = 1;
const ESRCH: i32 = 3;
const ENOENT: i32 = 2;
const EAFNOSUPPORT: i32 = 97;

/// Adds the rule by mark and the local route of each captured IP version, in place of an earlier capture's.
pub(crate) fn add(capture: &Capture) -> Result<(), Error> {
    run(capture, true)
}

/// Removes them, if they are there.
pub(crate) fn remove(capture: &Capture) -> Result<(), Error> {
    run(capture, false)
}

fn run(capture: &Capture, add: bool) -> Result<(), Error> {
    netlink(async |handle| {
        for version in [IpVersion::V4, IpVersion::V6] {
            remove_version(&handle, capture, version.clone()).await?;
            if add && (capture.ipv6 || matches!(version, IpVersion::V4)) {
                add_version(&handle, capture, version).await?;
            }
        }
        Ok(())
    })
}

/// Does some work by netlink. The socket belongs to the network namespace of the calling thread, which does all of it.
pub(crate) fn netlink(work: impl AsyncFnOnce(Handle) -> Result<(), Error>) -> Result<(), Error> {
    let fail = |action: &'static str| move |e: std::io::Error| Error::Route { action, reason: e.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(fail("start the netlink client"))?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(fail("open a netlink socket"))?;
        tokio::spawn(connection);
        work(handle).await
    })
}

async fn remove_version(handle: &Handle, capture: &Capture, version: IpVersion) -> Result<(), Error> {
    let listed: Result<Vec<RuleMessage>, _> =
        handle.rule().get(version.clone()).execute().try_collect().await;
    let rules = match listed {
        Ok(rules) => rules,
        Err(error) if is(&error, &[EAFNOSUPPORT]) => return Ok(()),
        Err(error) => return Err(refused("read the routing rules", &error)),
    };
    for rule in rules.into_iter().filter(|rule| is_ours(rule, capture)) {
        handle
            .rule()
            .del(rule)
            .execute()
            .await
            .map_err(|e| refused("remove the routing rule of TPROXY", &e))?;
    }
    match handle.route().del(route(capture, &version)).execute().await {
        Err(error) if !is(&error, &[ESRCH, ENOENT, EAFNOSUPPORT]) => {
            Err(refused("remove the local route of TPROXY", &error))
        }
        _ => Ok(()),
    }
}

async fn add_version(handle: &Handle, capture: &Capture, version: IpVersion) -> Result<(), Error> {
    let rule = handle.rule().add().fw_mark(capture.tproxy_mark).table_id(capture.tproxy_table);
    let rule = rule.action(RuleAction::ToTable);
    let added = match version {
        IpVersion::V4 => rule.v4().execute().await,
        IpVersion::V6 => rule.v6().execute().await,
    };
    added.map_err(|e| refused("add the routing rule of TPROXY", &e))?;
    let added = handle.route().add(route(capture, &version)).replace().execute().await;
    added.map_err(|e| refused("add the local route of TPROXY", &e))
}

/// `local default dev lo` in the table of TPROXY.
fn route(capture: &Capture, version: &IpVersion) -> RouteMessage {
    let table = capture.tproxy_table;
    match version {
        IpVersion::V4 => RouteMessageBuilder::<Ipv4Addr>::new()
            .table_id(table)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .output_interface(LOOPBACK_INDEX)
            .build(),
        IpVersion::V6 => RouteMessageBuilder::<Ipv6Addr>::new()
            .table_id(table)
            .kind(RouteType::Local)
            .scope(RouteScope::Universe)
            .output_interface(LOOPBACK_INDEX)
            .build(),
    }
}

/// A rule of somebody else may have the mark, too: ours leads to our table.
fn is_ours(rule: &RuleMessage, capture: &Capture) -> bool {
    let table = capture.tproxy_table;
    let leads =
        u32::from(rule.header.table) == table || rule.attributes.contains(&RuleAttribute::Table(table));
    leads && rule.attributes.contains(&RuleAttribute::FwMark(capture.tproxy_mark))
}

pub(crate) fn is(error: &rtnetlink::Error, codes: &[i32]) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if codes.contains(&-message.raw_code()))
}

pub(crate) fn refused(action: &'static str, error: &rtnetlink::Error) -> Error {
    Error::Route { action, reason: error.to_string() }
}
