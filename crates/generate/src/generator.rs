use std::collections::HashMap;
use std::sync::Arc;

use lateen_api::networking::envoy_filter::PatchContext;
use lateen_mesh::telemetry::Side;
use lateen_mesh::{
    Changes, EnvoyFilters, Labels, Locality, Mesh, Policies, Scope, Services, Settings, Sidecars, Telemetry,
    Workload,
};
use lateen_xds::{Encoded, TypeUrl};

use crate::cache::Cache;
use crate::delta::slot;
use crate::locality::Near;
use crate::observe::Observers;
use crate::patch::{Patcher, Patches};
use crate::proxy::{Naming, ProxyKind};
use crate::resources::ResourceList;
use crate::view::{ScopeKey, View};
use crate::{Proxy, ProxyResources, ResourceSet, build, cluster, listener, name_table};

/// Turns snapshots into resources, and remembers what it encoded.
///
/// One per control plane. `step` moves it to the next snapshot; `resources` answers for a proxy and costs next to
/// nothing when the proxy's scope has been worked out already.
#[derive(Debug)]
pub struct Generator {
    mesh: Arc<Mesh>,
    cache: Cache,
    scopes: HashMap<ScopeKey, ScopeState>,
    own: HashMap<Arc<str>, OwnState>,
    observers: Observers,
    patcher: Patcher,
    nothing: Arc<ResourceSet>,
}

/// What was worked out for a scope.
#[derive(Debug)]
struct ScopeState {
    /// The snapshot's version for which `set` is right; older than the present one means that it is stale.
    version: u64,
    /// The snapshot that `scope` and `set` were made from, but for endpoints.
    mesh: Arc<Mesh>,
    scope: Arc<Scope>,
    set: Arc<ResourceSet>,
    /// The last snapshot at which a proxy asked.
    used: u64,
}

/// What was worked out for one sidecar alone, and from what.
#[derive(Debug)]
struct OwnState {
    services: Arc<Services>,
    settings: Arc<Settings>,
    sidecars: Arc<Sidecars>,
    envoy_filters: Arc<EnvoyFilters>,
    policies: Arc<Policies>,
    workload: Option<Arc<Workload>>,
    proxy: Proxy,
    set: Arc<ResourceSet>,
    used: u64,
}

/// For how many snapshots what nobody asks for is kept.
const KEPT_UNUSED: u64 = 16;

impl Generator {
    /// A generator at its first snapshot.
    pub fn new(mesh: Arc<Mesh>) -> Self {
        let nothing = ResourceSet::new(TypeUrl::ALL.map(|_| Arc::from(Vec::new())));
        Generator {
            mesh,
            cache: Cache::default(),
            scopes: HashMap::new(),
            own: HashMap::new(),
            observers: Observers::default(),
            patcher: Patcher::default(),
            nothing,
        }
    }

    /// The snapshot that resources are made from.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// Moves to the next snapshot. `changes` must describe the whole way from the present one.
    pub fn step(&mut self, mesh: Arc<Mesh>, changes: &Changes) {
        let before = std::mem::replace(&mut self.mesh, mesh).version;
        let now = self.mesh.version;
        self.scopes.retain(|_, state| state.used + KEPT_UNUSED >= now);
        self.own.retain(|_, state| state.used + KEPT_UNUSED >= now);
        self.observers.step(&self.mesh);
        self.patcher.step(&self.mesh, changes);
        if changes.config {
            return;
        }
        for (key, state) in self.scopes.iter_mut().filter(|(_, state)| state.version == before) {
            let view = View::new(&self.mesh, &state.scope, key);
            if let Some(set) = build::with_endpoints(&view, &mut self.cache, &state.set, changes) {
                state.set = set;
                state.version = now;
                state.mesh = name_table::snapshot(key.naming, &self.mesh);
            }
        }
        self.cache.sweep();
    }

    /// Everything that a proxy may see at the present snapshot. Keep the answer: the next one is compared with it
    /// by [`ProxyResources::diff`].
    pub fn resources(&mut self, proxy: &Proxy) -> ProxyResources {
        let workload = self.mesh.workload(&proxy.namespace, &proxy.name).cloned();
        let telemetries = self.mesh.telemetries.of_workload(&proxy.namespace, &proxy.labels);
        let mesh = self.observers.mesh(&self.mesh, &telemetries, Side::Client);
        let patches = self.patcher.patches(&self.mesh, proxy);
        let key = self.scope_key(proxy, workload.as_deref(), &telemetries, &patches);
        let shared = self.shared(key, &mesh, &patches);
        let own = match proxy.kind {
            ProxyKind::Sidecar => {
                let mesh = self.observers.mesh(&self.mesh, &telemetries, Side::Server);
                self.own(proxy, workload, &mesh, &patches)
            }
            ProxyKind::Gateway => self.nothing.clone(),
        };
        ProxyResources { shared, own }
    }

    /// What EnvoyFilters (`applyTo: BOOTSTRAP`) lay over a proxy's bootstrap: an encoded `Bootstrap`.
    pub fn bootstrap(&mut self, proxy: &Proxy) -> Vec<u8> {
        let patches = self.patcher.patches(&self.mesh, proxy);
        self.patcher.bootstrap(&patches)
    }

