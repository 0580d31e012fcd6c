use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use lateen_api::status::IstioStatus;
use lateen_api::wire::field::Field;
use lateen_mesh::ConfigKey;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ledger::Entry;
use super::peers::{Elsewhere, MAX_ASKED, Peers};
use super::places;
use super::report::{self, Progress};
use crate::Context;
use crate::findings::Analysis;

/// Time between looks at proxies that have not applied everything yet.
const PROGRESS: Duration = Duration::from_secs(1);

/// Time between looks where nothing is known to be open: somebody may have changed a status.
const IDLE: Duration = Duration::from_secs(10);

/// Time between two writes, so that a mesh of thousands of resources does not flood the API.
const PAUSE: Duration = Duration::from_millis(10);

/// Keeps the status of every resource, until it is dropped. For the leader alone.
pub(super) async fn keep(
    client: Client,
    (context, mut analysis, peers): (Arc<Context>, watch::Receiver<Arc<Analysis>>, Peers),
) {
    let mut writer = Writer { client, context, peers, last_error: String::new() };
    loop {
        let known = Arc::clone(&analysis.borrow_and_update());
        let open = writer.round(&known).await;
        let wait = if open { PROGRESS } else { IDLE };
        // Without analysis there are no snapshots any more: the process ends.
        if let Ok(Err(_)) = tokio::time::timeout(wait, analysis.changed()).await {
            return;
        }
    }
}

struct Writer {
    client: Client,
    context: Arc<Context>,
    peers: Peers,
    last_error: String,
}

impl Writer {
    /// Writes every status that is not as it should be. Whether some resource is not applied everywhere, or could not be
    /// written.
    async fn round(&mut self, analysis: &Analysis) -> bool {
        let ledger = &self.context.hub.ledger;
        let entries = ledger.until(analysis.number);
        let elsewhere = self.elsewhere(&entries).await;
        let mut open = false;
        for Entry { note, published } in &entries {
            let findings = analysis.findings.get(&note.key).map(Vec::as_slice).unwrap_or_default();
            let progress = self.progress(&note.key, *published, &elsewhere);
            open |= progress.applied < progress.all && !note.refused;
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let Some(status) = report::status(note, findings, progress, &now) else {
                continue;
            };
            match patch(&self.client, &note.key, &status).await {
                Ok(()) => {
                    self.last_error.clear();
                    ledger.wrote(note, status);
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != self.last_error {
                        tracing::warn!(resource = %note.key, error = %text, "cannot write the status; it is tried again");
                        self.last_error = text;
                    }
                    // Whatever is wrong with the API or with our rights is so for the others, too.
                    return true;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        open
    }

    /// What other control planes say of the resources that are not applied everywhere yet.
    async fn elsewhere(&self, entries: &[Entry]) -> Elsewhere {
        let is_open = |entry: &&Entry| {
            let status = entry.note.status.as_ref();
            !entry.note.refused && !status.is_some_and(|s| report::is_reconciled(s, entry.note.generation))
        };
        let open: Vec<&Entry> = entries.iter().filter(is_open).take(MAX_ASKED).collect();
        if open.is_empty() {
            return Elsewhere::default();
        }
        self.peers.applied(&self.context.hub.mesh(), &open).await
    }

    /// How far all proxies are, wherever they are connected.
    fn progress(&self, key: &ConfigKey, published: Option<u64>, elsewhere: &Elsewhere) -> Progress {
        let (applied, all) = self.context.registry.applied(published.unwrap_or(u64::MAX));
        let more = elsewhere.applied.get(key).copied().unwrap_or_default();
        Progress { applied: applied + more, all: all + elsewhere.proxies }
    }
}

/// Writes a status in whichever version the API serves. A resource that is gone needs none.
async fn patch(client: &Client, key: &ConfigKey, status: &IstioStatus) -> kube::Result<()> {
    let body = Patch::Merge(merge(status));
    let params = PatchParams { field_manager: Some("istiod-status".to_owned()), ..PatchParams::default() };
    for place in places::of(key.kind) {
        let api: Api<DynamicObject> = match &*key.namespace {
            "" => Api::all_with(client.clone(), &place),
            namespace => Api::namespaced_with(client.clone(), namespace, &place),
        };
        match api.patch_status(&key.name, &params, &body).await {
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            other => return other.map(drop),
        }
    }
    Ok(())
}

/// The merge patch (RFC 7386): what is not said any more is taken away, what we know nothing of stays.
fn merge(status: &IstioStatus) -> Value {
    let mut value = status.encode();
    if let Value::Object(fields) = &mut value {
        fields.entry("validationMessages").or_insert(Value::Null);
    }
    json!({ "status": value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_mended_are_taken_away() {
        let status = IstioStatus { observed_generation: 2, ..IstioStatus::default() };
        assert_eq!(merge(&status), json!({"status": {"observedGeneration": 2, "validationMessages": null}}));
    }
}
