use lateen_generate::Proxy;
use lateen_identity::SpiffeId;

/// Who is at the other end, as far as it has proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its identities: one of a token, those of a certificate.
    pub identities: Vec<SpiffeId>,
    /// How it proved them.
    pub proof: Proof,
    /// The pod to which its token is bound.
    pub pod: Option<Pod>,
}

/// How an identity was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A workload certificate of this mesh.
    Certificate,
    /// A token that the Kubernetes API vouches for.
    KubernetesToken,
    /// A token of an OIDC issuer.
    Oidc,
}

/// A pod as its token names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its service account.
    pub service_account: String,
}

impl Caller {
    /// The identity with which the caller may be the proxy that its node describes: namespace and service account
    /// must be those of the node (Istio's check of xDS clients, `ENABLE_XDS_IDENTITY_CHECK`).
    pub fn identity_of(&self, proxy: &Proxy) -> Option<&SpiffeId> {
        self.identities
            .iter()
            .find(|id| id.namespace() == &*proxy.namespace && id.service_account() == &*proxy.service_account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_xds::pb::envoy::config::core::v3::Node;

    #[test]
    fn a_caller_can_only_be_a_proxy_of_its_own_account() {
        let caller = Caller {
            identities: vec![SpiffeId::new("cluster.local", "shop", "default").unwrap()],
            proof: Proof::KubernetesToken,
            pod: None,
        };
        let proxy = |id: &str| Proxy::from_node(&Node { id: id.into(), ..Node::default() }).unwrap();
        assert!(caller.identity_of(&proxy("sidecar~10.0.0.1~a.shop~shop.svc.cluster.local")).is_some());
        assert!(caller.identity_of(&proxy("sidecar~10.0.0.1~a.bank~bank.svc.cluster.local")).is_none());
        let mut other = proxy("sidecar~10.0.0.1~a.shop~shop.svc.cluster.local");
        other.service_account = "admin".into();
        assert!(caller.identity_of(&other).is_none());
    }
}
