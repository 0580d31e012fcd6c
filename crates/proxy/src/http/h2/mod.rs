//! HTTP/2, over the `h2` crate: our heads on one side, its messages on the other.

pub mod client;
mod convert;
mod cork;
mod halves;
pub mod server;

pub(crate) use convert::request_from;
