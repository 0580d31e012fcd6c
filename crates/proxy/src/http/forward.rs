//! The router: tries a request at an upstream, again where its policy says so, and brings the response back.

use super::RequestHead;
use super::downstream::Downstream;
use super::egress;
use super::exchange::Exchange;
use super::h1::{BodyKind, Frame};
use super::mirror;
use super::pump::{Deadlines, Pump, Replay};
use super::retry::Retries;
use super::timeout;
use crate::config::{ClusterSlot, Discovery, Endpoint, HashSource, RouteAction};
use crate::error::{Failure, Source};
use crate::request_info::{Protocol, ResponseFlags};
use crate::upstream::balancer::{Choice, hash_bytes};
use crate::upstream::{
    LocalCluster, Outcome, RequestPermit, RetryPermit, UpstreamHead, UpstreamStream, Wanted, observe,
};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of a body that are kept for further tries, where the virtual host names no other limit.
const REPLAY_LIMIT: u32 = 1 << 20;

/// Informational responses (1xx) of an upstream that are passed on for one request.
const MOST_INFORMATIONAL: u32 = 32;

/// The state of a request that is being forwarded.
struct Forward<'a> {
    action: &'a RouteAction,
    slot: Arc<ClusterSlot>,
    retries: Retries,
    deadlines: Deadlines,
    timeout: Option<Duration>,
    per_try: Option<Duration>,
    replay: Replay,
    request_done: bool,
    tried: Vec<SocketAddr>,
    hash: Option<u64>,
    destination: Option<SocketAddr>,
    original_authority: bytes::Bytes,
    stale_retried: bool,
}

/// One try that brought a response's head.
struct Attempt {
    cluster: Rc<LocalCluster>,
    endpoint: Arc<Endpoint>,
    up: UpstreamStream,
    head: UpstreamHead,
    _permit: RequestPermit,
}

/// Forwards a request.
///
/// # Errors
/// What could not be mended by trying again.
pub async fn run<D: Downstream>(
    exchange: &mut Exchange<'_>,
    action: &RouteAction,
    down: &mut D,
) -> Result<(), Failure> {
    let Some(slot) = exchange.matched.cluster.clone() else {
        exchange.connection.stats().no_cluster.inc();
        return Err(Failure::NoCluster(action.cluster_not_found_status));
    };
    let mut forward = Forward::new(exchange, action, slot);
    let mut retry_permit = None;
    loop {
        let result = forward.attempt(exchange, down).await;
        match forward.again(exchange, &result, &mut retry_permit) {
            Some(wait) => {
                if let Ok(attempt) = result {
                    attempt.up.finish(&attempt.cluster);
                }
                forward.back_off(exchange, wait, down).await?;
            }
            None => {
                drop(retry_permit);
                return forward.answer(exchange, result?, down).await;
            }
        }
    }
}

impl<'a> Forward<'a> {
    fn new(exchange: &mut Exchange<'_>, action: &'a RouteAction, slot: Arc<ClusterSlot>) -> Self {
        let policy = action.retry.clone();
        let policy = policy.or_else(|| exchange.matched.host.as_ref().and_then(|host| host.retry.clone()));
        let retries = Retries::new(policy, &mut exchange.head);
        let (timeout, per_try) =
            timeout::of_request(action, &mut exchange.head, exchange.info.grpc, &retries);
        let hash = hash_of(exchange, action);
        let destination = destination_of(exchange, &slot);
        egress::request_headers(exchange, action);
        inject_trace(exchange);
        let limit = exchange.matched.host.as_ref().and_then(|host| host.retry_buffer_limit);
        let replay = Replay::new(retries.enabled(), limit.unwrap_or(REPLAY_LIMIT) as usize);
        let request_done = exchange.body == BodyKind::None;
        let idle = action.idle_timeout.or(exchange.connection.manager.stream_idle_timeout);
        let idle = idle.filter(|idle| !idle.is_zero());
        let mut deadlines = Deadlines::new(timeout, idle, action.max_stream_duration);
        if request_done {
            exchange.info.timings.request_end = Some(exchange.info.elapsed());
            deadlines.request_complete();
        }
        Forward {
            action,
            slot,
            retries,
            deadlines,
            timeout,
            per_try,
            replay,
            request_done,
            tried: Vec::new(),
            hash,
            destination,
            original_authority: exchange.head.authority.clone(),
            stale_retried: false,
        }
    }

