//! ControllerRevisions: the templates that StatefulSets and DaemonSets had, for `kubectl rollout history` and `undo`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::context::{Context, Written};
use crate::ownership;

/// Revisions that are kept where the owner does not say, beside the present one.
const LIMIT: i32 = 10;

/// What of an owner makes its present revision.
pub(crate) struct History<'a> {
    pub(crate) template: &'a PodTemplateSpec,
    /// The template's hash: equal templates have the same revision.
    pub(crate) hash: &'a str,
    /// The label that holds it.
    pub(crate) hash_label: &'a str,
    /// Labels of the revision.
    pub(crate) labels: BTreeMap<String, String>,
    /// `revisionHistoryLimit`.
    pub(crate) limit: Option<i32>,
}

/// Writes down the owner's present template as its latest revision, and forgets revisions beyond the limit.
pub(crate) async fn record<K: Written>(
    context: &Context,
    owner: &K,
    history: &History<'_>,
) -> kube::Result<()> {
    let namespace = owner.namespace().unwrap_or_default();
    let uid = owner.meta().uid.as_deref();
    let mut known = context.stores.revisions.in_namespace(&namespace);
    known.retain(|revision| ownership::is_controlled_by(&revision.metadata, uid));
    known.sort_by_key(|revision| revision.revision);
    let latest = known.last().map_or(0, |revision| revision.revision);
    let name = format!("{}-{}", owner.name_any(), history.hash);
    match known.iter().find(|revision| revision.metadata.name.as_deref() == Some(&name)) {
        Some(present) if present.revision == latest => return Ok(()),
        // A template that comes back is the latest again.
        Some(present) => {
            let renewed = ControllerRevision { revision: latest + 1, ..ControllerRevision::clone(present) };
            context.replace(&context.stores.revisions, &renewed).await?;
        }
        None => {
            let new = revision(owner, history, name.clone(), latest + 1);
            context.create(&context.stores.revisions, &new).await?;
        }
    }
    for old in surplus(&known, &name, history.limit) {
        context.delete(&context.stores.revisions, &*old).await?;
    }
    Ok(())
}

fn revision<K: Written>(owner: &K, history: &History<'_>, name: String, number: i64) -> ControllerRevision {
    let mut labels = history.labels.clone();
    labels.insert(history.hash_label.to_owned(), history.hash.to_owned());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: owner.namespace(),
            labels: Some(labels),
            // The reason for a change stands among them.
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![ownership::controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(patch(history.template))),
        revision: number,
    }
}

/// The strategic merge patch by which kubectl brings the template back.
fn patch(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    if let Some(map) = template.as_object_mut() {
        map.insert("$patch".to_owned(), "replace".into());
    }
    json!({ "spec": { "template": template } })
}

/// The oldest revisions beyond the limit; `known` is in the order of their numbers.
fn surplus(
    known: &[Arc<ControllerRevision>],
    present: &str,
    limit: Option<i32>,
) -> Vec<Arc<ControllerRevision>> {
    let keep = usize::try_from(limit.unwrap_or(LIMIT)).unwrap_or(0);
    let old: Vec<_> = known.iter().filter(|r| r.metadata.name.as_deref() != Some(present)).collect();
    let beyond = old.len().saturating_sub(keep);
    old.into_iter().take(beyond).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[&str]) -> Vec<Arc<ControllerRevision>> {
        let number = 1..;
        names
            .iter()
            .zip(number)
            .map(|(name, revision)| {
                let metadata = ObjectMeta { name: Some((*name).to_owned()), ..ObjectMeta::default() };
                Arc::new(ControllerRevision { metadata, data: None, revision })
            })
            .collect()
    }

    #[test]
    fn the_oldest_revisions_go_and_the_present_one_never() {
        let gone = surplus(&known(&["a", "b", "c", "d"]), "a", Some(1));
        let names: Vec<_> = gone.iter().filter_map(|r| r.metadata.name.as_deref()).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(surplus(&known(&["a", "b"]), "b", None).is_empty());
    }

    #[test]
    fn a_revision_replaces_the_whole_template() {
        assert_eq!(
            patch(&PodTemplateSpec::default()),
            json!({ "spec": { "template": { "$patch": "replace" } } })
        );
    }
}
