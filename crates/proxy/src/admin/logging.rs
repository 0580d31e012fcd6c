//! Levels of the process's log.

use std::fmt;
use std::sync::Mutex;

use super::{Query, Reply};
use crate::run::Server;

type Set = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Changes the level of the process's log.
pub struct LogLevels {
    level: Mutex<String>,
    set: Set,
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevels").field("level", &self.level).finish_non_exhaustive()
    }
}

impl LogLevels {
    /// Levels that `set` changes; `level` is the one in force, by Envoy's name.
    pub fn new(level: &str, set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        LogLevels { level: Mutex::new(level.to_owned()), set: Box::new(set) }
    }
}

/// Envoy's level names as tracing's; `None` for a name that is none.
pub(crate) fn directive(level: &str) -> Option<&'static str> {
    Some(match level {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" => "error",
        "off" => "off",
        _ => return None,
    })
}

/// `/logging`: shows the level; `?level=debug` and `?paths=...` change it.
pub(super) fn answer(server: &Server, query: &Query) -> Reply {
    let Some(levels) = &server.log_levels else {
        return Reply::text(200, "active loggers:\n  lateen: fixed by the process\n".to_owned());
    };
    // Components are not told apart: the level of any is the level of all.
    let wanted = match query.iter().next() {
        Some(("paths", paths)) => paths.rsplit(':').next(),
        Some((_, level)) => Some(level),
        None => None,
    };
    if let Some(level) = wanted {
        let Some(directive) = directive(level) else {
            return Reply::text(400, format!("error: unknown logger level `{level}`\n"));
        };
        if let Err(error) = (levels.set)(directive) {
            return Reply::text(500, format!("error: {error}\n"));
        }
        if let Ok(mut current) = levels.level.lock() {
            level.clone_into(&mut current);
        }
    }
    let level = levels.level.lock().map(|level| level.clone()).unwrap_or_default();
    Reply::text(200, format!("active loggers:\n  lateen: {level}\n"))
}
