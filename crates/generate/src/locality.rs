//! Which endpoints a client prefers by where they are.
//!
//! Source: Istio, LocalityLoadBalancerSetting: `distribute` sets shares, `failover` and `failoverPriority` set
//! priorities, which count only where outlier detection finds out what has failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ordered::LocalityLbEndpoints;
use lateen_api::networking::traffic_policy::{LocalityFailover, LocalityLoadBalancerSetting};
use lateen_mesh::{Endpoint, Labels, Locality, Settings};

use crate::cluster::policy::Policy;
use crate::proto::u32_value;

/// Where clients are, as far as rules treat them by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Near {
    pub locality: Arc<Locality>,
    /// Their labels that any `failoverPriority` compares.
    pub labels: Labels,
}

/// What applies to one cluster for clients in one place.
pub(crate) struct Preference<'a> {
    near: &'a Near,
    setting: &'a LocalityLoadBalancerSetting,
    failover: bool,
}

impl<'a> Preference<'a> {
    /// `None` where the clients' place makes no difference.
    pub fn new(near: Option<&'a Near>, policy: &Policy<'a>, settings: &'a Settings) -> Option<Self> {
        let own = policy.load_balancer.and_then(|lb| lb.locality_lb_setting.as_ref());
        let setting = own.unwrap_or(&settings.locality);
        let failover = policy.outlier_detection.is_some();
        let counts = setting.enabled.unwrap_or(true) && (failover || !setting.distribute.is_empty());
        counts.then_some(Preference { near: near?, setting, failover })
    }

    /// Whether endpoints of one locality may differ in how they are preferred: by their labels.
    pub fn splits_localities(&self) -> bool {
        self.failover && self.setting.distribute.is_empty() && !self.setting.failover_priority.is_empty()
    }

    /// How far an endpoint is from the clients by `failoverPriority`: how many of the labels, from the first, do not
    /// fit.
    pub fn distance(&self, endpoint: &Endpoint) -> u32 {
        let listed = &self.setting.failover_priority;
        let fits = |entry: &String| {
            let (key, wanted) = match entry.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (entry.as_str(), self.near.labels.get(entry).map(String::as_str)),
            };
            wanted.is_some() && label(endpoint, key).as_deref() == wanted
        };
        let fitting = listed.iter().take_while(|entry| fits(entry)).count();
        u32::try_from(listed.len() - fitting).unwrap_or(u32::MAX)
    }

    /// Sets priorities and weights of the groups, each with its distance by labels.
    pub fn arrange(&self, groups: &mut Vec<(u32, LocalityLbEndpoints)>) {
        if !self.setting.distribute.is_empty() {
            self.distribute(groups);
        } else if self.failover {
            self.prioritise(groups);
        }
    }

    /// Shares of traffic by locality; a group that is given none gets none.
    fn distribute(&self, groups: &mut Vec<(u32, LocalityLbEndpoints)>) {
        let here = &self.near.locality;
        let Some(shares) = self.setting.distribute.iter().find(|d| covers(&d.from, here)) else { return };
        let mut weighed: BTreeMap<usize, u32> = BTreeMap::new();
        let places: Vec<Locality> = groups.iter().map(|(_, group)| place(group)).collect();
        let mut entries: Vec<(&String, &u32)> = shares.to.iter().collect();
        // The narrower entry takes a locality before a wider one.
        entries.sort_by_key(|(to, _)| std::cmp::Reverse((!to.ends_with('*'), to.len())));
        for (to, share) in entries {
            let covered: Vec<usize> = (0..groups.len())
                .filter(|at| !weighed.contains_key(at) && covers(to, &places[*at]))
                .collect();
            let weight = |at: usize| groups[at].1.load_balancing_weight.as_ref().map_or(1, |w| w.value);
            let total: u64 = covered.iter().map(|at| u64::from(weight(*at))).sum();
            for at in covered {
                // Shares are percentages; a hundredfold keeps what is divided among several localities.
                let part = u64::from(*share) * 100 * u64::from(weight(at)) / total.max(1);
                weighed.insert(at, u32::try_from(part).unwrap_or(u32::MAX));
            }
        }
        for (at, (_, group)) in groups.iter_mut().enumerate() {
            group.load_balancing_weight = weighed.get(&at).copied().filter(|w| *w > 0).and_then(u32_value);
        }
        groups.retain(|(_, group)| group.load_balancing_weight.is_some());
    }

    fn prioritise(&self, groups: &mut [(u32, LocalityLbEndpoints)]) {
        let by_labels = !self.setting.failover_priority.is_empty();
        let rank = |distance: u32, group: &LocalityLbEndpoints| {
            if by_labels {
                distance
            } else {
                steps(&self.near.locality, &place(group), &self.setting.failover)
            }
        };
        let own: Vec<u32> = groups.iter().map(|(distance, group)| rank(*distance, group)).collect();
        let mut ranks = own.clone();
        ranks.sort_unstable();
        ranks.dedup();
        for ((_, group), own) in groups.iter_mut().zip(own) {
            // Envoy wants priorities without gaps.
            group.priority = u32::try_from(ranks.binary_search(&own).unwrap_or_default()).unwrap_or_default();
        }
    }
}

/// A label of an endpoint; its locality and its network count as labels (Istio, `failoverPriority`).
fn label(endpoint: &Endpoint, key: &str) -> Option<String> {
    match key {
        "topology.kubernetes.io/region" => Some(endpoint.locality.region.to_string()),
        "topology.kubernetes.io/zone" => Some(endpoint.locality.zone.to_string()),
        "topology.istio.io/subzone" => Some(endpoint.locality.subzone.to_string()),
        key => endpoint.labels.get(key).cloned(),
    }
}

fn place(group: &LocalityLbEndpoints) -> Locality {
    let locality = group.locality.clone().unwrap_or_default();
    Locality { region: locality.region.into(), zone: locality.zone.into(), subzone: locality.sub_zone.into() }
}

/// How far a place is: the same subzone, zone or region, the region that takes over, anything else.
fn steps(here: &Locality, there: &Locality, failover: &[LocalityFailover]) -> u32 {
    let takes_over =
        |there: &Locality| failover.iter().any(|f| *f.from == *here.region && *f.to == *there.region);
    match there {
        there if here == there => 0,
        there if (&here.region, &here.zone) == (&there.region, &there.zone) => 1,
        there if here.region == there.region => 2,
        there if failover.is_empty() || takes_over(there) => 3,
        _ => 4,
    }
}

/// Whether a pattern `region/zone/subzone`, whose last part may be `*` or left out, covers a place.
fn covers(pattern: &str, place: &Locality) -> bool {
    let own = [&place.region, &place.zone, &place.subzone];
    pattern.split('/').zip(own).all(|(wanted, own)| wanted == "*" || *wanted == **own)
}
