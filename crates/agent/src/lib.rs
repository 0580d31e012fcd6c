//! The pod's entry point (pilot-agent's role): makes the proxy's bootstrap from the pod's environment, runs the proxy,
//! answers for its health, merges metrics, and drains on SIGTERM.

mod admin;
pub mod arguments;
pub mod bootstrap;
mod client;
mod drain;
pub mod environment;
mod envoy;
mod prober;
mod proxy;
mod run;
mod status;
mod wait;

pub use run::main;
