//! Administration over HTTP, with Envoy's paths.

mod certs;
mod clusters;
mod config_dump;
mod dump;
mod http;
mod info;
mod listeners;
mod logging;
mod reply;
mod secrets;
mod stats;
#[cfg(test)]
mod tests;

pub(crate) use dump::Dump;
pub(crate) use http::serve;
pub use logging::LogLevels;
pub(crate) use logging::directive as log_directive;
pub(crate) use reply::{Query, Reply};

use ::http::Method;

use crate::config::DrainScope;
use crate::run::{Grace, Server};

/// Paths, what they do, and whether they change something (POST only, as Envoy requires).
const PATHS: &[(&str, &str, bool)] = &[
    ("/certs", "certificates in use", false),
    ("/clusters", "upstream clusters and their endpoints", false),
    ("/config_dump", "the configuration in force", false),
    ("/drain_listeners", "close listeners; with ?graceful when connections had time to end", true),
    ("/healthcheck/fail", "fail the health check", true),
    ("/healthcheck/ok", "pass the health check again", true),
    ("/help", "this list", false),
    ("/hot_restart_version", "the version of hot restart", false),
    ("/listeners", "listeners and their addresses", false),
    ("/logging", "levels of the process's log", true),
    ("/memory", "memory in use", false),
    ("/quitquitquit", "end the process", true),
    ("/ready", "whether the process is ready", false),
    ("/reopen_logs", "open log files anew", true),
    ("/reset_counters", "let counters start again at zero", true),
    ("/server_info", "version, state and command line", false),
    ("/stats", "statistics", false),
    ("/stats/prometheus", "statistics in Prometheus' format", false),
];

/// Answers a request.
pub(crate) fn answer(server: &Server, method: &Method, path: &str, query: &Query) -> Reply {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let Some((_, _, mutates)) = PATHS.iter().find(|(known, ..)| *known == path) else {
        return if path == "/" { help() } else { Reply::text(404, "invalid path. see /help\n".to_owned()) };
    };
    // As Envoy: reading the levels is no change.
    let reads = path == "/logging" && query.is_empty();
    if *mutates && method != Method::POST && !reads {
        return Reply::text(405, format!("Method Not Allowed: {path} requires POST\n"));
    }
    match path {
        "/certs" => certs::answer(server),
        "/clusters" => clusters::answer(server, query),
        "/config_dump" => config_dump::answer(server, query),
        "/drain_listeners" => drain_listeners(server, query),
        "/healthcheck/fail" | "/healthcheck/ok" => {
            server.set_failing(path == "/healthcheck/fail");
            Reply::text(200, "OK\n".to_owned())
        }
        "/listeners" => listeners::answer(server, query),
        "/logging" => logging::answer(server, query),
        "/memory" => info::memory(),
        "/quitquitquit" => {
            server.quit();
            Reply::text(200, "OK\n".to_owned())
        }
        "/ready" => info::ready(server),
        "/reset_counters" => {
            server.reset_counters();
            Reply::text(200, "OK\n".to_owned())
        }
        "/server_info" => info::server_info(server),
        "/stats" => stats::answer(server, query),
        "/stats/prometheus" => stats::prometheus(server, query),
        "/hot_restart_version" => Reply::text(200, "disabled\n".to_owned()),
        "/help" => help(),
        _ => Reply::text(200, "OK\n".to_owned()),
    }
}

/// `?inboundonly`, `?graceful` (connections first, sockets when the time to drain is over) and `?skip_exit` (sockets
/// stay open), as Envoy's.
fn drain_listeners(server: &Server, query: &Query) -> Reply {
    let scope = if query.has("inboundonly") { DrainScope::Inbound } else { DrainScope::All };
    let grace = match (query.has("graceful"), query.has("skip_exit")) {
        (false, true) => return Reply::text(400, "skip_exit requires graceful\n".to_owned()),
        (false, false) => None,
        (true, false) => Some(Grace::ThenStop),
        (true, true) => Some(Grace::ThenServe),
    };
    server.drain_listeners(scope, grace);
    Reply::text(200, "OK\n".to_owned())
}

fn help() -> Reply {
    let mut text = "admin commands are:\n".to_owned();
    for (path, about, mutates) in PATHS {
        let post = if *mutates { " (POST)" } else { "" };
        text.push_str(&format!("  {path}{post}: {about}\n"));
    }
    Reply::text(200, text)
}
