//! `lateen create`.

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::PostParams;

use super::{Session, block_on, items, report};
use crate::args::FileVerb;

/// Creates the resources of files.
pub fn run(arguments: &FileVerb) -> Result<()> {
    block_on(async {
        let session = Session::open(&arguments.connection).await?;
        let mut outcomes = Vec::new();
        for item in items(&arguments.files, &session)? {
            let api = session.api(&item.kind, &item.namespace);
            let created = api.create(&PostParams::default(), &item.object).await;
            outcomes.push(created.with_context(|| item.name()).map(|created| {
                let revision = created.resource_version().unwrap_or_default();
                format!("Created config {} at revision {revision}", item.name())
            }));
        }
        report(outcomes)
    })
}
