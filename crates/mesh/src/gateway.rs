use std::sync::Arc;

use lateen_api::networking::gateway::GatewaySpec;

use crate::{Labels, Meta, labels};

/// A Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Name, namespace and age.
    pub meta: Meta,
    /// `namespace/name`, as VirtualServices name it.
    pub id: Arc<str>,
    /// Servers and selector.
    pub spec: GatewaySpec,
}

impl Gateway {
    pub(crate) fn new(meta: Meta, spec: GatewaySpec) -> Gateway {
        Gateway { id: format!("{}/{}", meta.namespace, meta.name).into(), meta, spec }
    }

    /// Whether it is for workloads with these labels, in whatever namespace they are.
    ///
    /// Source: Istio, Gateway `selector`: "the scope of label search is ... all namespaces".
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.spec.selector.is_empty() && labels::selects(&self.spec.selector, labels)
    }
}

/// All Gateways, oldest first.
#[derive(Debug, Default)]
pub struct Gateways {
    /// Oldest first.
    pub all: Vec<Arc<Gateway>>,
}

impl Gateways {
    pub(crate) fn index<'a>(all: impl Iterator<Item = &'a Arc<Gateway>>) -> Self {
        let mut all: Vec<_> = all.cloned().collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        Gateways { all }
    }

    /// The Gateways for a workload, oldest first.
    pub fn of_workload<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Arc<Gateway>> {
        self.all.iter().filter(|g| g.selects(labels))
    }

    /// The Gateway of an id `namespace/name`.
    pub fn get(&self, id: &str) -> Option<&Arc<Gateway>> {
        self.all.iter().find(|g| &*g.id == id)
    }
}
