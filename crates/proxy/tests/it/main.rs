//! The request path over real sockets, with configuration made directly in the runtime model.

mod drain;
mod faults;
mod files;
mod forwarding;
mod harness;
mod health;
mod http2;
mod ipv6;
mod listeners;
mod malformed;
mod policy;
mod retries;
mod routing;
mod sockets;
mod subsets;
mod tcp;
mod tls;
mod tracing;
mod tracing_names;
mod transparent;
mod updates;
