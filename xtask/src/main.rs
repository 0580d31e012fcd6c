//! Project chores: `cargo xtask <task>`.

mod bench;
mod charts;
mod compare;
mod e2e;
mod image;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Project chores")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure: without a name the proxy beside Envoy, HAProxy and nginx.
    Bench(bench::Options),
    /// Write the generated files of the Helm charts: templates, schemas, definitions.
    Charts,
    /// Hold the one-machine mode against a real cluster, kubectl command by command.
    Compare(compare::Options),
    /// Run the tutorials on the cluster that KUBECONFIG names.
    E2e(e2e::Options),
    /// Make the container image as an OCI archive, without a container engine.
    Image(image::Options),
    /// A plain TCP forwarder, the floor that the proxies' latency is measured from.
    #[command(hide = true)]
    Forward {
        /// Address to listen on.
        listen: std::net::SocketAddr,
        /// Address to connect to.
        upstream: std::net::SocketAddr,
    },
    /// Watches the generation of the routes of a service, from inside a pod's network.
    #[command(hide = true)]
    Probe {
        /// `ADDRESS:PORT` of the service.
        address: String,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Bench(options) => bench::run(&options),
        Task::Charts => charts::run(),
        Task::Compare(options) => compare::run(&options),
        Task::E2e(options) => e2e::run(&options),
        Task::Image(options) => image::run(&options),
        Task::Forward { listen, upstream } => bench::forward::run(listen, upstream),
        Task::Probe { address } => bench::local::probe(&address),
    }
}
