//! HTTP: heads and headers, codecs, routing, forwarding.

pub mod client_cert;
pub mod cookie;
pub mod date;
pub mod downstream;
mod edits;
mod egress;
pub mod exchange;
mod forward;
pub mod h1;
pub mod h2;
pub mod head;
pub mod headers;
mod ingress;
pub mod io;
mod mirror;
mod path;
mod pump;
mod redirect;
mod retry;
pub mod routing;
mod timeout;

pub(crate) use client_cert::url_encoded_pem;
pub(crate) use forward::server_name;
pub use head::{RequestHead, ResponseHead, Scheme};
pub use headers::Headers;
