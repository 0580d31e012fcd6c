//! EnvoyFilters: patches on what was generated. Nothing here is touched where no EnvoyFilter is for a proxy.

mod cluster;
mod filters;
mod listener;
mod matching;
mod memo;
mod route;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lateen_api::networking::envoy_filter::{
    ApplyTo, EnvoyConfigObjectMatch, FilterClass, PatchContext, PatchOperation, ProxyMatch,
};
use lateen_mesh::{Changes, EnvoyFilter, Kind, Mesh};
use lateen_xds::json::Pool;
use lateen_xds::{Encoded, TypeUrl};

use crate::Proxy;
use crate::build::{Lists, sorted};
use crate::cache::Same;
use crate::delta::slot;
use crate::resources::ResourceList;
use memo::Memo;

/// One change of an EnvoyFilter, read.
#[derive(Debug)]
pub(crate) struct Patch {
    pub apply_to: ApplyTo,
    pub matched: EnvoyConfigObjectMatch,
    pub operation: PatchOperation,
    pub class: FilterClass,
    /// The message that the patch brings, encoded.
    pub value: Vec<u8>,
}

impl Patch {
    /// Whether it is for configuration that is used there.
    pub fn is_for(&self, context: PatchContext) -> bool {
        matches!(self.matched.context, PatchContext::Any) || self.matched.context == context
    }

    /// Whether it brings a resource of its own for that context. What is for any context is brought once.
    fn adds(&self, apply_to: ApplyTo, context: PatchContext) -> bool {
        let here = self.matched.context == context
            || (self.matched.context == PatchContext::Any && context != PatchContext::SidecarInbound);
        here && self.apply_to == apply_to && self.operation == PatchOperation::Add
    }
}

/// Which patches are applied, in order: EnvoyFilters as namespace and name, with the places of their patches.
pub(crate) type PatchIds = Vec<(Arc<str>, Arc<str>, Vec<u16>)>;

/// The patches of some proxies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patches {
    pub ids: PatchIds,
    pub list: Vec<Arc<Patch>>,
}

impl Patches {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The patches of a kind for a context, in order.
    fn of(&self, apply_to: ApplyTo, context: PatchContext) -> impl Iterator<Item = &Arc<Patch>> {
        self.list.iter().filter(move |p| p.apply_to == apply_to && p.is_for(context))
    }

    fn any_of(&self, kinds: &[ApplyTo], context: PatchContext) -> bool {
        self.list.iter().any(|p| kinds.contains(&p.apply_to) && p.is_for(context))
    }
}

/// Reads EnvoyFilters and applies them. Message descriptors are loaded only while there are any.
#[derive(Default)]
pub(crate) struct Patcher {
    pool: Option<Pool>,
    read: HashMap<Same<EnvoyFilter>, Vec<Option<Arc<Patch>>>>,
    memo: Memo,
}

impl std::fmt::Debug for Patcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patcher").field("filters", &self.read.len()).finish_non_exhaustive()
    }
}

impl Patcher {
    /// Moves to the next snapshot.
    pub fn step(&mut self, mesh: &Mesh, changes: &Changes) {
        if mesh.envoy_filters.is_empty() {
            *self = Patcher::default();
            return;
        }
        self.read.retain(|filter, _| mesh.envoy_filters.all().any(|known| Arc::ptr_eq(known, &filter.0)));
        if changes.keys.iter().any(|key| key.kind == Kind::EnvoyFilter) {
            self.memo.clear();
        }
        self.memo.step();
    }

    /// The patches for a proxy. Those whose value is not what it should be are left out; analysis tells of them.
    pub fn patches(&mut self, mesh: &Mesh, proxy: &Proxy) -> Patches {
        let mut patches = Patches::default();
        if mesh.envoy_filters.is_empty() {
            return patches;
        }
        for filter in mesh.envoy_filters.of_workload(&proxy.namespace, &proxy.labels) {
            let Some(read) = self.read(&filter) else { return Patches::default() };
            let mut places = Vec::new();
            for (at, patch) in read.iter().enumerate() {
                let Some(patch) = patch.as_ref().filter(|p| applies_to(p.matched.proxy.as_ref(), proxy))
                else {
                    continue;
                };
                places.push(u16::try_from(at).unwrap_or(u16::MAX));
                patches.list.push(patch.clone());
            }
            patches.ids.push((filter.meta.namespace.clone(), filter.meta.name.clone(), places));
        }
        patches
    }

    /// What EnvoyFilters lay over a proxy's bootstrap, encoded; empty where nothing is.
    pub fn bootstrap(&self, patches: &Patches) -> Vec<u8> {
        let Some(pool) = &self.pool else { return Vec::new() };
        let run = Run { pool, patches, context: PatchContext::Any };
        let wanted =
            |p: &&Arc<Patch>| p.apply_to == ApplyTo::Bootstrap && p.operation == PatchOperation::Merge;
        let merge = |body: Vec<u8>, patch: &Arc<Patch>| run.merged(patch, &body).unwrap_or(body);
        patches.list.iter().filter(wanted).fold(Vec::new(), merge)
    }