    /// Tries once, up to the response's head.
    async fn attempt<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_>,
        down: &mut D,
    ) -> Result<Attempt, Failure> {
        let worker = &exchange.connection.worker;
        let cluster =
            worker.cluster(&self.slot).ok_or(Failure::NoCluster(self.action.cluster_not_found_status));
        let cluster = cluster.inspect_err(|_| exchange.connection.stats().no_cluster.inc())?;
        let avoid = self.retries.avoid_previous().unwrap_or(0);
        let subset = exchange.matched.subset(self.action);
        let choice = Choice { random: worker.random(), hash: self.hash, avoid: (&self.tried, avoid), subset };
        let endpoint = cluster.choose(choice, self.destination)?;
        let limits = *cluster.limits(self.action.high_priority);
        let permit = RequestPermit::new(&self.slot, &endpoint.state, &limits, worker.index)?;
        self.note_attempt(exchange, &cluster, &endpoint);
        self.deadlines.per_try = self.per_try.map(|limit| Instant::now() + limit);
        let result = self.connect_and_send(exchange, &cluster, &endpoint, down).await;
        if let Err(failure) = &result {
            count_failure(&cluster, failure);
            if failure.source() == Source::Upstream && !matches!(failure, Failure::Overflow) {
                let outcome = match failure {
                    Failure::Timeout | Failure::PerTryTimeout => Outcome::Status(504),
                    _ => Outcome::LocalFailure,
                };
                observe(&cluster.config, &self.slot, worker.index, &endpoint, outcome);
            }
        }
        let (up, head) = result?;
        observe(&cluster.config, &self.slot, worker.index, &endpoint, Outcome::Status(head.head.status));
        Ok(Attempt { cluster, endpoint, up, head, _permit: permit })
    }

    fn note_attempt(&mut self, exchange: &mut Exchange<'_>, cluster: &LocalCluster, endpoint: &Endpoint) {
        exchange.info.upstream_peer.clone_from(&endpoint.peer);
        let upstream = &mut exchange.info.upstream;
        upstream.attempts += 1;
        upstream.host = Some(endpoint.address);
        upstream.cluster = Some(cluster.config.clone());
        let attempts = upstream.attempts;
        if self.tried.len() < 16 {
            self.tried.push(endpoint.address);
        }
        exchange.head.authority = self.original_authority.clone();
        egress::auto_host(self.action, &mut exchange.head, endpoint);
        egress::attempt_headers(exchange, self.expected_timeout(), attempts);
        if attempts == 1 {
            self.replay.mirrors = mirror::start(exchange, self.action, self.timeout);
        }
    }

    /// What the upstream is told to expect: the shorter of what is left and the limit of one try.
    fn expected_timeout(&self) -> Option<Duration> {
        match (self.timeout, self.per_try) {
            (Some(all), Some(one)) => Some(all.min(one)),
            (all, one) => one.or(all),
        }
    }

    async fn connect_and_send<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_>,
        cluster: &Rc<LocalCluster>,
        endpoint: &Arc<Endpoint>,
        down: &mut D,
    ) -> Result<(UpstreamStream, UpstreamHead), Failure> {
        let speaks = cluster.speaks(exchange.info.protocol, exchange.upgrade.is_some());
        let connection = exchange.connection;
        let name = server_name(&exchange.head, cluster.config.transport.auto_sni());
        let name = name.as_deref().and_then(|name| std::str::from_utf8(name).ok());
        let alpn = connection.manager.alpn_override.as_ref().and_then(|alpn| speaks.alpn(alpn));
        let wanted = Wanted { name, alpn, source: connection.info.source.as_ref() };
        let mut up = match cluster.idle(endpoint, wanted, speaks) {
            Some(idle) => idle,
            None => {
                // Boxed, as it is rare: every request would hold room for it.
                let connecting =
                    Box::pin(cluster.request(endpoint, self.action.high_priority, wanted, speaks));
                guarded(exchange, &mut self.deadlines, self.request_done, down, connecting).await?
            }
        };
        exchange.info.upstream.local = None;
        exchange.info.upstream.tls = up.tls().cloned();
        exchange.info.upstream.protocol = Some(up.protocol());
        exchange.info.timings.upstream_first_tx = Some(exchange.info.elapsed());
        let upgrade = exchange.upgrade.clone();
        up.push_request(&exchange.head, exchange.body, upgrade.as_deref())?;
        for frame in &self.replay.frames {
            up.push_frame(frame.clone());
        }
        let result = self.await_head(exchange, &mut up, down).await;
        if result.is_err() {
            exchange.info.upstream.local = up.local_address();
        }
        result.map(|head| (up, head))
    }

    /// Waits for a final response's head; informational ones are passed on.
    async fn await_head<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_>,
        up: &mut UpstreamStream,
        down: &mut D,
    ) -> Result<UpstreamHead, Failure> {
        for _ in 0..=MOST_INFORMATIONAL {
            let mut pump = Pump {
                exchange,
                down,
                up,
                deadlines: &mut self.deadlines,
                replay: &mut self.replay,
                request_done: &mut self.request_done,
            };
            let head = pump.head().await?;
            match head.head.status {
                101 if exchange.upgrade.is_none() => {
                    return Err(Failure::UpstreamProtocol("101 without an upgrade"));
                }
                // The client got its 100 from us, unless we only pass it on.
                100 if !exchange.connection.manager.proxy_100_continue => {}
                100 | 102..200 if exchange.info.protocol != Some(Protocol::Http10) => {
                    down.push_head(&head.head, false, None);
                    poll_fn(|cx| down.poll_flush(cx)).await?;
                }
                100 | 102..200 => {}
                _ => {
                    exchange.info.timings.upstream_first_rx = Some(exchange.info.elapsed());
                    return Ok(head);
                }
            }
        }
        Err(Failure::UpstreamProtocol("too many informational responses"))
    }

    /// Whether to try again, and after how long.
    fn again(
        &mut self,
        exchange: &mut Exchange<'_>,
        result: &Result<Attempt, Failure>,
        permit: &mut Option<RetryPermit>,
    ) -> Option<Duration> {
        if !self.replay.whole || exchange.upgrade.is_some() && result.is_ok() {
            return None;
        }
        if let Err(Failure::UpstreamClosed { stale: true }) = result {
            // An idle connection that went away under our hands: not the upstream's failure.
            let replayable = self.replay.bytes_seen() == 0 || self.retries.enabled();
            if exchange.head.method.is_idempotent() && replayable && !self.stale_retried {
                self.stale_retried = true;
                return Some(Duration::ZERO);
            }
        }
        let wanted = match result {
            Ok(attempt) => self.retries.wants_after_response(&attempt.head.head),
            Err(failure) => self.retries.wants_after_failure(failure),
        };
        let stats = self.slot.stats.of(exchange.connection.worker.index);
        if !wanted || !self.retries.enabled() {
            let exhausted = wanted && exchange.info.upstream.attempts > 1;
            if exhausted {
                stats.upstream_rq_retry_limit_exceeded.inc();
                exchange.info.flags.insert(ResponseFlags::URX);
            } else if result.is_ok() && exchange.info.upstream.attempts > 1 {
                stats.upstream_rq_retry_success.inc();
            }
            return None;
        }
        *permit = None;
        let limits =
            self.slot.load().as_ref().map(|cluster| {
                if self.action.high_priority { cluster.high_limits } else { cluster.limits }
            })?;
        let Some(taken) = RetryPermit::new(&self.slot, &limits) else {
            stats.upstream_rq_retry_overflow.inc();
            exchange.info.flags.insert(ResponseFlags::UO);
            return None;
        };
        *permit = Some(taken);
        stats.upstream_rq_retry.inc();
        self.retries.take(exchange.connection.worker.random())
    }

    async fn back_off<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_>,
        wait: Duration,
        down: &mut D,
    ) -> Result<(), Failure> {
        self.deadlines.per_try = None;
        if wait.is_zero() {
            return Ok(());
        }
        let sleep = async {
            tokio::time::sleep(wait).await;
            Ok(())
        };
        guarded(exchange, &mut self.deadlines, self.request_done, down, sleep).await
    }

    /// Brings a response to the client.
    async fn answer<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_>,
        attempt: Attempt,
        down: &mut D,
    ) -> Result<(), Failure> {
        let Attempt { cluster, mut up, head, endpoint, _permit } = attempt;
        exchange.info.upstream.local = up.local_address();
        count_response(&cluster, head.head.status);
        let upgrade = head.upgrade.clone().filter(|_| head.head.status == 101);
        exchange.send_head(head.head, head.end, upgrade.as_deref(), down);
        let mut pump = Pump {
            exchange,
            down,
            up: &mut up,
            deadlines: &mut self.deadlines,
            replay: &mut self.replay,
            request_done: &mut self.request_done,
        };
        let result = if upgrade.is_some() { pump.tunnel().await } else { pump.body().await };
        exchange.info.timings.upstream_last_rx = Some(exchange.info.elapsed());
        let (received, sent) = up.wire_bytes();
        exchange.info.bytes.upstream_wire_received = received;
        exchange.info.bytes.upstream_wire_sent = sent;
        if let Err(failure) = &result {
            count_failure(&cluster, failure);
        } else {
            cluster.stats().upstream_rq_completed.inc();
            let timings = &exchange.info.timings;
            if let (Some(asked), Some(answered)) = (timings.request_end, timings.upstream_last_rx) {
                cluster.stats().upstream_rq_time.record_time(answered.saturating_sub(asked));
            }
        }
        drop(endpoint);
        up.finish(&cluster);
        result
    }
}

