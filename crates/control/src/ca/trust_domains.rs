use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::ConfigMap;
use lateen_identity::SpiffeId;
use serde_json::Value;

/// Trust domain of workloads that say nothing.
const DEFAULT: &str = "cluster.local";

/// The mesh's trust domain and its former ones, as MeshConfig has them at the moment.
#[derive(Clone, Debug)]
pub struct TrustDomains {
    now: Arc<ArcSwap<Domains>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Domains {
    own: Arc<str>,
    aliases: Vec<String>,
}

impl TrustDomains {
    /// Starts with one trust domain.
    pub fn new(own: &str) -> TrustDomains {
        let domains = Domains { own: own.into(), aliases: Vec::new() };
        TrustDomains { now: Arc::new(ArcSwap::from_pointee(domains)) }
    }

    /// The trust domain in which certificates are signed.
    pub fn own(&self) -> Arc<str> {
        Arc::clone(&self.now.load().own)
    }

    /// Whether a trust domain is this mesh's: the own one, or an alias.
    pub fn includes(&self, domain: &str) -> bool {
        let now = self.now.load();
        *now.own == *domain || now.aliases.iter().any(|alias| alias == domain)
    }

    /// Whether `asked` is a name of the workload `own`, in whichever of the mesh's trust domains, or in the one that
    /// agents fill in when they are not told.
    pub fn same(&self, own: &SpiffeId, asked: &SpiffeId) -> bool {
        let domain = asked.trust_domain();
        own.namespace() == asked.namespace()
            && own.service_account() == asked.service_account()
            && (own.trust_domain() == domain || domain == DEFAULT || self.includes(domain))
    }

    /// Takes `trustDomain` and `trustDomainAliases` of the mesh configuration. A trust domain that cannot stand in
    /// a SPIFFE name is refused, and the last one stays.
    pub fn take(&self, map: &ConfigMap) {
        let text = map.data.as_ref().and_then(|data| data.get("mesh")).map_or("{}", String::as_str);
        // What is not YAML is reported where the whole of MeshConfig is read.
        let Ok(mesh) = serde_saphyr::from_str::<Value>(text) else { return };
        let own = mesh.get("trustDomain").and_then(Value::as_str).filter(|domain| !domain.is_empty());
        let own = own.unwrap_or(DEFAULT);
        if let Err(error) = SpiffeId::new(own, "default", "default") {
            tracing::warn!(
                field = "trustDomain",
                value = own,
                %error,
                "mesh configuration refused; the last trust domain stays"
            );
            return;
        }
        let aliases = mesh.get("trustDomainAliases").and_then(Value::as_array);
        let aliases = aliases.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        self.now.store(Arc::new(Domains { own: own.into(), aliases }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(text: &str) -> ConfigMap {
        let data = [("mesh".to_owned(), text.to_owned())].into();
        ConfigMap { data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn a_former_trust_domain_is_the_same_mesh() {
        let domains = TrustDomains::new("cluster.local");
        domains.take(&mesh("trustDomain: new.example\ntrustDomainAliases: [old.example]\n"));
        assert_eq!(&*domains.own(), "new.example");
        let id = |domain| SpiffeId::new(domain, "a", "b").unwrap();
        let own = id("new.example");
        assert!(domains.same(&own, &id("old.example")));
        assert!(domains.same(&own, &id("cluster.local")));
        assert!(!domains.same(&own, &id("foreign.example")));
        assert!(!domains.same(&own, &SpiffeId::new("new.example", "a", "c").unwrap()));
        assert!(!domains.includes("cluster.local"), "only a name to ask for, not one that proves anything");
    }

    #[test]
    fn a_trust_domain_that_cannot_be_used_changes_nothing() {
        let domains = TrustDomains::new("cluster.local");
        for text in ["trustDomain: 'Not A Domain'", "- a", "a: ["] {
            domains.take(&mesh(text));
            assert_eq!(&*domains.own(), "cluster.local", "{text}");
        }
    }
}
