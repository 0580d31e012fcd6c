//! Endpoints with several addresses: the first one that answers is taken.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::config::Endpoint;

/// How long an address is waited for before the next one is tried as well (Envoy, happy eyeballs: 300 ms).
const PATIENCE: Duration = Duration::from_millis(300);

/// Connects to an endpoint by the first of its addresses that answers. The others are tried one after the other, as soon
/// as one refuses or is slow; connections that come too late are dropped.
///
/// # Errors
/// The first address' error, when all have failed.
pub(super) async fn first<T, F: Future<Output = io::Result<T>>>(
    endpoint: &Endpoint,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    if endpoint.alternatives.is_empty() {
        return connect(endpoint.address).await;
    }
    let mut waiting = endpoint.alternatives.iter().copied();
    let mut attempts: FuturesUnordered<F> = [connect(endpoint.address)].into_iter().collect();
    let mut failed = None;
    loop {
        let result = match waiting.len() {
            0 => attempts.next().await,
            _ => match tokio::time::timeout(PATIENCE, attempts.next()).await {
                Ok(result) => result,
                Err(_) => {
                    attempts.extend(waiting.next().map(&connect));
                    continue;
                }
            },
        };
        match result {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => {
                failed.get_or_insert(error);
                attempts.extend(waiting.next().map(&connect));
            }
            // The last attempt has failed, so that there is its error.
            None => return Err(failed.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Endpoint { alternatives: Box::new([address(2), address(3)]), ..Endpoint::new(address(1)) }
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let endpoint = endpoint();
        let port = first(&endpoint, async |to| match to.port() {
            3 => Ok(3),
            port => Err(io::Error::other(port.to_string())),
        });
        assert_eq!(port.await.unwrap(), 3);
        let none =
            first(&endpoint, async |to| io::Result::<()>::Err(io::Error::other(to.port().to_string())));
        assert_eq!(none.await.unwrap_err().to_string(), "1");
    }

    #[tokio::test]
    async fn an_address_that_is_silent_is_not_waited_for() {
        let endpoint = endpoint();
        let start = tokio::time::Instant::now();
        let port = first(&endpoint, async |to| match to.port() {
            1 => std::future::pending().await,
            port => io::Result::Ok(port),
        });
        assert_eq!(port.await.unwrap(), 2);
        assert!(start.elapsed() >= PATIENCE);
    }
}
