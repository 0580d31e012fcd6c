//! One accepted connection, from its original destination to its filter chain's last filter.

use super::inspect::{self, Sniffed};
use super::{chain_match, proxy_protocol, socket, tls};
use crate::config::{
    ActiveListener, Codec, FilterChain, NetworkFilter, PortExceptions, Terminal, TransportProtocol,
    UpstreamSource,
};
use crate::filters::{ext_authz, rbac};
use crate::http::downstream::Connection;
use crate::http::io::{Io, Prefixed};
use crate::http::{h1, h2};
use crate::request_info::{ConnectionInfo, LogContext, RequestInfo, ResponseFlags};
use crate::tcp;
use crate::worker::Worker;
use bytes::BytesMut;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};
use tokio::net::TcpStream;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A connection that was accepted and not yet given to a filter chain.
struct Accepted {
    worker: Rc<Worker>,
    tcp: TcpStream,
    buffer: BytesMut,
    local: SocketAddr,
    socket_local: SocketAddr,
    remote: SocketAddr,
    direct_remote: SocketAddr,
    start: Instant,
}

/// Serves a connection until it ends. `port` is the one that we listen on: a connection that TPROXY delivered believes to
/// be at another.
pub async fn serve(worker: Rc<Worker>, active: ActiveListener, tcp: TcpStream, peer: SocketAddr, port: u16) {
    let (index, start) = (worker.index, Instant::now());
    active.stats.of(index).downstream_cx_total.inc();
    active.stats.of(index).downstream_cx_active.inc();
    // Without it, small answers would wait for the peer's acknowledgement.
    let _ = tcp.set_nodelay(true);
    if let Some(keepalive) = &active.config.keepalive {
        let _ = crate::upstream::set_keepalive(&socket2::SockRef::from(&tcp), keepalive);
    }
    let _watch = worker.watch().await;
    if let Ok(local) = tcp.local_addr() {
        let accepted = Accepted {
            worker,
            tcp,
            buffer: BytesMut::new(),
            local: unmapped(local),
            socket_local: SocketAddr::new(local.ip().to_canonical(), port),
            remote: unmapped(peer),
            direct_remote: unmapped(peer),
            start,
        };
        // A task is as large as its largest phase for as long as it lives, and most connections wait in their last one
        // most of the time: each phase stands in memory of its own, which is given back after it.
        if let Some(session) = Box::pin(route(accepted, active.clone())).await {
            session.await;
        }
    }
    active.stats.of(index).downstream_cx_active.dec();
    active.stats.of(index).downstream_cx_destroy.inc();
    active.stats.of(index).downstream_cx_length_ms.record_time(start.elapsed());
}

/// IPv4 in IPv6's clothes is IPv4.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What a connection does for the rest of its life.
type Session = Pin<Box<dyn Future<Output = ()>>>;

/// Finds the listener, learns what its listener filters learn, finds the filter chain and begins it; none: the
/// connection is at its end.
async fn route(mut accepted: Accepted, bound: ActiveListener) -> Option<Session> {
    let config = &bound.config;
    if (config.listener_filters.original_dst || config.use_original_dst)
        && let Some(original) = socket::original_destination(&accepted.tcp, accepted.local)
    {
        accepted.local = unmapped(original);
    }
    let active = if config.use_original_dst { hand_over(&accepted, &bound) } else { bound };
    let filters = &active.config.listener_filters;
    let learning = learn(&mut accepted, &active);
    let sniffed = if filters.timeout.is_zero() {
        learning.await
    } else {
        match tokio::time::timeout(filters.timeout, learning).await {
            Ok(sniffed) => sniffed,
            Err(_) if filters.continue_on_timeout => Some(Sniffed::default()),
            Err(_) => {
                active.stats.of(accepted.worker.index).downstream_pre_cx_timeout.inc();
                None
            }
        }
    };
    let sniffed = sniffed?;
    let facts = chain_match::Facts {
        local: accepted.local,
        remote: accepted.remote,
        direct_remote: accepted.direct_remote,
        sniffed: &sniffed,
    };
    let chain = chain_match::find(&active.config, &facts).cloned();
    let info = accepted.info(&active, chain.as_deref(), &sniffed);
    match chain {
        Some(chain) => enter(accepted, active, chain, info).await,
        None => {
            refuse(&accepted, &active, info);
            None
        }
    }
}