impl Replay {
    fn bytes_seen(&self) -> usize {
        self.frames.iter().map(|frame| if let Frame::Data(data) = frame { data.len() } else { 0 }).sum()
    }
}

/// Waits for something that takes time, unless a deadline passes or the client goes away first.
async fn guarded<D: Downstream, T>(
    exchange: &mut Exchange<'_>,
    deadlines: &mut Deadlines,
    request_done: bool,
    down: &mut D,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(result) = work.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        if request_done && let Poll::Ready(failure) = down.poll_closed(cx) {
            return Poll::Ready(Err(failure));
        }
        deadlines.poll(exchange.timer, cx).map(Err)
    })
    .await
}

/// The server name by the request: its authority without port, or another header's value.
pub fn server_name(head: &RequestHead, header: Option<&str>) -> Option<bytes::Bytes> {
    let host = |authority: &bytes::Bytes| {
        let text = std::str::from_utf8(authority).ok()?;
        Some(authority.slice(..crate::config::without_port(text).len()))
    };
    match header? {
        ":authority" => host(&head.authority),
        name => match head.headers.get(name) {
            Some(value) => host(&bytes::Bytes::copy_from_slice(value)),
            None => host(&head.authority),
        },
    }
}

/// Passes the trace on.
fn inject_trace(exchange: &mut Exchange<'_>) {
    let Exchange { connection, trace, head, info, .. } = exchange;
    if let (Some(trace), Some(tracing)) = (trace, &connection.manager.tracing) {
        trace.inject(tracing, head, info.elapsed(), &connection.worker);
    }
}

