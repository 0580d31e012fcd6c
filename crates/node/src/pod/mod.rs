//! The life of one pod: a specification in, states out. Nothing here knows the API server.

mod command;
mod container;
mod context;
mod downward;
mod env;
mod hooks;
mod kill;
mod objects;
mod probe;
mod probe_run;
mod probe_tls;
mod quantity;
mod record;
mod sandbox;
mod status;
mod volume_files;
mod volumes;
mod worker;

pub use command::PROXY_MARK;
pub(crate) use context::{Dirs, PodContext, Runtime, Users};
pub(crate) use downward::{node_cpus, node_memory};
pub(crate) use objects::{Objects, Severity};
pub(crate) use record::{Input, Live, Record, State};
pub(crate) use status::{Facts, pod_status};
pub(crate) use worker::{PodHandle, start};
