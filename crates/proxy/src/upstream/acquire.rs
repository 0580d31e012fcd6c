//! A place for a request at an endpoint, on a connection of the protocol that is spoken there.

use super::connect::Wanted;
use super::local::{LocalCluster, Waited};
use super::stream::UpstreamStream;
use crate::config::{AlpnOverride, Endpoint, UpstreamProtocol};
use crate::error::Failure;
use crate::request_info::Protocol;

/// What is spoken to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// What ALPN agrees on: HTTP/2, or else HTTP/1.1.
    Agreed,
}

impl Speaks {
    /// The protocols that replace the cluster's own; none where ALPN is to choose.
    pub fn alpn(self, replacing: &AlpnOverride) -> Option<&[Vec<u8>]> {
        match self {
            Speaks::Http1 => Some(replacing.of(false)),
            Speaks::Http2 => Some(replacing.of(true)),
            Speaks::Agreed => None,
        }
    }
}

impl LocalCluster {
    /// What is spoken for a request that came over `downstream`; none: an upgrade, which HTTP/2 cannot pass on.
    pub fn speaks(&self, downstream: Option<Protocol>, upgrade: bool) -> Speaks {
        match self.config.protocol {
            UpstreamProtocol::Http1 => Speaks::Http1,
            UpstreamProtocol::Http2 if upgrade => Speaks::Http1,
            UpstreamProtocol::Http2 => Speaks::Http2,
            UpstreamProtocol::Downstream if downstream == Some(Protocol::Http2) => Speaks::Http2,
            UpstreamProtocol::Downstream => Speaks::Http1,
            UpstreamProtocol::Auto if self.config.transport.is_plain() => Speaks::Http1,
            UpstreamProtocol::Auto => Speaks::Agreed,
        }
    }

    /// A place on a connection that is there. This is the rule: no timer, no future, no waiting.
    pub fn idle(&self, endpoint: &Endpoint, wanted: Wanted<'_>, speaks: Speaks) -> Option<UpstreamStream> {
        let pool = self.pool(endpoint.address, &wanted);
        if speaks != Speaks::Http1
            && let Some(stream) = pool.share_now()
        {
            stream.retire_if_spent(self);
            return Some(UpstreamStream::H2(Box::new(stream)));
        }
        if speaks == Speaks::Http2 {
            return None;
        }
        pool.checkout(self.reuse()).map(UpstreamStream::h1)
    }

    /// A place for a request, on a new connection where there is no other.
    ///
    /// # Errors
    /// [`Failure::Overflow`] when too many wait already; what [`super::open`] fails with.
    pub async fn request(
        &self,
        endpoint: &Endpoint,
        high: bool,
        wanted: Wanted<'_>,
        speaks: Speaks,
    ) -> Result<UpstreamStream, Failure> {
        match speaks {
            Speaks::Http1 => self.http1(endpoint, high, wanted).await.map(UpstreamStream::h1),
            Speaks::Http2 => {
                let stream = self.http2(endpoint, high, wanted).await?;
                stream.retire_if_spent(self);
                Ok(UpstreamStream::H2(Box::new(stream)))
            }
            Speaks::Agreed => self.agreed(endpoint, high, wanted).await,
        }
    }

    /// A place on a connection whose protocol ALPN agreed on.
    async fn agreed(
        &self,
        endpoint: &Endpoint,
        high: bool,
        wanted: Wanted<'_>,
    ) -> Result<UpstreamStream, Failure> {
        let pool = self.pool(endpoint.address, &wanted);
        loop {
            if let Some(stream) = self.shared_stream(&pool).await {
                stream.retire_if_spent(self);
                return Ok(UpstreamStream::H2(Box::new(stream)));
            }
            if let Some(idle) = pool.checkout(self.reuse()) {
                return Ok(UpstreamStream::h1(idle));
            }
            // Where HTTP/2 may be agreed on, one opens a connection and the others wait for it.
            let opening = match pool.opening.begin() {
                _ if pool.agreed_http1.get() => None,
                Some(opening) => Some(opening),
                None => {
                    pool.opening.wait().await;
                    continue;
                }
            };
            let permit = match self.connection_permit(endpoint, high) {
                Some(permit) => permit,
                None => match self.wait_for_connection(endpoint, high, &pool).await? {
                    Waited::Idle(idle) => return Ok(UpstreamStream::h1(*idle)),
                    Waited::Permit(permit) => permit,
                },
            };
            let opened = self.open(endpoint, wanted).await?;
            let http2 = opened.io.alpn() == Some(b"h2");
            pool.agreed_http1.set(!http2);
            if http2 {
                self.share(&pool, opened, permit).await?;
                drop(opening);
                continue;
            }
            self.stats().upstream_cx_http1_total.inc();
            return Ok(UpstreamStream::h1(pool.adopt(opened, permit)));
        }
    }
}