fn destination_of(exchange: &Exchange<'_>, slot: &ClusterSlot) -> Option<SocketAddr> {
    let cluster = slot.load();
    let Discovery::OriginalDst { header, .. } = &cluster.as_ref()?.discovery else { return None };
    let asked = header.as_deref().and_then(|name| exchange.head.headers.get_str(name)?.parse().ok());
    let info = &exchange.connection.info;
    // A connection that nobody redirected leads back here: without end, if we followed it.
    asked.or(Some(info.local).filter(|local| *local != info.socket_local))
}

fn hash_of(exchange: &Exchange<'_>, action: &RouteAction) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in &action.hash {
        let one = match &policy.source {
            HashSource::Header(name) => exchange.head.field(name).map(|value| hash_bytes(&value)),
            HashSource::Cookie { name, .. } => {
                super::cookie::find(&exchange.head.headers, name).map(hash_bytes)
            }
            HashSource::SourceIp => Some(hash_bytes(exchange.info.remote.ip().to_string().as_bytes())),
            HashSource::Query(name) => super::cookie::query(&exchange.head.path, name).map(hash_bytes),
        };
        if let Some(one) = one {
            hash = Some(hash.map_or(one, |all| all.rotate_left(1) ^ one));
            if policy.terminal {
                break;
            }
        }
    }
    hash
}

fn count_failure(cluster: &LocalCluster, failure: &Failure) {
    let stats = cluster.stats();
    match failure {
        Failure::Timeout => stats.upstream_rq_timeout.inc(),
        Failure::PerTryTimeout => stats.upstream_rq_per_try_timeout.inc(),
        Failure::UpstreamReset { .. } | Failure::UpstreamClosed { .. } => stats.upstream_rq_rx_reset.inc(),
        Failure::ClientClosed | Failure::ClientReset => stats.upstream_rq_tx_reset.inc(),
        _ => {}
    }
}

fn count_response(cluster: &LocalCluster, status: u16) {
    let stats = cluster.stats();
    match status {
        200..300 => stats.upstream_rq_2xx.inc(),
        300..400 => stats.upstream_rq_3xx.inc(),
        400..500 => stats.upstream_rq_4xx.inc(),
        500.. => stats.upstream_rq_5xx.inc(),
        _ => stats.upstream_rq_1xx.inc(),
    }
}