/// The listener of the original address: bound to it, or to its port everywhere; else the one that accepted.
fn hand_over(accepted: &Accepted, bound: &ActiveListener) -> ActiveListener {
    let table = accepted.worker.store.listeners();
    let local = accepted.local;
    let wildcard: SocketAddr = if local.is_ipv4() {
        ([0, 0, 0, 0], local.port()).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, local.port()).into()
    };
    let found = table.by_address.get(&local).or_else(|| table.by_address.get(&wildcard));
    found.filter(|other| !other.config.use_original_dst).unwrap_or(bound).clone()
}

fn wanted(inspector: Option<&PortExceptions>, port: u16) -> bool {
    inspector.is_some_and(|except| !except.iter().any(|range| range.contains(&port)))
}

/// What the first bytes tell; none: the connection is to be closed.
async fn learn(accepted: &mut Accepted, active: &ActiveListener) -> Option<Sniffed> {
    let filters = &active.config.listener_filters;
    if let Some(settings) = filters.proxy_protocol {
        let told = proxy_protocol::read(&mut accepted.tcp, &mut accepted.buffer, settings).await.ok()?;
        if let Some((source, destination)) = told {
            (accepted.remote, accepted.local) = (source, destination);
        }
    }
    let port = accepted.local.port();
    let (tls, http) =
        (wanted(filters.tls_inspector.as_ref(), port), wanted(filters.http_inspector.as_ref(), port));
    if !tls && !http {
        return Some(Sniffed::default());
    }
    inspect::sniff(&mut accepted.tcp, &mut accepted.buffer, tls, http).await.ok()
}

impl Accepted {
    fn info(
        &self,
        active: &ActiveListener,
        chain: Option<&FilterChain>,
        sniffed: &Sniffed,
    ) -> ConnectionInfo {
        ConnectionInfo {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            worker: self.worker.index,
            listener: active.config.name.clone(),
            direction: active.config.direction,
            filter_chain: chain.map_or_else(|| "".into(), |chain| chain.name.clone()),
            local: self.local,
            socket_local: self.socket_local,
            remote: self.remote,
            direct_remote: self.direct_remote,
            source: active
                .config
                .listener_filters
                .original_src
                .map(|source| UpstreamSource { address: self.remote.ip(), mark: source.mark }),
            server_name: sniffed.server_name.as_deref().map(Into::into),
            tls: None,
            transport_failure: None,
            start: self.start,
            start_wall: SystemTime::now(),
        }
    }
}

/// Closes a connection that no filter chain takes, and logs it.
fn refuse(accepted: &Accepted, active: &ActiveListener, info: ConnectionInfo) {
    active.stats.of(accepted.worker.index).no_filter_chain_match.inc();
    let mut info = RequestInfo::new(Arc::new(info), None);
    info.flags = ResponseFlags::NR;
    info.details = Some("filter_chain_not_found".into());
    info.timings.end = Some(info.elapsed());
    let context = LogContext { info: &info, request: None, response: None, trailers: None };
    for log in &active.config.access_logs {
        log.log(&context);
    }
}

