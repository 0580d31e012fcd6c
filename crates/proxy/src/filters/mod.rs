//! Filters: faults, CORS, and the policies that decide who may speak.

pub mod cors;
pub mod ext_authz;
pub mod fault;
pub mod jwt;
pub mod rbac;

use crate::error::Failure;
use crate::http::downstream::Downstream;
use crate::http::exchange::Exchange;
use crate::http::h1::BodyKind;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Waits for something that a filter needs, unless the client goes away first.
///
/// # Errors
/// The client went away.
pub async fn wait<D: Downstream, T>(
    exchange: &Exchange<'_>,
    down: &mut D,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    // What is left to read of a request stands before the news that its client is gone.
    let watch = exchange.body == BodyKind::None;
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if watch && let Poll::Ready(failure) = down.poll_closed(cx) {
            return Poll::Ready(Err(failure));
        }
        Poll::Pending
    })
    .await
}
