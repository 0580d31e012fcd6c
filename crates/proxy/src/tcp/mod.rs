//! The TCP proxy.

mod copy;
mod exchange;
mod proxy;

pub(crate) use exchange::announcement;
pub use proxy::serve;
