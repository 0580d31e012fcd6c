use std::collections::HashMap;
use std::sync::Arc;

use lateen_api::security::peer_authentication::{MutualTls, MutualTlsMode, PeerAuthenticationSpec};

use super::legacy::LegacyPolicy;
use crate::{ConfigKey, Kind, Labels, Meta, Port, Service, labels};

/// A PeerAuthentication.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerAuthentication {
    /// Name, namespace and age.
    pub meta: Meta,
    /// What it says.
    pub spec: PeerAuthenticationSpec,
}

impl PeerAuthentication {
    /// The labels that it selects workloads by; `None` when it is for all of them.
    pub fn selector(&self) -> Option<&Labels> {
        self.spec.selector.as_ref().map(|s| &s.match_labels).filter(|labels| !labels.is_empty())
    }

    fn key(&self) -> ConfigKey {
        ConfigKey::new(Kind::PeerAuthentication, self.meta.namespace.clone(), self.meta.name.clone())
    }
}

/// Whether connections to a port are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mtls {
    /// Never: clients must speak plainly.
    Disable,
    /// As the client likes.
    Permissive,
    /// Always.
    Strict,
}

/// How a port of a workload is spoken to, and which policy says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMode {
    /// Whether connections are encrypted.
    pub mode: Mtls,
    /// The policy that decided; `None` where nothing but the default does.
    pub source: Option<ConfigKey>,
}

/// A service port behind which a workload's port stands.
pub type ServedBy<'a> = (&'a Service, &'a Port);

/// Policies for peers, by what they are for.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    all: Vec<Arc<PeerAuthentication>>,
    mesh: Vec<PeerMode>,
    by_namespace: HashMap<Arc<str>, OfNamespace>,
}

#[derive(Debug, Default)]
struct OfNamespace {
    /// What the namespace's policies without selector say, the old API's first.
    general: Vec<PeerMode>,
    /// Policies of the old API for single services, oldest first.
    services: Vec<Arc<LegacyPolicy>>,
    /// Policies with a selector, oldest first.
    selective: Vec<Arc<PeerAuthentication>>,
}

impl OfNamespace {
    /// The policy that selects a workload; of several the oldest.
    fn selecting(&self, labels: &Labels) -> Option<&Arc<PeerAuthentication>> {
        self.selective.iter().find(|p| p.selector().is_some_and(|s| labels::selects(s, labels)))
    }
}

impl Peers {
    /// Indexes policies that are sorted by age. Of several for the mesh or for a namespace the oldest counts; a
    /// policy of the root namespace with a selector applies to nothing.
    ///
    /// Source: Istio, PeerAuthentication; the composition of policies of `istiod`.
    pub fn index(
        all: &[Arc<PeerAuthentication>],
        legacy: &[Arc<LegacyPolicy>],
        root_namespace: &Arc<str>,
    ) -> Self {
        let mut index = Peers { all: all.to_vec(), ..Peers::default() };
        let mut first = legacy.iter().filter(|p| p.for_mesh());
        index.mesh.extend(first.next().map(|policy| policy.peer_mode()));
        for policy in legacy.iter().filter(|p| !p.for_mesh()) {
            let of = index.by_namespace.entry(policy.meta.namespace.clone()).or_default();
            match policy.spec.targets.is_empty() {
                true if of.general.is_empty() => of.general.push(policy.peer_mode()),
                true => {}
                false => of.services.push(policy.clone()),
            }
        }
        let mut seen: std::collections::HashSet<&Arc<str>> = std::collections::HashSet::new();
        for policy in all {
            let namespace = &policy.meta.namespace;
            let in_root = namespace == root_namespace;
            if policy.selector().is_some() {
                if !in_root {
                    index.by_namespace.entry(namespace.clone()).or_default().selective.push(policy.clone());
                }
                continue;
            }
            if !seen.insert(namespace) {
                continue;
            }
            let mode =
                mode(policy.spec.mtls.as_ref()).map(|mode| PeerMode { mode, source: Some(policy.key()) });
            match in_root {
                true => index.mesh.extend(mode),
                false => index.by_namespace.entry(namespace.clone()).or_default().general.extend(mode),
            }
        }
        index
    }

    pub fn all(&self) -> &[Arc<PeerAuthentication>] {
        &self.all
    }
}

/// The mode of settings; `None` when they leave it to the next wider policy.
fn mode(settings: Option<&MutualTls>) -> Option<Mtls> {
    match settings?.mode {
        MutualTlsMode::Unset => None,
        MutualTlsMode::Disable => Some(Mtls::Disable),
        MutualTlsMode::Permissive => Some(Mtls::Permissive),
        MutualTlsMode::Strict => Some(Mtls::Strict),
    }
}

impl super::Policies {
    /// The ports of a workload that a policy names one by one.
    pub fn named_ports(&self, namespace: &str, labels: &Labels) -> Vec<u16> {
        let of = self.peers.by_namespace.get(namespace);
        let own = of.and_then(|of| of.selecting(labels));
        own.iter().flat_map(|p| p.spec.port_level_mtls.keys()).filter_map(|port| port.parse().ok()).collect()
    }

    /// How a port of a workload is spoken to. The narrowest policy that says something decides: that of the
    /// workload's port, of the workload, of the service (old API), of the namespace, of the mesh; where none does,
    /// both plain and encrypted connections are accepted.
    pub fn peer(&self, namespace: &str, labels: &Labels, port: u16, served: &[ServedBy<'_>]) -> PeerMode {
        let mut wide = self.peers.mesh.last();
        let of = self.peers.by_namespace.get(namespace);
        wide = of.and_then(|of| of.general.last()).or(wide);
        let default = PeerMode { mode: Mtls::Permissive, source: None };
        let Some(of) = of else { return wide.cloned().unwrap_or(default) };
        let inherited = || {
            let service = of.services.iter().filter_map(|p| Some((p.specificity(served)?, p)));
            // Of equals the first, which is the oldest.
            let best = service.reduce(|best, next| if next.0 > best.0 { next } else { best });
            best.map(|(_, policy)| policy.peer_mode()).or_else(|| wide.cloned())
        };
        let Some(own) = of.selecting(labels) else { return inherited().unwrap_or(default) };
        let of_port = own.spec.port_level_mtls.iter().find(|(key, _)| key.parse() == Ok(port));
        let decided = of_port.and_then(|(_, settings)| mode(Some(settings)));
        match decided.or_else(|| mode(own.spec.mtls.as_ref())) {
            Some(mode) => PeerMode { mode, source: Some(own.key()) },
            None => inherited().unwrap_or(default),
        }
    }
}
