//! `/ready`, `/server_info`, `/memory`.

use std::sync::atomic::Ordering;

use lateen_xds::json::Pool;
use lateen_xds::pb::envoy::admin::v3::{CommandLineOptions, ServerInfo, server_info};
use serde_json::json;

use super::Reply;
use crate::run::Server;
use crate::stats::resident_bytes;

pub(super) fn ready(server: &Server) -> Reply {
    let state = server.state();
    let status = if state == server_info::State::Live { 200 } else { 503 };
    Reply::text(status, format!("{}\n", state.as_str_name()))
}

pub(super) fn server_info(server: &Server) -> Reply {
    let uptime = server.stats.start.elapsed();
    let uptime = Some(lateen_xds::pb::google::protobuf::Duration {
        seconds: i64::try_from(uptime.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    });
    let info = ServerInfo {
        version: format!("lateen/{}", env!("CARGO_PKG_VERSION")),
        state: server.state() as i32,
        uptime_current_epoch: uptime,
        uptime_all_epochs: uptime,
        hot_restart_version: "disabled".to_owned(),
        command_line_options: Some(CommandLineOptions {
            concurrency: u32::try_from(server.store.workers()).unwrap_or(u32::MAX),
            drain_time: Some(lateen_xds::pb::google::protobuf::Duration {
                seconds: i64::try_from(server.drain_time.as_secs()).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            disable_hot_restart: true,
            ..CommandLineOptions::default()
        }),
        node: server.node.clone(),
        ..ServerInfo::default()
    };
    match Pool::load().and_then(|pool| pool.write(&info)) {
        Ok(mut value) => {
            // The zero of an enum is left out by protobuf; readers want to see it.
            if server.state() == server_info::State::Live {
                value["state"] = json!("LIVE");
            }
            Reply::json(&value)
        }
        Err(error) => Reply::text(500, format!("{error}\n")),
    }
}

pub(super) fn memory() -> Reply {
    let bytes = resident_bytes().to_string();
    Reply::json(&json!({
        "allocated": bytes,
        "heap_size": bytes,
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": bytes,
    }))
}

impl Server {
    /// Envoy's server state.
    pub(crate) fn state(&self) -> server_info::State {
        let on = |flag: &std::sync::atomic::AtomicBool| flag.load(Ordering::Relaxed);
        if on(&self.stats.draining) || on(&self.stats.failing) {
            server_info::State::Draining
        } else if on(&self.stats.live) {
            server_info::State::Live
        } else {
            server_info::State::Initializing
        }
    }
}
