use lateen_api::security::PolicyTargetReference;

use crate::{Labels, labels};

/// The label that joins a pod to its Gateway of the Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// Which workloads an object that changes proxies is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reach {
    selector: Labels,
    /// Gateways that it names; `None` when it names nothing.
    gateways: Option<Vec<String>>,
}

/// How narrowly an object reaches a workload; the narrower counts later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Mesh,
    Namespace,
    Workload,
}

impl Reach {
    /// Reads a selector and references. References to kinds that sidecars and gateways are not found by reach nothing.
    pub(crate) fn new<'a>(
        selector: Option<&Labels>,
        references: impl Iterator<Item = &'a PolicyTargetReference>,
    ) -> Reach {
        let mut references = references.peekable();
        let named = references.peek().is_some();
        let gateways = references.filter(|r| r.kind == "Gateway").map(|r| r.name.clone()).collect();
        Reach { selector: selector.cloned().unwrap_or_default(), gateways: named.then_some(gateways) }
    }

    /// The labels that it tells workloads by.
    pub(crate) fn label_keys(&self) -> impl Iterator<Item = &str> {
        let gateway = self.gateways.as_ref().map(|_| GATEWAY_NAME);
        self.selector.keys().map(String::as_str).chain(gateway)
    }

    /// How an object of the namespace `home` reaches a workload, if it does. Objects of the root namespace reach every
    /// namespace (Istio, "workload selector").
    pub(crate) fn level(&self, home: &str, root: &str, namespace: &str, own: &Labels) -> Option<Level> {
        let near = home == namespace;
        match &self.gateways {
            Some(names) => {
                let named = own.get(GATEWAY_NAME).is_some_and(|name| names.contains(name));
                (near && named).then_some(Level::Workload)
            }
            None if !self.selector.is_empty() => {
                let selected = (near || home == root) && labels::selects(&self.selector, own);
                selected.then_some(Level::Workload)
            }
            None if home == root => Some(Level::Mesh),
            None => near.then_some(Level::Namespace),
        }
    }
}
