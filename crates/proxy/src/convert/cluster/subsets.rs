//! Subsets of endpoints (`lb_subset_config`).

use super::super::pb::cds::cluster::LbSubsetConfig;
use super::super::pb::cds::cluster::lb_subset_config::{
    LbSubsetFallbackPolicy, LbSubsetMetadataFallbackPolicy, LbSubsetSelector,
    lb_subset_selector::LbSubsetSelectorFallbackPolicy,
};
use super::super::{At, Converted, metadata, take};
use crate::config::{SelectorFallback, SubsetConfig, SubsetFallback, SubsetMatch, SubsetSelector};

/// Reads the configuration; none where no selector makes subsets.
pub(super) fn read(message: &Option<LbSubsetConfig>, at: &At<'_>) -> Converted<Option<SubsetConfig>> {
    let Some(message) = message else { return Ok(None) };
    take!(
        message,
        at,
        LbSubsetConfig {
            fallback_policy,
            default_subset,
            subset_selectors,
            locality_weight_aware,
            scale_locality_weight,
            panic_mode_any,
            list_as_any,
            metadata_fallback_policy,
        }
    );
    let field = at.field("fallback_policy");
    let fallback = match LbSubsetFallbackPolicy::try_from(*fallback_policy) {
        Ok(LbSubsetFallbackPolicy::NoFallback) => SubsetFallback::None,
        Ok(LbSubsetFallbackPolicy::AnyEndpoint) => SubsetFallback::Any,
        Ok(LbSubsetFallbackPolicy::DefaultSubset) => SubsetFallback::Default,
        Err(_) => return Err(field.unsupported(fallback_policy)),
    };
    let field = at.field("metadata_fallback_policy");
    let metadata_fallback = match LbSubsetMetadataFallbackPolicy::try_from(*metadata_fallback_policy) {
        Ok(policy) => policy == LbSubsetMetadataFallbackPolicy::FallbackList,
        Err(_) => return Err(field.unsupported(metadata_fallback_policy)),
    };
    let field = at.field("subset_selectors");
    let selectors = subset_selectors.iter().enumerate();
    let selectors = selectors.map(|(index, one)| selector(one, &field.index(index)));
    let selectors: Vec<SubsetSelector> = selectors.collect::<Result<_, _>>()?;
    if selectors.is_empty() {
        return Ok(None);
    }
    let default_subset = default_subset.as_ref().map(metadata::object).unwrap_or_default();
    Ok(Some(SubsetConfig {
        selectors,
        fallback,
        default_subset: SubsetMatch::new(&default_subset),
        locality_weight_aware: *locality_weight_aware,
        scale_locality_weight: *scale_locality_weight,
        panic_mode_any: *panic_mode_any,
        list_as_any: *list_as_any,
        metadata_fallback,
    }))
}

fn sorted(keys: &[String]) -> Vec<Box<str>> {
    let mut keys: Vec<Box<str>> = keys.iter().map(|key| key.as_str().into()).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn selector(message: &LbSubsetSelector, at: &At<'_>) -> Converted<SubsetSelector> {
    use LbSubsetSelectorFallbackPolicy as Policy;
    take!(
        message,
        at,
        LbSubsetSelector { keys, single_host_per_subset, fallback_policy, fallback_keys_subset }
    );
    let keys = sorted(keys);
    if keys.is_empty() {
        return Err(at.field("keys").missing());
    }
    if *single_host_per_subset && keys.len() > 1 {
        return Err(at.field("single_host_per_subset").error("needs exactly one key"));
    }
    let policy = Policy::try_from(*fallback_policy)
        .map_err(|_| at.field("fallback_policy").unsupported(fallback_policy))?;
    let field = at.field("fallback_keys_subset");
    let kept = sorted(fallback_keys_subset);
    let fallback = match policy {
        Policy::KeysSubset => {
            if kept.is_empty() {
                return Err(field.missing());
            }
            if kept == keys || kept.iter().any(|key| keys.binary_search(key).is_err()) {
                return Err(field.error("must be some of the selector's keys, but not all"));
            }
            Some(SelectorFallback::Keys(kept))
        }
        _ if !kept.is_empty() => return Err(field.error("is for fallback_policy KEYS_SUBSET alone")),
        Policy::NotDefined => None,
        Policy::NoFallback => Some(SelectorFallback::Plain(SubsetFallback::None)),
        Policy::AnyEndpoint => Some(SelectorFallback::Plain(SubsetFallback::Any)),
        Policy::DefaultSubset => Some(SelectorFallback::Plain(SubsetFallback::Default)),
    };
    Ok(SubsetSelector { keys, single_host: *single_host_per_subset, fallback })
}
