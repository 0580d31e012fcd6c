//! `/containerLogs`.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::{ContainerPath, Node, Refusal, UrlPath, find};
use crate::logs::{LogFile, LogOptions, follow};
use crate::pod::State as ContainerState;

/// `PodLogOptions` as a query.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    tail_lines: Option<String>,
    since_seconds: Option<String>,
    since_time: Option<String>,
    limit_bytes: Option<String>,
}

/// `follow`, `follow=true` and `follow=1` are all yes.
fn flag(value: &Option<String>) -> bool {
    value.as_deref().is_some_and(|v| !matches!(v, "false" | "0"))
}

fn number(name: &str, value: &Option<String>) -> Result<Option<usize>, Refusal> {
    let parse = |v: &str| v.parse().map_err(|_| Refusal::bad(format!("{name} must be a number, not {v:?}")));
    value.as_deref().filter(|v| !v.is_empty()).map(parse).transpose()
}

impl Options {
    fn selection(&self) -> Result<LogOptions, Refusal> {
        let since_seconds = number("sinceSeconds", &self.since_seconds)?.map(|s| {
            let ago = SignedDuration::from_secs(i64::try_from(s).unwrap_or(i64::MAX));
            Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::MIN)
        });
        let since_time = match self.since_time.as_deref().filter(|t| !t.is_empty()) {
            Some(time) => {
                Some(time.parse().map_err(|_| Refusal::bad(format!("sinceTime {time:?} is no time")))?)
            }
            None => None,
        };
        Ok(LogOptions {
            tail_lines: number("tailLines", &self.tail_lines)?,
            since: since_seconds.or(since_time),
            timestamps: flag(&self.timestamps),
            limit_bytes: number("limitBytes", &self.limit_bytes)?,
        })
    }
}

/// A container's log, now or as it grows.
pub(crate) async fn logs(
    State(pods): Node,
    UrlPath((namespace, pod, container)): ContainerPath,
    Query(options): Query<Options>,
) -> Result<Response, Refusal> {
    let ctx = find(&pods, &namespace, &pod)?;
    let record = ctx
        .record(&container)
        .ok_or_else(|| Refusal::bad(format!("container {container} is not valid for pod {pod}")))?;
    let previous = flag(&options.previous);
    let attempt = match record.attempt.checked_sub(1) {
        Some(before) if previous => before,
        None if previous => {
            return Err(Refusal::bad(format!(
                "previous terminated container {container:?} in pod {pod:?} not found"
            )));
        }
        _ => record.attempt,
    };
    let path = LogFile::path(&ctx.log_dir(&container), attempt);
    if !path.exists() {
        let what = if previous { "previous terminated container" } else { "container" };
        let why = match &record.state {
            ContainerState::Waiting { reason, .. } => reason,
            _ => "no log yet",
        };
        let reason = format!("{what} {container:?} in pod {pod:?} is waiting to start: {why}");
        return Err(Refusal::bad(reason));
    }
    let selection = options.selection()?;
    let live = record.live.as_ref().filter(|_| flag(&options.follow) && !previous);
    let written = live.map(|l| l.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).watch());
    drop(record);
    let (out, text) = mpsc::channel(16);
    tokio::spawn(async move {
        if let Err(error) = follow(path, selection, written, out).await {
            tracing::debug!(%error, "log not read to its end");
        }
    });
    let stream = ReceiverStream::new(text).map(Ok::<_, std::convert::Infallible>);
    Ok(([("content-type", "text/plain")], Body::from_stream(stream)).into_response())
}
