//! What a Deployment has to do in this step, worked out from what there is.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::revision;
use super::rolling::{self, Bounds};
use crate::ownership::{self, Claim};
use crate::{pods, template_hash};

/// Old ReplicaSets that are kept for `kubectl rollout undo` where the Deployment does not say.
const HISTORY_LIMIT: i32 = 10;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) adopt: Vec<Arc<ReplicaSet>>,
    pub(super) create: Option<ReplicaSet>,
    /// ReplicaSets to write, with the size that they had.
    pub(super) update: Vec<(ReplicaSet, i32)>,
    pub(super) delete: Vec<Arc<ReplicaSet>>,
}

/// The size that a ReplicaSet is asked to have.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Whether all old pods go before new ones come.
pub(super) fn recreates(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false)
}

/// The Deployment's ReplicaSets, oldest first.
pub(super) fn owned(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    let uid = deployment.metadata.uid.as_deref();
    let mut owned: Vec<_> =
        sets.iter().filter(|set| ownership::is_controlled_by(&set.metadata, uid)).cloned().collect();
    sort_by_age(&mut owned);
    owned
}

fn sort_by_age(sets: &mut [Arc<ReplicaSet>]) {
    sets.sort_by_cached_key(|set| {
        (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.name_any())
    });
}

/// The ReplicaSet of the Deployment's present template.
pub(super) fn current(deployment: &Deployment, owned: &[Arc<ReplicaSet>]) -> Option<Arc<ReplicaSet>> {
    let template = &deployment.spec.as_ref()?.template;
    let same = |set: &&Arc<ReplicaSet>| {
        let own = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        own.is_some_and(|own| template_hash::equal(own, template))
    };
    owned.iter().find(same).cloned()
}

/// The next step of a rollout.
pub(super) fn plan(deployment: &Deployment, sets: &[Arc<ReplicaSet>], pods: &[Arc<Pod>]) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &deployment.spec else { return plan };
    if deployment.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let selector = ownership::selector(&spec.selector);
    let mut all = owned(deployment, sets);
    for set in sets {
        if ownership::claim(&deployment.metadata, selector.as_ref(), &set.metadata) == Claim::Adopt {
            plan.adopt.push(Arc::clone(set));
        }
    }
    if !plan.adopt.is_empty() {
        // Adoption is written first; the next step sees the sets as they then are.
        return plan;
    }
    all.retain(|set| set.metadata.deletion_timestamp.is_none());
    let current = current(deployment, &all);
    let old: Vec<_> =
        all.iter().filter(|set| Some(set.uid()) != current.as_ref().map(|c| c.uid())).cloned().collect();
    let step = Step { deployment, bounds: Bounds::of(deployment), all: &all, old: &old };
    if is_paused(deployment) {
        step.scale(current.as_ref(), &mut plan);
        return plan;
    }
    match current {
        _ if recreates(deployment) => step.recreate(current.as_ref(), pods, &mut plan),
        Some(current) if step.was_scaled(&current) => step.scale(Some(&current), &mut plan),
        Some(current) => step.roll(&current, &mut plan),
        None => plan.create = Some(step.new_set(rolling::grow(step.bounds, &all, 0))),
    }
    step.clean_up(&mut plan);
    plan
}

struct Step<'a> {
    deployment: &'a Deployment,
    bounds: Bounds,
    all: &'a [Arc<ReplicaSet>],
    old: &'a [Arc<ReplicaSet>],
}

