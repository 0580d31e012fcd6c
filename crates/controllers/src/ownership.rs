//! Who owns what: controller references, adoption and release.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::{Selector, SelectorExt};

/// The reference that makes `owner` the controller of an object.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let reference = owner.controller_owner_ref(&()).unwrap_or_default();
    OwnerReference { block_owner_deletion: Some(true), ..reference }
}

/// The owner that controls an object.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller.unwrap_or(false))
}

/// Whether `uid` controls the object.
pub(crate) fn is_controlled_by(metadata: &ObjectMeta, uid: Option<&str>) -> bool {
    uid.is_some() && controller(metadata).map(|owner| owner.uid.as_str()) == uid
}

/// A label selector ready for use; one that cannot be read selects nothing.
pub(crate) fn selector(selector: &LabelSelector) -> Option<Selector> {
    let selector = Selector::try_from(selector.clone()).ok()?;
    // An empty selector of a workload would adopt the whole namespace.
    (!selector.selects_all()).then_some(selector)
}

/// Whether an object's labels match.
pub(crate) fn selects(selector: &Selector, metadata: &ObjectMeta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    selector.matches(metadata.labels.as_ref().unwrap_or(&NONE))
}

/// What an owner has to do about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is the owner's.
    Mine,
    /// It has no controller and matches: the owner takes it.
    Adopt,
    /// It was the owner's and no longer matches: the owner lets it go.
    Release,
    /// It is none of the owner's business.
    Foreign,
}

/// Kubernetes' rules of adoption (`ControllerRefManager`).
pub(crate) fn claim(owner: &ObjectMeta, selector: Option<&Selector>, object: &ObjectMeta) -> Claim {
    let matches = selector.is_some_and(|selector| selects(selector, object));
    match controller(object) {
        Some(reference) if Some(&reference.uid) != owner.uid.as_ref() => Claim::Foreign,
        Some(_) if matches => Claim::Mine,
        Some(_) if owner.deletion_timestamp.is_some() => Claim::Mine,
        Some(_) => Claim::Release,
        None if matches && owner.deletion_timestamp.is_none() && object.deletion_timestamp.is_none() => {
            Claim::Adopt
        }
        None => Claim::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(labels: serde_json::Value, owner: Option<&str>) -> ObjectMeta {
        let owners = owner.map(
            |uid| json!([{ "apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true }]),
        );
        serde_json::from_value(json!({ "name": "o", "labels": labels, "ownerReferences": owners })).unwrap()
    }

    #[test]
    fn objects_are_kept_adopted_released_or_left_alone() {
        let owner = ObjectMeta { uid: Some("me".into()), ..ObjectMeta::default() };
        let rule = selector(&serde_json::from_value(json!({ "matchLabels": { "app": "a" } })).unwrap());
        let decide = |labels, by| claim(&owner, rule.as_ref(), &meta(labels, by));
        assert_eq!(decide(json!({ "app": "a" }), Some("me")), Claim::Mine);
        assert_eq!(decide(json!({ "app": "b" }), Some("me")), Claim::Release);
        assert_eq!(decide(json!({ "app": "a" }), None), Claim::Adopt);
        assert_eq!(decide(json!({ "app": "a" }), Some("other")), Claim::Foreign);
        assert_eq!(decide(json!({ "app": "b" }), None), Claim::Foreign);
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(selector(&LabelSelector::default()).is_none());
    }
}
