//! The node's dealings with the API server.

mod catalog;
mod client;
mod events;
mod pods;
mod publish;
mod register;
mod schedule;
mod watch;

pub(crate) use catalog::{Backend, Catalog};
pub(crate) use client::Cluster;
pub(crate) use events::Events;
pub(crate) use pods::Pods;
pub(crate) use register::{heartbeat, register};
pub(crate) use watch::{Sink, follow};

/// The node's name.
pub const NODE_NAME: &str = "lateen";
