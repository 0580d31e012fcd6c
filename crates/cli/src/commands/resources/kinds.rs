//! Istio's kinds by every name that users give them.

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::discovery::ApiResource;

/// One kind, at the version that is stored (or that a file names).
#[derive(Clone, Debug)]
pub struct IstioKind {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    names: Vec<String>,
    versions: Vec<String>,
}

impl IstioKind {
    fn new(crd: CustomResourceDefinition) -> IstioKind {
        let names = crd.spec.names;
        let stored = crd.spec.versions.iter().find(|v| v.storage).map(|v| v.name.clone()).unwrap_or_default();
        let resource = ApiResource {
            api_version: format!("{}/{stored}", crd.spec.group),
            version: stored,
            group: crd.spec.group,
            kind: names.kind.clone(),
            plural: names.plural.clone(),
        };
        let mut all = vec![names.plural, names.kind.to_lowercase()];
        all.extend(names.singular);
        all.extend(names.short_names.into_iter().flatten());
        IstioKind {
            namespaced: crd.spec.scope == "Namespaced",
            versions: crd.spec.versions.into_iter().map(|v| v.name).collect(),
            names: all,
            resource,
        }
    }

    /// As istioctl of 2018 names it: `VirtualService` is `virtual-service`.
    pub fn config_name(&self) -> String {
        let mut name = String::new();
        for (at, letter) in self.resource.kind.char_indices() {
            if letter.is_uppercase() && at > 0 {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
            || self.config_name() == name
            || format!("{}s", self.config_name()) == name
    }
}

/// Every kind.
pub fn all() -> Vec<IstioKind> {
    lateen_api::crds().into_iter().map(IstioKind::new).collect()
}

/// The kind that a user means by `name`.
///
/// # Errors
/// Names the kinds that there are.
pub fn named(name: &str) -> Result<IstioKind> {
    let wanted = name.to_lowercase();
    let mut kinds = all();
    let known: Vec<_> = kinds.iter().map(|kind| kind.resource.plural.clone()).collect();
    let at = kinds.iter().position(|kind| kind.is_called(&wanted));
    let at =
        at.with_context(|| format!("{name:?} is no kind of Istio's; there are: {}", known.join(", ")))?;
    Ok(kinds.swap_remove(at))
}

/// The kind of an object, at the version that the object names.
pub fn of_type(api_version: &str, kind: &str) -> Option<IstioKind> {
    let (group, version) = api_version.split_once('/')?;
    let mut found = all().into_iter().find(|known| {
        known.resource.group == group
            && known.resource.kind == kind
            && known.versions.iter().any(|v| v == version)
    })?;
    found.resource.api_version = api_version.to_owned();
    found.resource.version = version.to_owned();
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_all_its_names() {
        for name in ["vs", "virtualservice", "VirtualServices", "virtual-service", "virtual-services"] {
            assert_eq!(named(name).unwrap().resource.kind, "VirtualService", "{name}");
        }
        assert!(named("pods").unwrap_err().to_string().contains("virtualservices"));
    }

    #[test]
    fn a_file_may_name_any_served_version() {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let kind = of_type(&format!("networking.istio.io/{version}"), "DestinationRule").unwrap();
            assert_eq!(
                (kind.config_name().as_str(), kind.resource.version.as_str()),
                ("destination-rule", version)
            );
        }
        assert!(of_type("networking.istio.io/v9", "DestinationRule").is_none());
        assert!(of_type("v1", "Pod").is_none());
    }
}
