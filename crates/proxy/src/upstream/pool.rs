//! Idle HTTP/1 connections to one endpoint, of one worker.

use super::connect::Opened;
use super::permit::ConnectionPermit;
use crate::http::h1::H1Conn;
use crate::request_info::TlsInfo;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// An HTTP/1 connection to an endpoint, in use.
#[derive(Debug)]
pub struct ClientConn {
    /// The connection.
    pub conn: H1Conn,
    /// Requests that it has served.
    pub served: u32,
    /// Our address; asked of the kernel once.
    pub local: Option<SocketAddr>,
    /// Its TLS session.
    pub tls: Option<Arc<TlsInfo>>,
    born: Instant,
    pool: Rc<HostPool>,
    _permit: ConnectionPermit,
}

#[derive(Debug)]
struct Idle {
    client: ClientIdle,
    since: Instant,
}

/// A client connection without its way back to the pool (which would be a cycle).
#[derive(Debug)]
struct ClientIdle {
    conn: H1Conn,
    served: u32,
    local: Option<SocketAddr>,
    tls: Option<Arc<TlsInfo>>,
    born: Instant,
    permit: ConnectionPermit,
}

/// When idle connections are given up.
#[derive(Clone, Copy, Debug)]
pub struct Reuse {
    /// After so long without use.
    pub idle: Option<Duration>,
    /// After so many requests.
    pub requests: Option<u32>,
    /// At this age.
    pub age: Option<Duration>,
}

/// Idle connections to one endpoint.
#[derive(Debug, Default)]
pub struct HostPool {
    idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections.
    pub h2: RefCell<Vec<crate::http::h2::client::H2Conn>>,
    /// Whether somebody opens an HTTP/2 connection.
    pub opening: Opening,
    /// The last connection agreed on HTTP/1 where HTTP/2 was offered as well.
    pub agreed_http1: Cell<bool>,
}

/// Lets one task open a shared connection while the others wait.
#[derive(Debug, Default)]
pub struct Opening {
    busy: Cell<bool>,
    done: Notify,
}

/// The right to open a connection; given up when dropped.
#[derive(Debug)]
pub struct OpeningGuard<'a>(&'a Opening);

impl Opening {
    /// Takes the right, if nobody has it.
    pub fn begin(&self) -> Option<OpeningGuard<'_>> {
        (!self.busy.replace(true)).then_some(OpeningGuard(self))
    }

    /// Waits until whoever opens is done.
    pub async fn wait(&self) {
        self.done.notified().await;
    }
}

impl Drop for OpeningGuard<'_> {
    fn drop(&mut self) {
        self.0.busy.set(false);
        self.0.done.notify_waiters();
    }
}

impl HostPool {
    /// An idle connection that is still good; the one used last, so that surplus ones age.
    pub fn checkout(self: &Rc<Self>, reuse: Reuse) -> Option<ClientConn> {
        loop {
            let Idle { client, since } = self.idle.borrow_mut().pop()?;
            if client.conn.is_reusable() && reuse.idle.is_none_or(|limit| since.elapsed() < limit) {
                let ClientIdle { conn, served, local, tls, born, permit } = client;
                let pool = self.clone();
                return Some(ClientConn { conn, served, local, tls, born, pool, _permit: permit });
            }
        }
    }

    /// A new connection of this pool.
    pub fn adopt(self: &Rc<Self>, opened: Opened, permit: ConnectionPermit) -> ClientConn {
        let Opened { io, tls } = opened;
        let local = io.tcp().local_addr().ok();
        let (conn, pool) = (H1Conn::new(io, BytesMut::new()), self.clone());
        ClientConn { conn, served: 0, local, tls, born: Instant::now(), pool, _permit: permit }
    }

    /// Closes idle connections that are of no more use; tells whether any is left.
    pub fn sweep(&self, idle: Option<Duration>) -> bool {
        let mut connections = self.idle.borrow_mut();
        connections.retain(|entry| {
            entry.client.conn.is_reusable() && idle.is_none_or(|limit| entry.since.elapsed() < limit)
        });
        if connections.is_empty() {
            connections.shrink_to_fit();
        }
        let mut h2 = self.h2.borrow_mut();
        h2.retain(|conn| !conn.is_closed() && !idle.is_some_and(|limit| conn.is_idle_for(limit)));
        !connections.is_empty() || !h2.is_empty()
    }
}

impl ClientConn {
    /// Puts a connection that has served one more request back.
    pub fn release(self, reuse: Reuse) {
        let ClientConn { mut conn, served, local, tls, born, pool, _permit: permit } = self;
        let served = served.saturating_add(1);
        let spent = reuse.requests.is_some_and(|limit| served >= limit)
            || reuse.age.is_some_and(|limit| born.elapsed() >= limit);
        if spent || !conn.is_reusable() {
            return;
        }
        conn.trim();
        let client = ClientIdle { conn, served, local, tls, born, permit };
        pool.idle.borrow_mut().push(Idle { client, since: Instant::now() });
    }
}
