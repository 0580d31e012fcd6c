//! Lateen's data plane: the sidecar and gateway proxy. It takes Envoy's bootstrap and xDS, and forwards HTTP/1.1,
//! HTTP/2 and TCP.
//!
//! `config` is the runtime model; `listener`, `http`, `tcp`, `filters` and `upstream` are the request path.

pub mod access_log;
mod admin;
pub mod bootstrap;
pub mod config;
pub mod convert;
pub mod error;
mod filters;
pub mod format;
pub mod http;
mod listener;
pub mod request_info;
pub mod run;
mod server;
mod startup;
pub mod stats;
mod tcp;
mod timer;
pub mod tls;
pub mod tls_info;
pub mod trace;
pub mod upstream;
pub mod worker;
mod xds_client;

use lateen_identity::jose;
