//! Istio's CNI plugin: it captures the traffic of injected pods while their network is made, so that no container of
//! theirs needs a privilege.
//!
//! Two roles, both of the one program: the plugin, which the container runtime starts for every pod
//! ([`plugin`], <https://www.cni.dev/docs/spec/>), and the agent of the node ([`node`]), a DaemonSet that puts the plugin
//! into the node's network configuration, takes it out again, and mends pods that were made before it was there.

mod node;
mod plugin;

use clap::{Args, Subcommand};

pub use node::{Install, Repair};
pub use plugin::call;

/// The plugin's `type` in network configurations, which is the name of its file. It is Istio's, so that what knows
/// Istio's plugin (other CNI plugins that keep chained ones, cluster policies) knows this one.
pub const PLUGIN: &str = "istio-cni";

/// `lateen cni`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The node's side; without a verb, this is the plugin, which a container runtime starts.
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Keep the plugin installed on this node and mend pods that were made before it was (the DaemonSet's role).
    Install(Box<Install>),
    /// Whether the plugin is installed on this node.
    Ready(Box<Install>),
}

/// Runs a role; the plugin's answer goes to standard output as its protocol has it.
///
/// # Errors
/// Of the node's side: what cannot be read or written, by path. The plugin writes its errors as answers and then asks for
/// a failing exit status: `Ok(false)`.
pub fn run(arguments: Arguments) -> anyhow::Result<bool> {
    match arguments.verb {
        None => Ok(plugin::main()),
        Some(Verb::Install(install)) => node::main(&install).map(|()| true),
        Some(Verb::Ready(install)) => node::ready(&install).map(|()| true),
    }
}