impl Step<'_> {
    fn highest_old_revision(&self) -> i64 {
        self.old.iter().filter_map(|set| revision::of(&**set)).max().unwrap_or(0)
    }

    fn new_set(&self, size: i32) -> ReplicaSet {
        let Some(spec) = self.deployment.spec.as_ref() else { return ReplicaSet::default() };
        let collisions =
            self.deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let hash = template_hash::of(&spec.template, collisions);
        let mut template = spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(template_hash::LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(template_hash::LABEL.to_owned(), hash.clone());
        let mut annotations = std::collections::BTreeMap::new();
        revision::mark(&mut annotations, self.deployment, self.highest_old_revision());
        revision::note_scale(&mut annotations, self.bounds.wanted, self.bounds.most());
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", self.deployment.name_any())),
                namespace: self.deployment.namespace(),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: Some(vec![ownership::controller_reference(self.deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: Some(size),
                selector,
                template: Some(template),
            }),
            status: None,
        }
    }

    /// Asks for a ReplicaSet to be written if its size or its marks differ.
    fn resize(&self, set: &Arc<ReplicaSet>, size: i32, is_current: bool, plan: &mut Plan) {
        let mut changed = ReplicaSet::clone(set);
        let annotations = changed.metadata.annotations.get_or_insert_default();
        if is_current {
            revision::mark(annotations, self.deployment, self.highest_old_revision());
        }
        if is_current || size > 0 || replicas(set) != size {
            revision::note_scale(annotations, self.bounds.wanted, self.bounds.most());
        }
        if let Some(spec) = changed.spec.as_mut() {
            spec.replicas = Some(size);
            if is_current {
                spec.min_ready_seconds =
                    self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
            }
        }
        if changed != **set {
            plan.update.push((changed, replicas(set)));
        }
    }

    fn roll(&self, current: &Arc<ReplicaSet>, plan: &mut Plan) {
        let size = rolling::grow(self.bounds, self.all, replicas(current));
        self.resize(current, size, true, plan);
        if size != replicas(current) {
            // One move at a time: the old ones follow when the new ones are there.
            return;
        }
        for (set, size) in self.old.iter().zip(rolling::shrink(self.bounds, self.old, current)) {
            if size != replicas(set) {
                self.resize(set, size, false, plan);
            }
        }
    }

    fn recreate(&self, current: Option<&Arc<ReplicaSet>>, pods: &[Arc<Pod>], plan: &mut Plan) {
        let active: Vec<_> = self.old.iter().filter(|set| replicas(set) > 0).collect();
        for set in &active {
            self.resize(set, 0, false, plan);
        }
        let left = |pod: &&Arc<Pod>| {
            !pods::is_finished(pod)
                && self
                    .old
                    .iter()
                    .any(|set| ownership::is_controlled_by(&pod.metadata, set.metadata.uid.as_deref()))
        };
        if !active.is_empty() || pods.iter().any(|pod| left(&pod)) {
            return;
        }
        match current {
            Some(current) => self.resize(current, self.bounds.wanted, true, plan),
            None => plan.create = Some(self.new_set(self.bounds.wanted)),
        }
    }

    /// Whether the user has scaled the Deployment since its ReplicaSets were last sized.
    fn was_scaled(&self, current: &ReplicaSet) -> bool {
        let sized_for_another =
            |set: &ReplicaSet| revision::desired(set).is_some_and(|d| d != self.bounds.wanted);
        let rolling = self.old.iter().any(|set| replicas(set) > 0);
        rolling
            && (sized_for_another(current)
                || self.old.iter().any(|set| replicas(set) > 0 && sized_for_another(set)))
    }

    /// Scales in the midst of a rollout: every active ReplicaSet gets its share.
    fn scale(&self, current: Option<&Arc<ReplicaSet>>, plan: &mut Plan) {
        let mut active: Vec<_> = self.all.iter().filter(|set| replicas(set) > 0).collect();
        if active.len() <= 1 {
            let only = active.first().copied().or(current).or_else(|| self.all.last());
            if let Some(only) = only {
                let is_current = Some(only.uid()) == current.map(|set| set.uid());
                self.resize(only, self.bounds.wanted, is_current, plan);
            }
            return;
        }
        let total: i32 = active.iter().map(|set| replicas(set)).sum();
        let allowed = if self.bounds.wanted > 0 { self.bounds.most() } else { 0 };
        let missing = allowed - total;
        // The largest take their share first; what rounding leaves over goes to the first of them.
        active.sort_by_key(|set| {
            (Reverse(replicas(set)), Reverse(set.metadata.creation_timestamp.as_ref().map(|t| t.0)))
        });
        let mut sizes: Vec<i32> = active.iter().map(|set| proportion(set, allowed, missing, total)).collect();
        let left = allowed - sizes.iter().sum::<i32>();
        if let Some(first) = sizes.first_mut() {
            *first = (*first + left).max(0);
        }
        for (set, size) in active.into_iter().zip(sizes) {
            let is_current = Some(set.uid()) == current.map(|set| set.uid());
            self.resize(set, size, is_current, plan);
        }
    }

    /// Forgets the oldest ReplicaSets that nothing runs in.
    fn clean_up(&self, plan: &mut Plan) {
        let limit = self
            .deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.revision_history_limit)
            .unwrap_or(HISTORY_LIMIT);
        let limit = usize::try_from(limit).unwrap_or(0);
        let idle = |set: &&Arc<ReplicaSet>| {
            let status = set.status.as_ref();
            replicas(set) == 0
                && status.is_some_and(|status| status.replicas == 0)
                && status.and_then(|status| status.observed_generation) >= set.metadata.generation
        };
        if self.old.len() <= limit {
            return;
        }
        let mut oldest: Vec<_> = self.old.iter().collect();
        oldest.sort_by_key(|set| revision::of(&***set));
        let surplus = self.old.len() - limit;
        plan.delete.extend(oldest.into_iter().take(surplus).filter(idle).cloned());
    }
}

/// A ReplicaSet's share of a new total, in proportion to what it has.
fn proportion(set: &ReplicaSet, allowed: i32, missing: i32, total: i32) -> i32 {
    let size = replicas(set);
    if missing == 0 || total == 0 {
        return size;
    }
    // What it has was sized for the total that was then allowed.
    let before = revision::most(set).filter(|most| *most > 0).unwrap_or(total);
    let share = (i64::from(size) * i64::from(allowed) + i64::from(before) / 2) / i64::from(before);
    let share = i32::try_from(share).unwrap_or(i32::MAX);
    if missing > 0 { share.clamp(size, size + missing) } else { share.clamp((size + missing).max(0), size) }
}
