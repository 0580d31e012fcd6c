//! Lateen's data plane: the sidecar and gateway proxy. It takes Envoy's bootstrap and xDS, and forwards HTTP/1.1,
//! HTTP/2 and TCP.
//!
//! `config` is the runtime model; `listener`, `http`, `tcp`, `filters` and `upstream` are the request path.

pub mod config;
pub mod error;
pub mod http;
pub mod request_info;
pub mod upstream;
