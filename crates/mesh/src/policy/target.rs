use lateen_api::networking::destination_rule::LabelSelector;
use lateen_api::security::PolicyTargetReference;

use crate::{Labels, Origin, Service, labels};

/// The label that joins a pod to its Gateway of the Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that joins a pod to the GatewayClass of its Gateway.
const GATEWAY_CLASS: &str = "gateway.networking.k8s.io/gateway-class-name";

/// What a policy applies to: workloads by labels, or what references name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// Labels of the workloads; none selects all.
    pub selector: Labels,
    /// Resources by kind and name, in the policy's namespace; where there are any, the selector counts for nothing.
    pub references: Vec<(TargetKind, String)>,
}

/// The kinds of resources that a policy may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A Kubernetes Service: the ports of the workloads behind it.
    Service,
    /// A ServiceEntry: likewise.
    ServiceEntry,
    /// A Gateway of the Gateway API: its pods.
    Gateway,
    /// A GatewayClass, from the root namespace: the pods of all its Gateways.
    GatewayClass,
    /// A kind that is not known here: nothing.
    Unknown,
}

/// The port of a workload, as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The workload's namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
    /// The services that the port belongs to.
    pub services: &'a [&'a Service],
}

impl Target {
    pub(crate) fn new(
        selector: Option<&LabelSelector>,
        reference: Option<&PolicyTargetReference>,
        references: &[PolicyTargetReference],
    ) -> Target {
        let kind = |reference: &PolicyTargetReference| match (&*reference.group, &*reference.kind) {
            ("" | "core", "Service") => TargetKind::Service,
            ("networking.istio.io", "ServiceEntry") => TargetKind::ServiceEntry,
            ("gateway.networking.k8s.io", "Gateway") => TargetKind::Gateway,
            ("gateway.networking.k8s.io", "GatewayClass") => TargetKind::GatewayClass,
            _ => TargetKind::Unknown,
        };
        Target {
            selector: selector.map(|s| s.match_labels.clone()).unwrap_or_default(),
            references: reference.into_iter().chain(references).map(|r| (kind(r), r.name.clone())).collect(),
        }
    }

    /// Whether a policy of the namespace `home` applies to a port of a workload. Policies of the root namespace apply
    /// everywhere.
    ///
    /// Source: Istio, `selector` and `targetRefs` of AuthorizationPolicy and RequestAuthentication.
    pub(crate) fn applies(&self, home: &str, root: &str, to: &Recipient<'_>) -> bool {
        if self.references.is_empty() {
            return (home == root || home == to.namespace) && labels::selects(&self.selector, to.labels);
        }
        let of_service = |origin: Origin, name: &str| {
            home == to.namespace && to.services.iter().any(|s| s.origin == origin && &*s.meta.name == name)
        };
        let labelled = |key: &str, name: &str| to.labels.get(key).is_some_and(|value| value == name);
        self.references.iter().any(|(kind, name)| match kind {
            TargetKind::Service => of_service(Origin::Kubernetes, name),
            TargetKind::ServiceEntry => of_service(Origin::ServiceEntry, name),
            TargetKind::Gateway => home == to.namespace && labelled(GATEWAY_NAME, name),
            TargetKind::GatewayClass => home == root && labelled(GATEWAY_CLASS, name),
            TargetKind::Unknown => false,
        })
    }
}