/// Runs a filter chain, TLS and its filters, up to its last filter.
async fn enter(
    accepted: Accepted,
    active: ActiveListener,
    chain: Arc<FilterChain>,
    mut info: ConnectionInfo,
) -> Option<Session> {
    let Accepted { worker, tcp, buffer, .. } = accepted;
    let (io, prefix) = match &chain.tls {
        None => (Io::plain(tcp), buffer),
        Some(server) => {
            let io = Prefixed { prefix: buffer, tcp };
            (tls::accept(server, io, &active, &chain, &mut info).await?, BytesMut::new())
        }
    };
    let info = Arc::new(info);
    let mut session = Box::new(RequestInfo::new(info.clone(), None));
    for filter in &chain.filters {
        let verdict = match filter {
            NetworkFilter::Rbac(filter) => rbac::check_connection(filter, &mut session),
            NetworkFilter::ExtAuthz(filter) => ext_authz::network::check(&worker, filter, &mut session).await,
            NetworkFilter::Extension(filter) if filter.on_connection(&mut session) => Ok(()),
            NetworkFilter::Extension(_) => return None,
        };
        if let Err(details) = verdict {
            deny(&chain, *session, details);
            return None;
        }
    }
    match &chain.terminal {
        Terminal::Close => None,
        Terminal::Tcp(proxy) => Some(Box::pin(tcp::serve(worker, proxy.clone(), chain, session, io, prefix))),
        Terminal::Http(manager) => {
            let manager = manager.clone();
            Some(Box::pin(http(Rc::new(Connection { worker, info, manager, chain }), io, prefix)))
        }
    }
}

/// Logs a connection that policy refuses; it is closed by being dropped.
fn deny(chain: &FilterChain, mut session: RequestInfo, details: String) {
    session.termination = Some(details.into());
    session.timings.end = Some(session.elapsed());
    let context = LogContext { info: &session, request: None, response: None, trailers: None };
    if let Terminal::Tcp(proxy) = &chain.terminal {
        for log in &proxy.access_logs {
            log.log(&context);
        }
    }
}

/// Finds out which HTTP is spoken, and serves it.
async fn http(connection: Rc<Connection>, mut io: Io, mut prefix: BytesMut) {
    let stats = connection.stats();
    stats.downstream_cx_total.inc();
    stats.downstream_cx_active.inc();
    let alpn = connection.info.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    let http2 = match (connection.manager.codec, alpn) {
        (Codec::Http2, _) | (Codec::Auto, Some("h2" | "istio-h2")) => true,
        (Codec::Http1, _)
        | (Codec::Auto, Some("http/1.1" | "http/1.0" | "istio-http/1.1" | "istio-http/1.0")) => false,
        // Names such as `istio` tell who speaks, not what.
        (Codec::Auto, _) => inspect::is_http2_preface(&mut io, &mut prefix, &connection).await,
    };
    if http2 {
        Box::pin(h2::server::serve(connection.clone(), io, prefix)).await;
    } else {
        Box::pin(h1::server::serve(&connection, io, prefix)).await;
    }
    let stats = connection.stats();
    stats.downstream_cx_active.dec();
    stats.downstream_cx_destroy.inc();
    stats.downstream_cx_length_ms.record_time(connection.info.start.elapsed());
}

impl Default for Sniffed {
    fn default() -> Self {
        Sniffed { transport: TransportProtocol::RawBuffer, server_name: None, protocols: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand connections wait in one proxy: what they hold meanwhile is what a proxy's memory is made of.
    #[test]
    fn a_connection_that_waits_is_small() {
        let task = size(|worker, active, tcp, (peer, port)| serve(worker, active, tcp, peer, port));
        let http1 =
            size(|connection: &'static Connection, io, prefix, ()| h1::server::serve(connection, io, prefix));
        let tcp = size(|(worker, proxy), chain, session, io| {
            tcp::serve(worker, proxy, chain, session, io, BytesMut::new())
        });
        println!("task {task}, HTTP/1 {http1}, TCP {tcp}");
        assert!(task <= 2560, "task: {task}");
        assert!(http1 <= 2560, "HTTP/1: {http1}");
        assert!(tcp <= 2560, "TCP: {tcp}");
    }
}
