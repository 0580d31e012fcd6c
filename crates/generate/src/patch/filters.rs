//! Patches on lists of filters: network filters, HTTP filters, listener filters.

use lateen_api::networking::envoy_filter::{FilterClass, PatchOperation};
use lateen_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use lateen_xds::pb::envoy::config::listener::v3::{Filter, ListenerFilter};
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use prost::Message;

use super::{Patch, Run};

/// The name of an encoded extension.
pub(super) fn extension_name(body: &[u8]) -> Option<String> {
    TypedExtensionConfig::decode(body).ok().map(|config| config.name)
}

/// Something that stands in a list under a name.
pub(super) trait Named: Message + Default {
    fn name(&self) -> &str;
}

macro_rules! named {
    ($($message:ty),*) => {
        $(impl Named for $message {
            fn name(&self) -> &str {
                &self.name
            }
        })*
    };
}

named!(Filter, HttpFilter, ListenerFilter);

/// Filters that come after those of the authentication class.
const AUTHENTICATION: [&str; 2] = ["envoy.filters.http.jwt_authn", "istio_authn"];
/// Filters that come after those of the authorization class.
const AUTHORIZATION: [&str; 3] =
    ["envoy.filters.http.rbac", "envoy.filters.http.ext_authz", "envoy.filters.network.rbac"];

impl Run<'_> {
    /// Applies one patch to a list. `wanted` is the filter that the patch names; `ends` whether the last of the list
    /// ends the chain, so that nothing may stand behind it.
    pub(super) fn edit<F: Named>(&self, patch: &Patch, list: &mut Vec<F>, wanted: Option<&str>, ends: bool) {
        let found = list.iter().position(|f| wanted.is_none_or(|name| f.name() == name));
        let new = || F::decode(patch.value.as_slice()).ok();
        let end = list.len() - usize::from(ends && !list.is_empty());
        let place = match (patch.operation, found) {
            (PatchOperation::Remove, _) => {
                list.retain(|f| wanted.is_some_and(|name| f.name() != name));
                return;
            }
            (PatchOperation::Merge, _) => {
                for filter in list.iter_mut().filter(|f| wanted.is_none_or(|name| f.name() == name)) {
                    let merged = self.merged(patch, &filter.encode_to_vec());
                    if let Some(merged) = merged.and_then(|body| F::decode(body.as_slice()).ok()) {
                        *filter = merged;
                    }
                }
                return;
            }
            (PatchOperation::Replace, Some(at)) => {
                list.splice(at..=at, new());
                return;
            }
            (PatchOperation::Add, _) => class_place(patch.class, list).unwrap_or(end),
            (PatchOperation::InsertFirst, _) => 0,
            (PatchOperation::InsertBefore, _) if wanted.is_none() => 0,
            (PatchOperation::InsertAfter, _) if wanted.is_none() => end,
            (PatchOperation::InsertBefore, Some(at)) => at,
            (PatchOperation::InsertAfter, Some(at)) => at + 1,
            _ => return,
        };
        list.splice(place..place, new());
    }
}

/// Where filters of a class are put.
///
/// Source: Istio, EnvoyFilter `Patch.FilterClass`.
fn class_place<F: Named>(class: FilterClass, list: &[F]) -> Option<usize> {
    let after = |names: &[&str]| list.iter().rposition(|f| names.contains(&f.name())).map(|at| at + 1);
    match class {
        FilterClass::Unspecified => None,
        FilterClass::Authn => Some(after(&AUTHENTICATION).unwrap_or(0)),
        FilterClass::Authz => after(&AUTHORIZATION).or(after(&AUTHENTICATION)).or(Some(0)),
        FilterClass::Stats => list.iter().position(|f| f.name() == crate::listener::STATS_FILTER),
    }
}
