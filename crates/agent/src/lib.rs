//! The pod's entry point (pilot-agent's role): makes the proxy's bootstrap from the pod's environment, runs the proxy,
//! keeps the workload's key and certificate, answers for the proxy's health, merges metrics, and drains on SIGTERM.

mod addresses;
mod admin;
pub mod arguments;
pub mod bootstrap;
mod client;
mod drain;
pub mod environment;
mod envoy;
mod health;
pub mod names;
mod prober;
mod proxy;
mod run;
pub mod security;
mod startup;
mod status;
mod wait;

pub use run::main;
