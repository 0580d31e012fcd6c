use std::sync::Arc;

use lateen_identity::SpiffeId;
use lateen_mesh::Mesh;

use super::{Caller, Proof};
use crate::ca::TrustDomains;

/// Node proxies, which may ask for certificates of the pods on their own node, and of nobody else
/// (Istio: `CA_TRUSTED_NODE_ACCOUNTS`).
pub struct NodeAuthorizer {
    /// Their service accounts: namespace and name. Without any, nobody may ask for another.
    pub trusted: Vec<(String, String)>,
    /// The mesh of the moment.
    pub mesh: Box<dyn Fn() -> Arc<Mesh> + Send + Sync>,
}

impl NodeAuthorizer {
    /// The identity for which the caller asks, if it may.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn impersonate(
        &self,
        caller: &Caller,
        wanted: &str,
        trust_domains: &TrustDomains,
    ) -> Result<SpiffeId, String> {
        if self.trusted.is_empty() {
            return Err("no node proxy is trusted (CA_TRUSTED_NODE_ACCOUNTS is empty)".to_owned());
        }
        // A certificate does not tell which pod, and so which node, it is from.
        let pod = match (&caller.pod, caller.proof) {
            (Some(pod), Proof::KubernetesToken) => pod,
            _ => return Err("only the token of a pod proves a node".to_owned()),
        };
        let account = (pod.namespace.clone(), pod.service_account.clone());
        if !self.trusted.contains(&account) {
            return Err(format!(
                "the service account {}/{} is not in CA_TRUSTED_NODE_ACCOUNTS",
                account.0, account.1
            ));
        }
        let wanted: SpiffeId = wanted.parse().map_err(|e: lateen_identity::IdentityError| e.to_string())?;
        if !trust_domains.includes(wanted.trust_domain()) {
            return Err(format!("{wanted} is of another trust domain"));
        }
        let mesh = (self.mesh)();
        let node = mesh
            .workload(&pod.namespace, &pod.name)
            .filter(|own| *own.uid == *pod.uid && *own.service_account == *pod.service_account)
            .map(|own| Arc::clone(&own.node))
            .filter(|node| !node.is_empty())
            .ok_or_else(|| format!("the pod {}/{} is not known on a node", pod.namespace, pod.name))?;
        // Node proxies are few and ask once a pod: a walk over all pods will do.
        let there = mesh.workloads().any(|other| {
            other.node == node
                && *other.meta.namespace == *wanted.namespace()
                && *other.service_account == *wanted.service_account()
        });
        if !there {
            return Err(format!("no pod of {wanted} runs on the node {node}"));
        }
        SpiffeId::new(&trust_domains.own(), wanted.namespace(), wanted.service_account())
            .map_err(|error| error.to_string())
    }
}
