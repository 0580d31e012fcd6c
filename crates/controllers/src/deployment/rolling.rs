//! How many pods a rolling update adds and takes away in one step.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::plan::replicas;

/// The bounds of a Deployment's rollout, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) wanted: i32,
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

impl Bounds {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let wanted = spec.and_then(|spec| spec.replicas).unwrap_or(1).max(0);
        if super::plan::recreates(deployment) {
            return Self { wanted, surge: 0, unavailable: wanted };
        }
        let rolling = spec.and_then(|spec| spec.strategy.as_ref()?.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".into());
        let surge = rolling.and_then(|rolling| rolling.max_surge.clone()).unwrap_or_else(|| quarter.clone());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.clone()).unwrap_or(quarter);
        let surge = scaled(&surge, wanted, true);
        let mut unavailable = scaled(&unavailable, wanted, false).min(wanted);
        if surge == 0 && unavailable == 0 {
            // Percentages may both come to nothing, and then no step would ever be possible.
            unavailable = 1;
        }
        Self { wanted, surge, unavailable }
    }

    /// The most pods there may be.
    pub(super) fn most(self) -> i32 {
        self.wanted.saturating_add(self.surge)
    }

    /// The fewest available pods there must be.
    pub(super) fn fewest(self) -> i32 {
        self.wanted - self.unavailable
    }
}

/// A number, or a percentage of `total` rounded up or down.
pub(crate) fn scaled(value: &IntOrString, total: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.max(0) * i64::from(total);
            let pods = if up { (product + 99) / 100 } else { product / 100 };
            i32::try_from(pods).unwrap_or(i32::MAX)
        }
    }
}

fn total(sets: &[Arc<ReplicaSet>]) -> i32 {
    sets.iter().map(|set| replicas(set)).sum()
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// Size of the current ReplicaSet after this step.
pub(super) fn grow(bounds: Bounds, all: &[Arc<ReplicaSet>], current: i32) -> i32 {
    if current > bounds.wanted {
        return bounds.wanted;
    }
    let room = bounds.most() - total(all);
    if room <= 0 { current } else { current + room.min(bounds.wanted - current) }
}

/// Sizes of the old ReplicaSets after this step: first those of their pods go that do not work anyway, then as many
/// as can be missed.
pub(super) fn shrink(bounds: Bounds, old: &[Arc<ReplicaSet>], current: &ReplicaSet) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(|set| replicas(set)).collect();
    let unavailable = (replicas(current) - available(current)).max(0);
    let may_go = total(old) + replicas(current) - bounds.fewest() - unavailable;
    if may_go <= 0 {
        return sizes;
    }
    let mut broken = may_go;
    for (size, set) in sizes.iter_mut().zip(old) {
        let gone = (*size - available(set)).max(0).min(broken);
        *size -= gone;
        broken -= gone;
    }
    let working: i32 = old.iter().map(|set| available(set)).sum::<i32>() + available(current);
    let mut spare = (working - bounds.fewest()).max(0);
    for size in &mut sizes {
        let gone = (*size).min(spare);
        *size -= gone;
        spare -= gone;
    }
    sizes
}