    fn read(&mut self, filter: &Arc<EnvoyFilter>) -> Option<&Vec<Option<Arc<Patch>>>> {
        if self.pool.is_none() {
            self.pool = Pool::load().inspect_err(|error| tracing::error!(%error, "no descriptors")).ok();
        }
        let pool = self.pool.as_ref()?;
        Some(self.read.entry(Same(filter.clone())).or_insert_with(|| read(pool, filter)))
    }

    /// Applies patches to what the proxies of a scope share, or to what one has for itself.
    pub fn apply(
        &mut self,
        patches: &Patches,
        context: PatchContext,
        lists: [ResourceList; TypeUrl::ALL.len()],
    ) -> [ResourceList; TypeUrl::ALL.len()] {
        let Some(pool) = self.pool.as_ref().filter(|_| !patches.is_empty()) else { return lists };
        let run = Run { pool, patches, context };
        let mut lists: Lists = lists.map(|list| list.to_vec());
        let mut memo = self.memo.of(&patches.ids, context);
        let clusters = &mut lists[slot(TypeUrl::Cluster)];
        if patches.any_of(&[ApplyTo::Cluster], context) {
            *clusters = memo.each(clusters, |cluster| run.cluster(cluster));
            clusters.extend(run.added(ApplyTo::Cluster, TypeUrl::Cluster, cluster::name));
        }
        if patches.any_of(&listener::KINDS, context) {
            let listeners = &mut lists[slot(TypeUrl::Listener)];
            *listeners = memo.each(listeners, |listener| run.listener(listener));
            listeners.extend(run.added(ApplyTo::Listener, TypeUrl::Listener, listener::name));
        }
        if patches.any_of(&route::KINDS, context) {
            run.routes(&mut memo, &mut lists);
        }
        let extensions =
            run.added(ApplyTo::ExtensionConfig, TypeUrl::ExtensionConfig, filters::extension_name);
        lists[slot(TypeUrl::ExtensionConfig)].extend(extensions);
        lists.map(sorted)
    }
}

/// One application of patches.
struct Run<'a> {
    pool: &'a Pool,
    patches: &'a Patches,
    context: PatchContext,
}

impl Run<'_> {
    fn of(&self, apply_to: ApplyTo) -> impl Iterator<Item = &Arc<Patch>> {
        self.patches.of(apply_to, self.context)
    }

    /// The message with a patch's laid over it; as it was where the two do not go together.
    fn merged(&self, patch: &Patch, body: &[u8]) -> Option<Vec<u8>> {
        let name = EnvoyFilter::message_name(patch.apply_to)?;
        let merged = self.pool.merge(name, body, &patch.value);
        merged.inspect_err(|error| tracing::warn!(%error, "an EnvoyFilter's patch cannot be merged")).ok()
    }

    /// The resources that patches bring.
    fn added(
        &self,
        apply_to: ApplyTo,
        type_url: TypeUrl,
        name: impl Fn(&[u8]) -> Option<String>,
    ) -> Vec<Arc<Encoded>> {
        let adding = self.patches.list.iter().filter(|p| p.adds(apply_to, self.context));
        let one = |patch: &Arc<Patch>| {
            let name = name(&patch.value).filter(|name| !name.is_empty())?;
            Some(Arc::new(Encoded::from_body(type_url, name, patch.value.clone().into())))
        };
        adding.filter_map(one).collect()
    }
}

/// Reads the patches of an EnvoyFilter; `None` stands for one that cannot be used.
fn read(pool: &Pool, filter: &EnvoyFilter) -> Vec<Option<Arc<Patch>>> {
    let one = |patch: &lateen_api::networking::envoy_filter::EnvoyConfigObjectPatch| {
        let change = patch.patch.as_ref()?;
        let name = EnvoyFilter::message_name(patch.apply_to)?;
        let text = serde_json::to_string(&change.value).ok()?;
        Some(Arc::new(Patch {
            apply_to: patch.apply_to,
            matched: patch.r#match.clone().unwrap_or_default(),
            operation: change.operation,
            class: change.filter_class,
            value: pool.read_encoded(name, &text).ok()?,
        }))
    };
    filter.spec.config_patches.iter().map(one).collect()
}

/// Whether a patch is for a proxy, by its version (an RE2 expression, found anywhere) and its metadata.
fn applies_to(wanted: Option<&ProxyMatch>, proxy: &Proxy) -> bool {
    let Some(wanted) = wanted else { return true };
    let version = wanted.proxy_version.is_empty()
        || regex::Regex::new(&wanted.proxy_version)
            .is_ok_and(|expression| expression.is_match(&proxy.version));
    let has = |(key, value): (&String, &String)| proxy.metadata.get(key) == Some(value);
    let known: &BTreeMap<String, String> = &wanted.metadata;
    version && known.iter().all(has)
}