    /// How many scopes and encoded units are held: what memory is spent on.
    pub fn held(&self) -> (usize, usize) {
        (self.scopes.len(), self.cache.len())
    }

    fn scope_key(
        &self,
        proxy: &Proxy,
        workload: Option<&Workload>,
        telemetries: &[Arc<Telemetry>],
        patches: &Patches,
    ) -> ScopeKey {
        let mesh = &self.mesh;
        let sidecar = mesh.sidecars.of_workload(&proxy.namespace, &proxy.labels);
        let is_gateway = proxy.kind == ProxyKind::Gateway;
        let told_by = |key: &&String| {
            mesh.virtual_services.source_labels.contains(*key)
                || mesh.destination_rules.selector_labels.contains(*key)
        };
        let labels = proxy.labels.iter().filter(|(key, _)| is_gateway || told_by(key));
        let ports = |proxy: &Proxy| {
            let named = |name: &str| workload.and_then(|w| w.named_port(name));
            let inbound = mesh.inbound(&proxy.namespace, &proxy.labels, named);
            let mut ports: Vec<(u16, u16)> = inbound.iter().map(|i| (i.port.number, i.target)).collect();
            ports.sort_unstable();
            ports.dedup();
            ports
        };
        ScopeKey {
            kind: proxy.kind,
            flavour: proxy.flavour,
            interception: proxy.interception,
            families: proxy.families(),
            naming: proxy.naming(),
            names_by_host: proxy.names_by_host(),
            namespace: proxy.namespace.clone(),
            sidecar: sidecar.filter(|_| !is_gateway).map(|s| (s.meta.namespace.clone(), s.meta.name.clone())),
            telemetries: telemetries
                .iter()
                .map(|t| (t.meta.namespace.clone(), t.meta.name.clone()))
                .collect(),
            patches: patches.ids.clone(),
            labels: labels.map(|(k, v)| (k.clone(), v.clone())).collect(),
            near: self.near(proxy, workload),
            authenticated: proxy.authenticated,
            ports: if is_gateway { ports(proxy) } else { Vec::new() },
        }
    }

    /// Where a proxy is, if any rule asks for it: by its node's locality, or as the proxy itself says.
    fn near(&self, proxy: &Proxy, workload: Option<&Workload>) -> Option<Arc<Near>> {
        let rules = &self.mesh.destination_rules;
        if !rules.by_locality && self.mesh.settings.locality.distribute.is_empty() {
            return None;
        }
        let [region, zone, subzone] = proxy.locality.clone();
        let told = Arc::new(Locality { region, zone, subzone });
        let found = Some(told).filter(|l| !l.is_empty()).or_else(|| self.mesh.locality(workload?));
        let labels = proxy.labels.iter().filter(|(key, _)| rules.failover_labels.contains(*key));
        let labels: Labels = labels.map(|(k, v)| (k.clone(), v.clone())).collect();
        let locality = match found {
            None if labels.is_empty() => return None,
            found => found.unwrap_or_default(),
        };
        let mut near = Near { locality, labels };
        // The place counts among the labels.
        for (key, value) in [
            ("topology.kubernetes.io/region", &near.locality.region),
            ("topology.kubernetes.io/zone", &near.locality.zone),
            ("topology.istio.io/subzone", &near.locality.subzone),
        ] {
            if rules.failover_labels.contains(key) {
                near.labels.insert(key.to_owned(), value.to_string());
            }
        }
        Some(Arc::new(near))
    }

    /// `mesh` is the present snapshot with the settings of these proxies.
    fn shared(&mut self, key: ScopeKey, mesh: &Arc<Mesh>, patches: &Patches) -> Arc<ResourceSet> {
        let now = mesh.version;
        if let Some(state) = self.scopes.get_mut(&key)
            && state.version == now
        {
            state.used = now;
            return state.set.clone();
        }
        let mesh = &name_table::snapshot(key.naming, mesh);
        let sidecar = key.sidecar.as_ref().and_then(|(namespace, name)| mesh.sidecars.get(namespace, name));
        let old = self.scopes.get(&key);
        let before = old.map(|old| (&*old.mesh, &*old.scope));
        let scope = Arc::new(Scope::new(mesh, &key.namespace, sidecar, before));
        let view = View::new(mesh, &scope, &key);
        let known = old.filter(|old| {
            same_clusters(&old.mesh, mesh, &old.scope, &scope)
                && (key.kind == ProxyKind::Sidecar || same_gateways(&old.mesh, mesh))
        });
        // What was patched must not be patched again.
        let known = known.filter(|_| patches.is_empty());
        let lists = build::all(&view, &mut self.cache, known.map(|old| &*old.set));
        let mut lists = self.patcher.apply(patches, context(key.kind), lists);
        if key.naming != Naming::Elsewhere {
            let same = old.filter(|old| name_table::is_same(&old.mesh, mesh, &old.scope, &scope));
            lists[slot(TypeUrl::NameTable)] = match same {
                Some(old) => old.set.list(TypeUrl::NameTable).clone(),
                None => name_table::list(&view, &mut self.cache),
            };
        }
        let set = keep_same(old.map(|s| &s.set), lists);
        let state = ScopeState { version: now, mesh: mesh.clone(), scope, set: set.clone(), used: now };
        self.scopes.insert(key, state);
        self.cache.sweep();
        set
    }

