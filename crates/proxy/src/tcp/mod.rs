//! The TCP proxy.

mod copy;
mod proxy;

pub use proxy::serve;
