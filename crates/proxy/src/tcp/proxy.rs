//! A plain TCP session: cluster, endpoint, connection, copy, log.

use super::copy::{Ended, Exchange, copy};
use super::exchange::agreed;
use crate::config::{Discovery, FilterChain, TcpProxy, TcpTarget};
use crate::error::Failure;
use crate::http::io::Io;
use crate::request_info::{LogContext, RequestInfo, ResponseFlags};
use crate::upstream::balancer::{Choice, hash_bytes};
use crate::upstream::{ConnectionPermit, LocalCluster, Outcome, Wanted, observe};
use crate::worker::Worker;
use bytes::BytesMut;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Serves a connection until it ends.
pub async fn serve(
    worker: Rc<Worker>,
    proxy: Arc<TcpProxy>,
    chain: Arc<FilterChain>,
    mut info: Box<RequestInfo>,
    io: Io,
    prefix: BytesMut,
) {
    let stats = proxy.stats.of(worker.index);
    stats.downstream_cx_total.inc();
    let result = session(&worker, &proxy, &chain, &mut info, io, prefix).await;
    if let Err(failure) = result {
        info.flags.insert(failure.flag());
        info.upstream.failure = failure.transport_reason().map(Into::into);
        info.details = failure.session_details().map(Into::into);
    }
    info.timings.end = Some(info.elapsed());
    stats.downstream_cx_rx_bytes_total.add(info.bytes.received);
    stats.downstream_cx_tx_bytes_total.add(info.bytes.sent);
    log(&proxy, &info, |log, context| log.log(context));
}

fn log(
    proxy: &TcpProxy,
    info: &RequestInfo,
    what: impl Fn(&dyn crate::request_info::AccessLog, &LogContext<'_>),
) {
    let context = LogContext { info, request: None, response: None, trailers: None };
    for log in &proxy.access_logs {
        what(&**log, &context);
    }
}

async fn session(
    worker: &Rc<Worker>,
    proxy: &Arc<TcpProxy>,
    chain: &Arc<FilterChain>,
    info: &mut RequestInfo,
    io: Io,
    prefix: BytesMut,
) -> Result<(), Failure> {
    let target = proxy.choose(worker.random());
    let cluster = target.and_then(|target| worker.cluster(&target.cluster));
    let (Some(target), Some(cluster)) = (target, cluster) else {
        proxy.stats.of(worker.index).downstream_cx_no_route.inc();
        return Err(Failure::NoCluster(503));
    };
    info.upstream.cluster = Some(cluster.config.clone());
    // In memory of its own, which is given back before the session begins.
    let (upstream, _permit) = Box::pin(connect(worker, proxy, &cluster, target, info)).await?;
    info.upstream.local = upstream.tcp().local_addr().ok();
    let limits = super::copy::Limits {
        idle: proxy.idle_timeout.filter(|idle| !idle.is_zero()),
        life: proxy.max_connection_duration,
    };
    let exchange = Exchange {
        down: proxy.exchange && agreed(info.connection.tls.as_deref()),
        up: cluster.config.exchange && agreed(info.upstream.tls.as_deref()),
        own: &proxy.announcement,
        read: prefix,
    };
    let (counts, ended) = copy(chain, io, upstream, limits, exchange, |(down, up)| {
        info.downstream_peer = down.or(info.downstream_peer.take());
        info.upstream_peer = up.or(info.upstream_peer.take());
        log(proxy, info, |log, context| log.opened(context));
    })
    .await;
    info.bytes.received += counts.to_upstream;
    info.bytes.sent += counts.to_downstream;
    info.bytes.upstream_wire_sent = info.bytes.received;
    info.bytes.upstream_wire_received = info.bytes.sent;
    let stats = cluster.stats();
    stats.upstream_cx_tx_bytes_total.add(info.bytes.received);
    stats.upstream_cx_rx_bytes_total.add(info.bytes.sent);
    match ended {
        Ended::Both => {}
        Ended::Idle => {
            proxy.stats.of(worker.index).idle_timeout.inc();
            info.flags.insert(ResponseFlags::SI);
        }
        Ended::Life => info.flags.insert(ResponseFlags::UMSDR),
        Ended::Drained => info.details = Some("drained".into()),
        Ended::Downstream => info.flags.insert(ResponseFlags::DC),
        Ended::Upstream => info.flags.insert(ResponseFlags::UC),
    }
    Ok(())
}

/// Connects to an endpoint, to others if that fails and the proxy may try again.
async fn connect(
    worker: &Rc<Worker>,
    proxy: &TcpProxy,
    cluster: &Rc<LocalCluster>,
    target: &TcpTarget,
    info: &mut RequestInfo,
) -> Result<(Io, ConnectionPermit), Failure> {
    let hash = proxy.hash_source_ip.then(|| hash_bytes(info.remote.ip().to_string().as_bytes()));
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let subset = target.subset.as_ref();
        let choice = Choice { random: worker.random(), hash, avoid: (&tried, 3), subset };
        let endpoint = cluster.choose(choice, Some(info.connection.local))?;
        if matches!(cluster.config.discovery, Discovery::OriginalDst { .. })
            && endpoint.address == own_address(info)
        {
            // A connection that nobody redirected leads back here: without end, if we followed it.
            return Err(Failure::NoHealthyUpstream);
        }
        info.upstream.host = Some(endpoint.address);
        info.upstream_peer.clone_from(&endpoint.peer);
        info.upstream.attempts += 1;
        let permit = cluster.connection_permit(&endpoint, false).ok_or(Failure::Overflow)?;
        let wanted = Wanted { source: info.connection.source.as_ref(), ..Wanted::default() };
        match cluster.open(&endpoint, wanted).await {
            Ok(opened) => {
                observe(&cluster.config, &target.cluster, worker.index, &endpoint, Outcome::Status(200));
                info.upstream.tls.clone_from(&opened.tls);
                return Ok((opened.io, permit));
            }
            Err(failure) => {
                observe(&cluster.config, &target.cluster, worker.index, &endpoint, Outcome::LocalFailure);
                if info.upstream.attempts >= proxy.max_connect_attempts {
                    if proxy.max_connect_attempts > 1 {
                        info.flags.insert(ResponseFlags::URX);
                    }
                    return Err(failure);
                }
                tried.push(endpoint.address);
            }
        }
    }
}

/// What would lead back to us.
fn own_address(info: &RequestInfo) -> SocketAddr {
    info.connection.socket_local
}
