//! What the control plane says about resources in their `status`: the generation that it has seen, what is wrong with
//! them, and how many proxies have applied them.
//!
//! Source: Istio, `istio.meta.v1alpha1.IstioStatus`; conditions `Reconciled` and `PassedValidation`.

mod ledger;
mod peers;
mod places;
mod report;
mod writer;

use std::sync::Arc;

use kube::Client;
pub use ledger::{Ledger, Note};
pub(crate) use peers::{Distribution, PAGE, Peers};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::findings::Analysis;
use crate::leader::{self, Election};

/// The lease of who writes: resources belong to all revisions, and so does this.
pub(crate) const LEASE: &str = "istio-status-leader";

/// Stands for election, and writes while elected. The handle ends once the lease is given back.
pub(crate) fn start(
    client: Client,
    (context, analysis, peers): (Arc<Context>, watch::Receiver<Arc<Analysis>>, Peers),
    election: Election,
    shutdown: CancellationToken,
    tasks: &mut JoinSet<()>,
) -> JoinHandle<()> {
    let (elected, writes) = watch::channel(false);
    tasks.spawn(leader::while_leading(writes, move || {
        let sources = (Arc::clone(&context), analysis.clone(), peers.clone());
        writer::keep(client.clone(), sources)
    }));
    tokio::spawn(election.run(elected, shutdown))
}