    /// A sidecar's inbound listener and clusters: rebuilt only when something changed that they are made from.
    fn own(
        &mut self,
        proxy: &Proxy,
        workload: Option<Arc<Workload>>,
        mesh: &Mesh,
        patches: &Patches,
    ) -> Arc<ResourceSet> {
        if let Some(state) = self.own.get_mut(&proxy.id)
            && Arc::ptr_eq(&state.services, &mesh.services)
            && Arc::ptr_eq(&state.settings, &mesh.settings)
            && Arc::ptr_eq(&state.sidecars, &mesh.sidecars)
            && Arc::ptr_eq(&state.envoy_filters, &mesh.envoy_filters)
            && state.workload.as_ref().map(Arc::as_ptr) == workload.as_ref().map(Arc::as_ptr)
            && Arc::ptr_eq(&state.policies, &mesh.policies)
            && state.proxy == *proxy
        {
            state.used = mesh.version;
            return state.set.clone();
        }
        let named = |name: &str| workload.as_ref().and_then(|w| w.named_port(name));
        let sidecar = mesh.sidecars.of_workload(&proxy.namespace, &proxy.labels);
        let inbound = mesh.captured(sidecar.map(|s| &**s), &proxy.namespace, &proxy.labels, named);
        let ports = listener::inbound::by_port(&inbound);
        let mut lists: [Vec<Arc<Encoded>>; TypeUrl::ALL.len()] = Default::default();
        let clusters = cluster::inbound::clusters(&ports, proxy, &mesh.settings);
        lists[slot(TypeUrl::Cluster)].extend(clusters.into_iter().map(Arc::new));
        let receiver = listener::inbound::Receiver { mesh, proxy };
        let (listener, extra) = listener::inbound::listener(&ports, &receiver);
        lists[slot(TypeUrl::Cluster)].extend(extra.into_iter().map(Arc::new));
        lists[slot(TypeUrl::Listener)].push(Arc::new(listener));
        let (bound, extra) = listener::inbound::bound_listeners(&ports, &receiver);
        lists[slot(TypeUrl::Listener)].extend(bound.into_iter().map(Arc::new));
        lists[slot(TypeUrl::Cluster)].extend(extra.into_iter().map(Arc::new));
        let lists = self.patcher.apply(patches, PatchContext::SidecarInbound, lists.map(build::sorted));
        let set = keep_same(self.own.get(&proxy.id).map(|s| &s.set), lists);
        let state = OwnState {
            services: mesh.services.clone(),
            settings: mesh.settings.clone(),
            sidecars: mesh.sidecars.clone(),
            envoy_filters: mesh.envoy_filters.clone(),
            workload,
            policies: mesh.policies.clone(),
            proxy: proxy.clone(),
            set: set.clone(),
            used: mesh.version,
        };
        self.own.insert(proxy.id.clone(), state);
        set
    }
}

/// Where what proxies of a kind share is used.
fn context(kind: ProxyKind) -> PatchContext {
    match kind {
        ProxyKind::Sidecar => PatchContext::SidecarOutbound,
        ProxyKind::Gateway => PatchContext::Gateway,
    }
}

/// Whether nothing has changed that clusters and load assignments are made from: rules of routes do not count.
fn same_clusters(old: &Mesh, new: &Mesh, old_scope: &Scope, new_scope: &Scope) -> bool {
    Arc::ptr_eq(&old_scope.services, &new_scope.services)
        && Arc::ptr_eq(&old.destination_rules, &new.destination_rules)
        && Arc::ptr_eq(&old.settings, &new.settings)
        && old.same_endpoints(new)
}

/// Whether nothing has changed that gateways have further clusters for: servers that pass TLS through, and keys of tokens.
fn same_gateways(old: &Mesh, new: &Mesh) -> bool {
    Arc::ptr_eq(&old.gateways, &new.gateways) && Arc::ptr_eq(&old.policies, &new.policies)
}

/// A set of these lists, with every list that has the same content as before taken from the old set; the old set
/// itself where nothing differs.
fn keep_same(
    old: Option<&Arc<ResourceSet>>,
    mut lists: [ResourceList; TypeUrl::ALL.len()],
) -> Arc<ResourceSet> {
    let Some(old) = old else { return ResourceSet::new(lists) };
    let mut all_same = true;
    for (at, type_url) in TypeUrl::ALL.into_iter().enumerate() {
        let known = old.list(type_url);
        if same(known, &lists[at]) {
            lists[at] = known.clone();
        } else {
            all_same = false;
        }
    }
    if all_same { old.clone() } else { ResourceSet::new(lists) }
}

fn same(a: &[Arc<Encoded>], b: &[Arc<Encoded>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b) || (a.version == b.version && a.name == b.name))
}
