//! Subsets of an endpoint set. Which one a request's labels lead to is worked out once for each combination of labels
//! that routes name; after that a request costs one look-up.

use super::pool::{self, Pools};
use super::{Settings, mix};
use crate::config::{
    EndpointSet, LbPolicy, SelectorFallback, SubsetConfig, SubsetFallback, SubsetMatch, SubsetSelector,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The subsets that were asked for so far.
#[derive(Debug)]
pub(super) struct Subsets {
    config: Arc<SubsetConfig>,
    policy: LbPolicy,
    panic_threshold: u32,
    fail_on_panic: bool,
    locality_weighted: bool,
    known: HashMap<Box<str>, Way>,
    lists: Vec<Pools>,
}

/// Where labels lead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    from: From,
    /// A subset that the labels name, not a fallback.
    pub(super) named: bool,
    /// Any endpoint where there is none.
    pub(super) panics: bool,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Nowhere,
    Any,
    List(usize),
}

impl Subsets {
    pub(super) fn new(settings: Settings<'_>) -> Option<Box<Self>> {
        let config = settings.subsets?.clone();
        Some(Box::new(Subsets {
            locality_weighted: settings.locality_weighted && config.locality_weight_aware,
            config,
            policy: settings.policy.clone(),
            panic_threshold: settings.panic_threshold,
            fail_on_panic: settings.fail_on_panic,
            known: HashMap::new(),
            lists: Vec::new(),
        }))
    }

    /// What to try instead of these labels.
    pub(super) fn variants<'a>(&self, wanted: &'a SubsetMatch) -> &'a [SubsetMatch] {
        if self.config.metadata_fallback { wanted.variants() } else { &[] }
    }

    /// Where labels lead.
    pub(super) fn way(&mut self, set: &EndpointSet, wanted: Option<&SubsetMatch>, random: u64) -> Way {
        let key = wanted.map_or("", SubsetMatch::key);
        if let Some(way) = self.known.get(key) {
            return *way;
        }
        let way = self.find(set, wanted, random);
        self.known.insert(key.into(), way);
        way
    }

    /// What a way leads to.
    pub(super) fn pools<'a>(&'a mut self, way: Way, any: &'a mut Pools) -> Option<&'a mut Pools> {
        match way.from {
            From::Nowhere => None,
            From::Any => Some(any),
            From::List(at) => self.lists.get_mut(at),
        }
    }

    fn find(&mut self, set: &EndpointSet, wanted: Option<&SubsetMatch>, random: u64) -> Way {
        let config = self.config.clone();
        if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty())
            && let Some(selector) = config.selector(wanted)
        {
            let from = self.list(set, wanted, Some(selector), random);
            if !matches!(from, From::Nowhere) {
                return Way { from, named: true, panics: false };
            }
            match &selector.fallback {
                None => {}
                Some(SelectorFallback::Plain(fallback)) => {
                    return Way { from: self.fall(set, *fallback, random), named: false, panics: false };
                }
                // Fewer keys each time, so that this ends.
                Some(SelectorFallback::Keys(keys)) => {
                    return self.find(set, Some(&wanted.only(keys)), random);
                }
            }
        }
        let from = self.fall(set, config.fallback, random);
        Way { from, named: false, panics: config.panic_mode_any && config.fallback != SubsetFallback::None }
    }

    fn fall(&mut self, set: &EndpointSet, fallback: SubsetFallback, random: u64) -> From {
        match fallback {
            SubsetFallback::None => From::Nowhere,
            SubsetFallback::Any => From::Any,
            SubsetFallback::Default => {
                let config = self.config.clone();
                self.list(set, &config.default_subset, None, random)
            }
        }
    }

    /// The endpoints with these labels; nowhere where there is none.
    fn list(
        &mut self,
        set: &EndpointSet,
        wanted: &SubsetMatch,
        selector: Option<&SubsetSelector>,
        random: u64,
    ) -> From {
        let endpoints = set.endpoints.iter().filter(|host| self.config.includes(wanted, &host.labels));
        let mut endpoints: Vec<_> = endpoints.cloned().collect();
        if endpoints.is_empty() {
            return From::Nowhere;
        }
        if selector.is_some_and(|selector| selector.single_host) {
            endpoints.truncate(1);
        }
        let mut part = EndpointSet { endpoints, ..*set };
        if self.locality_weighted && self.config.scale_locality_weight {
            scale(set, &mut part);
        }
        let settings = Settings {
            policy: &self.policy,
            panic_threshold: self.panic_threshold,
            fail_on_panic: self.fail_on_panic,
            locality_weighted: self.locality_weighted,
            subsets: None,
        };
        let pools = pool::pools(&part, settings, mix(random ^ self.lists.len() as u64));
        self.lists.push(pools);
        From::List(self.lists.len() - 1)
    }
}

/// Lowers the weights of localities by the share of their endpoints that are in the subset.
fn scale(all: &EndpointSet, part: &mut EndpointSet) {
    let count = |set: &EndpointSet| {
        let mut counts: HashMap<(u32, Option<Arc<str>>), u32> = HashMap::new();
        set.endpoints.iter().for_each(|host| {
            *counts.entry((host.priority, host.locality.clone())).or_default() += 1;
        });
        counts
    };
    let (whole, kept) = (count(all), count(part));
    for host in &mut part.endpoints {
        let place = (host.priority, host.locality.clone());
        let of = |counts: &HashMap<_, u32>| counts.get(&place).map_or(1.0, |count| f64::from(*count));
        let scaled = (f64::from(host.locality_weight) * of(&kept) / of(&whole)).round() as u32;
        let scaled = if host.locality_weight == 0 { 0 } else { scaled.max(1) };
        Arc::make_mut(host).locality_weight = scaled;
    }
}
