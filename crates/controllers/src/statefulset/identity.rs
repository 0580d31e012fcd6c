//! What makes a StatefulSet's pod that very pod: its name, host name, labels and volumes.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume};
use kube::ResourceExt;

use crate::{ownership, pods, template_hash};

pub(super) const REVISION: &str = "controller-revision-hash";
/// Label of a revision that holds the hash of its template.
pub(super) const HASH: &str = "controller.kubernetes.io/hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The hash of the present template.
pub(super) fn hash(set: &StatefulSet) -> String {
    set.spec.as_ref().map(|spec| template_hash::of(&spec.template, 0)).unwrap_or_default()
}

/// The name of the ControllerRevision of the present template.
pub(super) fn revision(set: &StatefulSet) -> String {
    format!("{}-{}", set.name_any(), hash(set))
}

/// The ordinal in a pod's name.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.metadata.name.as_deref()?;
    let digits = name.strip_prefix(set.metadata.name.as_deref()?)?.strip_prefix('-')?;
    let number: i32 = digits.parse().ok()?;
    // "web-01" is not a name that this controller gives.
    (number.to_string() == digits).then_some(number)
}

/// The ordinals that the set asks for.
pub(super) fn ordinals(set: &StatefulSet) -> std::ops::Range<i32> {
    let spec = set.spec.as_ref();
    let first = spec.and_then(|spec| spec.ordinals.as_ref()?.start).unwrap_or(0).max(0);
    let count = spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0);
    first..first.saturating_add(count)
}

/// The pod of an ordinal.
pub(super) fn pod(set: &StatefulSet, ordinal: i32) -> Option<Pod> {
    let spec = set.spec.as_ref()?;
    let namespace = set.namespace().unwrap_or_default();
    let name = format!("{}-{ordinal}", set.name_any());
    let mut pod =
        pods::from_template(&spec.template, &namespace, &name, ownership::controller_reference(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    labels.insert(REVISION.to_owned(), revision(set));
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(name.clone());
    pod_spec.subdomain = spec.service_name.clone();
    let volumes = pod_spec.volumes.get_or_insert_default();
    for claim in spec.volume_claim_templates.iter().flatten() {
        let volume = claim.name_any();
        volumes.retain(|other| other.name != volume);
        volumes.push(Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(&volume, &name),
                read_only: None,
            }),
            name: volume,
            ..Volume::default()
        });
    }
    Some(pod)
}

fn claim_name(template: &str, pod: &str) -> String {
    format!("{template}-{pod}")
}

/// The claims of a pod: they have no owner, so that what they hold outlives pod and set.
pub(super) fn claims(set: &StatefulSet, pod: &Pod) -> Vec<PersistentVolumeClaim> {
    let templates = set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone());
    templates
        .map(|template| {
            let mut labels = template.metadata.labels.clone().unwrap_or_default();
            labels.extend(selector.clone().unwrap_or_default());
            let mut claim = template.clone();
            claim.metadata.name = Some(claim_name(&template.name_any(), &pod.name_any()));
            claim.metadata.namespace = set.namespace();
            claim.metadata.labels = Some(labels);
            claim
        })
        .collect()
}
