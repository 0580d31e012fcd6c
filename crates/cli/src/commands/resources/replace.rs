//! `lateen replace`.

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::PostParams;
use kube::core::DynamicObject;

use super::{Item, Session, block_on, items, report};
use crate::args::FileVerb;

/// Replaces resources by those of files.
pub fn run(arguments: &FileVerb) -> Result<()> {
    block_on(async {
        let session = Session::open(&arguments.connection).await?;
        let mut outcomes = Vec::new();
        for item in items(&arguments.files, &session)? {
            outcomes.push(replace(&session, &item).await.with_context(|| item.name()).map(|replaced| {
                let revision = replaced.resource_version().unwrap_or_default();
                format!("Updated config {} to revision {revision}", item.name())
            }));
        }
        report(outcomes)
    })
}

/// Replaces one; a resource that does not exist is an error.
async fn replace(session: &Session, item: &Item) -> Result<DynamicObject> {
    let api = session.api(&item.kind, &item.namespace);
    let name = item.object.name_any();
    let mut object = item.object.clone();
    if object.metadata.resource_version.is_none() {
        object.metadata.resource_version = api.get(&name).await?.resource_version();
    }
    Ok(api.replace(&name, &PostParams::default(), &object).await?)
}
