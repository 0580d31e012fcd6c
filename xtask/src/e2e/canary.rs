//! The canary tutorial: two versions of a page, four fifths of the requests to the one and a fifth to the other.

use std::time::Duration;

use anyhow::{Result, ensure};
use lateen_testkit::http;

use super::cluster::{Cluster, eventually};

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    cluster.install(&[])?;
    cluster.inject("default")?;
    eventually(Duration::from_secs(20), || cluster.apply("samples/canary/node-app.yaml"))?;
    cluster.wait_deployments("default")?;
    cluster.apply("samples/canary/node-istio.yaml")?;
    let address = cluster.gateway("istio-system", "istio-ingressgateway")?;
    eventually(Duration::from_secs(30), || {
        let page = http::get(&address, "/")?.body;
        ensure!(page.contains("Get Shark Info"), "no landing page: {page}");
        Ok(())
    })?;
    let mut scary = 0;
    for _ in 0..500 {
        let answer = http::get(&address, "/sharks")?;
        ensure!(answer.status == 200, "status {}", answer.status);
        scary += usize::from(answer.body.contains("id=\"scary\""));
    }
    println!("the canary answered {scary} of 500");
    // Five standard deviations around 100.
    ensure!((55..=145).contains(&scary), "the canary answered {scary} of 500");
    cluster.kubectl(&["delete", "gateways.networking.istio.io,virtualservices,destinationrules", "--all"])?;
    cluster.nothing_was_refused()
}
