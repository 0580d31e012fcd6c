use std::sync::Arc;

use lateen_mesh::{DestinationRule, Labels, Mesh, Scope, Service};

use crate::cache::{Client, Destination, Same};
use crate::families::Families;
use crate::locality::Near;
use crate::patch::PatchIds;
use crate::proxy::{Flavour, Interception, Naming, ProxyKind};

/// What makes proxies see the same: all that is shared is made once for each of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ScopeKey {
    pub kind: ProxyKind,
    pub flavour: Flavour,
    pub interception: Interception,
    /// The IP versions of the pods' addresses.
    pub families: Families,
    pub namespace: Arc<str>,
    /// Who resolves names for the applications.
    pub naming: Naming,
    /// Whether they get their names each by itself.
    pub names_by_host: bool,
    /// The Sidecar that applies, as namespace and name.
    pub sidecar: Option<(Arc<str>, Arc<str>)>,
    /// The Telemetries that apply, as namespace and name.
    pub telemetries: Vec<(Arc<str>, Arc<str>)>,
    /// The patches of EnvoyFilters that apply.
    pub patches: PatchIds,
    /// The labels that any rule asks for; for gateways all labels, which select their servers.
    pub labels: Labels,
    /// Where the proxies are, where rules treat clients by it.
    pub near: Option<Arc<Near>>,
    /// Whether the proxies proved who they are.
    pub authenticated: bool,
    /// For gateways: ports of the services that select them, with the ports on which the pod listens.
    pub ports: Vec<(u16, u16)>,
}

/// A snapshot as the proxies of one scope see it.
pub(crate) struct View<'a> {
    pub mesh: &'a Mesh,
    pub scope: &'a Scope,
    pub key: &'a ScopeKey,
    /// The clients, for what does not tell them apart by labels or namespace.
    plain: Arc<Client>,
}

impl<'a> View<'a> {
    pub fn new(mesh: &'a Mesh, scope: &'a Scope, key: &'a ScopeKey) -> Self {
        let plain = Client { flavour: key.flavour, kind: key.kind, namespace: None, labels: Vec::new() };
        View { mesh, scope, key, plain: Arc::new(plain) }
    }
}

impl View<'_> {
    /// The rule that applies when these proxies call a service.
    pub fn rule(&self, service: &Service) -> Option<&Arc<DestinationRule>> {
        self.mesh.destination_rules.lookup(&self.key.namespace, &self.key.labels, &service.id)
    }

    /// A host with its service and rule, for comparison by identity.
    pub fn destination(&self, host: &str) -> Destination {
        let service = self.scope.service(host);
        let rule = service.and_then(|s| self.rule(s));
        (service.cloned().map(Same), rule.cloned().map(Same))
    }

    /// What rules that ask for labels or namespaces of their clients can tell these proxies by.
    pub fn client(&self, by_labels: bool, by_namespace: bool) -> Arc<Client> {
        if !by_labels && !by_namespace {
            return self.plain.clone();
        }
        let labels = self.key.labels.iter().filter(|_| by_labels);
        Arc::new(Client {
            flavour: self.key.flavour,
            kind: self.key.kind,
            namespace: by_namespace.then(|| self.key.namespace.clone()),
            labels: labels.map(|(k, v)| (k.clone(), v.clone())).collect(),
        })
    }
}

impl View<'_> {
    /// Whether these proxies may call what the mesh does not know: as their Sidecar says, else as the mesh does.
    pub fn allow_any(&self) -> bool {
        use lateen_api::networking::sidecar::OutboundTrafficMode;
        let sidecar = self.scope.sidecar.as_ref();
        match sidecar.and_then(|s| s.spec.outbound_traffic_policy.as_ref()) {
            Some(policy) => policy.mode.unwrap_or_default() == OutboundTrafficMode::AllowAny,
            None => self.mesh.settings.allow_any,
        }
    }
}
