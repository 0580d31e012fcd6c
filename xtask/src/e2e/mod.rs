//! `cargo xtask e2e`: the mesh on a real cluster, which KUBECONFIG names, as a person would work with it.
//!
//! The cluster needs the images of `cargo xtask image --demos-of ...`; docs/kubernetes.md says how.

mod bookinfo;
mod canary;
mod charts;
mod cluster;
mod cni;
mod continuity;
mod external_internal;
mod fields;
mod footprint;
mod load;
mod names;
mod nothing_left;
mod outside;
mod transparent;
mod voting;
mod walk;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use cluster::Cluster;

/// What is run, and with which programs.
#[derive(Args)]
pub struct Options {
    /// Scenarios, of: charts, bookinfo, gateways, voting, canary, continuity, footprint, fields, cni,
    /// transparent, names, uninstall
    /// [default: all]
    scenarios: Vec<String>,
    /// The `lateen` to install with.
    #[arg(long, value_name = "FILE", default_value = "target/release/lateen")]
    lateen: PathBuf,
    /// Helm's program.
    #[arg(long, value_name = "FILE", env = "LATEEN_HELM", default_value = "helm")]
    helm: PathBuf,
    /// Where NodePorts are reached from here [default: the first node's address]
    #[arg(long, value_name = "ADDRESS")]
    node: Option<String>,
    /// Run this program of the image as every proxy, such as /usr/local/bin/envoy.
    #[arg(long, value_name = "PATH")]
    proxy: Option<String>,
    /// Requests a second while the control plane is killed, scaled and upgraded.
    #[arg(long, value_name = "N", default_value_t = 500)]
    rate: u32,
    /// The nodes' folder of CNI plugins.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    cni_bin_dir: String,
    /// The nodes' folder of network configurations.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: String,
    /// Leave the mesh as the last scenario leaves it.
    #[arg(long)]
    keep: bool,
}

type Scenario = fn(&Cluster) -> Result<()>;

const SCENARIOS: [(&str, Scenario); 12] = [
    ("charts", charts::run),
    ("bookinfo", walk::run),
    ("gateways", external_internal::run),
    ("voting", voting::run),
    ("canary", canary::run),
    ("continuity", continuity::run),
    ("footprint", footprint::run),
    ("fields", fields::run),
    ("cni", cni::run),
    ("transparent", transparent::run),
    ("names", names::run),
    ("uninstall", nothing_left::run),
];

/// Runs the scenarios one after another; each begins on a cluster without a mesh.
pub fn run(options: &Options) -> Result<()> {
    let known: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = options.scenarios.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no scenario {unknown:?}; there is: {}", known.join(", "));
    }
    let cluster = Cluster::new(options)?;
    let wanted = |name: &str| options.scenarios.is_empty() || options.scenarios.iter().any(|s| s == name);
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| wanted(name)) {
        let start = Instant::now();
        println!("== {name}");
        cluster.clean().context("cannot clean the cluster")?;
        scenario(&cluster).with_context(|| format!("scenario {name}"))?;
        println!("== {name}: passed in {:.0?}", start.elapsed());
    }
    if !options.keep {
        cluster.clean()?;
    }
    Ok(())
}
