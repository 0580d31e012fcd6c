//! The request path over real sockets, with configuration made directly in the runtime model.

mod drain;
mod faults;
mod forwarding;
mod harness;
mod http2;
mod listeners;
mod malformed;
mod policy;
mod retries;
mod routing;
mod tcp;
mod tls;
mod updates;
