//! `lateen delete`.

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::DeleteParams;

use super::{Session, block_on, items, kinds, report};
use crate::args::Delete;

/// Deletes the resources of files, or those of a kind by name.
pub fn run(arguments: &Delete) -> Result<()> {
    block_on(async {
        let session = Session::open(&arguments.connection).await?;
        let mut wanted = Vec::new();
        for item in items(&arguments.files, &session)? {
            let name = item.object.name_any();
            wanted.push((item.kind, item.namespace, name));
        }
        if let Some(kind) = &arguments.kind {
            let kind = kinds::named(kind)?;
            for name in &arguments.resources {
                wanted.push((kind.clone(), session.namespace.clone(), name.clone()));
            }
        }
        let mut outcomes = Vec::new();
        for (kind, namespace, name) in wanted {
            let what = format!("{}/{namespace}/{name}", kind.config_name());
            let deleted = session.api(&kind, &namespace).delete(&name, &DeleteParams::default()).await;
            outcomes.push(deleted.with_context(|| what.clone()).map(|_| format!("Deleted config: {what}")));
        }
        report(outcomes)
    })
}
