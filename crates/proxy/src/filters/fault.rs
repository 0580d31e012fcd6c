//! Faults: delays and aborts (Envoy's `envoy.filters.http.fault`).

use crate::config::{AbortStatus, FaultPolicy, FaultSource, Fraction};
use crate::error::{Failure, LocalReply};
use crate::http::downstream::Downstream;
use crate::http::exchange::Exchange;
use crate::request_info::ResponseFlags;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Delays the request, or answers it.
///
/// # Errors
/// The client went away during the delay.
pub async fn apply<D: Downstream>(
    exchange: &mut Exchange<'_>,
    default: &Arc<FaultPolicy>,
    down: &mut D,
) -> Result<Option<LocalReply>, Failure> {
    let policy =
        exchange.matched.overrides().find_map(|level| level.fault.as_ref()).unwrap_or(default).clone();
    if policy.delay.is_none() && policy.abort.is_none() || !applies(&policy, exchange) {
        return Ok(None);
    }
    let connection = exchange.connection;
    let stats = &connection.manager.stats;
    let active = stats.sum(|shard| &shard.fault_active);
    if policy.max_active.is_some_and(|most| active >= u64::from(most)) {
        return Ok(None);
    }
    if let Some(delay) = delay(&policy, exchange) {
        connection.stats().fault_delays_injected.inc();
        connection.stats().fault_active.inc();
        exchange.info.flags.insert(ResponseFlags::DI);
        let waited = wait(exchange, delay, down).await;
        connection.stats().fault_active.dec();
        waited?;
    }
    let Some(status) = abort(&policy, exchange) else { return Ok(None) };
    connection.stats().fault_aborts_injected.inc();
    let (http, grpc) = match status {
        AbortStatus::Http(status) => (status, None),
        // As Envoy: a gRPC status goes to gRPC clients in its own way, to others as a plain 200.
        AbortStatus::Grpc(status) => (200, Some(status)),
    };
    let reply = LocalReply::new(http, "fault filter abort", ResponseFlags::FI, "fault_filter_abort");
    Ok(Some(LocalReply { grpc_status: grpc, ..reply }))
}

fn applies(policy: &FaultPolicy, exchange: &Exchange<'_>) -> bool {
    let cluster = exchange.matched.cluster.as_ref().map(|slot| &*slot.name);
    policy.upstream_cluster.as_deref().is_none_or(|wanted| cluster == Some(wanted))
        && policy.headers.iter().all(|header| header.matches(&exchange.head))
}

fn number<T: std::str::FromStr>(exchange: &Exchange<'_>, name: &str) -> Option<T> {
    exchange.head.headers.get_str(name)?.parse().ok()
}

/// A header may lower the share of requests, but not raise it.
fn hits(share: Fraction, exchange: &Exchange<'_>, header: &str, from_header: bool) -> bool {
    let numerator = match from_header.then(|| number::<u32>(exchange, header)).flatten() {
        Some(asked) => asked.min(share.numerator),
        None => share.numerator,
    };
    Fraction { numerator, ..share }.hits(exchange.connection.worker.random())
}

fn delay(policy: &FaultPolicy, exchange: &Exchange<'_>) -> Option<Duration> {
    let delay = policy.delay.as_ref()?;
    let (time, by_header) = match &delay.kind {
        FaultSource::Fixed(time) => (*time, false),
        FaultSource::Header => {
            (Duration::from_millis(number(exchange, "x-envoy-fault-delay-request")?), true)
        }
    };
    let hit = hits(delay.percentage, exchange, "x-envoy-fault-delay-request-percentage", by_header);
    (hit && !time.is_zero()).then_some(time)
}

fn abort(policy: &FaultPolicy, exchange: &Exchange<'_>) -> Option<AbortStatus> {
    let abort = policy.abort.as_ref()?;
    let (status, by_header) = match &abort.kind {
        FaultSource::Fixed(status) => (*status, false),
        FaultSource::Header => {
            let http = number(exchange, "x-envoy-fault-abort-request")
                .filter(|status| (200..600).contains(status))
                .map(AbortStatus::Http);
            let grpc = || number(exchange, "x-envoy-fault-abort-grpc-request").map(AbortStatus::Grpc);
            (http.or_else(grpc)?, true)
        }
    };
    hits(abort.percentage, exchange, "x-envoy-fault-abort-request-percentage", by_header).then_some(status)
}

async fn wait<D: Downstream>(
    exchange: &mut Exchange<'_>,
    time: Duration,
    down: &mut D,
) -> Result<(), Failure> {
    let watch = exchange.body == crate::http::h1::BodyKind::None;
    exchange.timer.set(Some(Instant::now() + time));
    poll_fn(|cx| {
        if exchange.timer.poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if watch && let Poll::Ready(failure) = down.poll_closed(cx) {
            return Poll::Ready(Err(failure));
        }
        Poll::Pending
    })
    .await
}
