//! Names of the cluster: what each stands for.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt;

use crate::cluster::{Backend, Catalog};

/// The cluster's domain.
pub(crate) const DOMAIN: &str = "cluster.local";

/// What a name stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Ports: number and the name that has the address.
    pub services: Vec<(u16, String)>,
    /// Another name.
    pub alias: Option<String>,
}

/// The outcome of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The name exists; it may have nothing of the type that was asked for.
    Found(Found),
    /// The name does not exist.
    Missing,
    /// The name is not the cluster's.
    Foreign,
}

/// Looks a name up, given without the last dot and in lower case.
pub(crate) fn lookup(catalog: &Catalog, name: &str) -> Lookup {
    let Some(rest) =
        name.strip_suffix(DOMAIN).and_then(|r| if r.is_empty() { Some(r) } else { r.strip_suffix('.') })
    else {
        return Lookup::Foreign;
    };
    let labels: Vec<&str> = rest.split('.').filter(|l| !l.is_empty()).collect();
    let found = match labels.as_slice() {
        [] | ["svc"] | ["pod"] => Some(Found::default()),
        [.., namespace, "svc"] => service_name(catalog, namespace, &labels[..labels.len() - 2]),
        [dashed, _, "pod"] => {
            dashed.replace('-', ".").parse().ok().map(|ip| Found { addresses: vec![ip], ..Found::default() })
        }
        _ => None,
    };
    found.map_or(Lookup::Missing, Lookup::Found)
}

/// `SERVICE`, `ENDPOINT.SERVICE` or `_PORT._PROTOCOL.SERVICE` in a namespace.
fn service_name(catalog: &Catalog, namespace: &str, labels: &[&str]) -> Option<Found> {
    let Some((name, before)) = labels.split_last() else {
        // A namespace exists if anything is in it.
        let any = catalog.services().iter().any(|s| s.namespace().as_deref() == Some(namespace));
        return any.then(Found::default);
    };
    let service = catalog.service(namespace, name)?;
    let spec = service.spec.as_ref()?;
    let domain = format!("{name}.{namespace}.svc.{DOMAIN}");
    if spec.type_.as_deref() == Some("ExternalName") {
        let alias = spec.external_name.clone().filter(|_| before.is_empty())?;
        return Some(Found { alias: Some(alias.trim_end_matches('.').to_owned()), ..Found::default() });
    }
    let publish_unready = spec.publish_not_ready_addresses == Some(true);
    let backends = || -> Vec<Backend> {
        let all = catalog.backends(namespace, name, None);
        all.into_iter().filter(|b| b.ready || publish_unready).collect()
    };
    let cluster_ip = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
    match before {
        [] => {
            let addresses = match cluster_ip {
                Some(ip) => vec![ip],
                None => backends().into_iter().map(|b| b.ip).collect(),
            };
            let services =
                spec.ports.iter().flatten().flat_map(|p| srv(p, &service, &backends, cluster_ip, &domain));
            Some(Found { addresses, services: services.collect(), alias: None })
        }
        [port, protocol] if port.starts_with('_') => {
            let wanted = spec.ports.iter().flatten().find(|p| {
                let proto = p.protocol.as_deref().unwrap_or("TCP").to_lowercase();
                p.name.as_deref() == Some(&port[1..]) && protocol.strip_prefix('_') == Some(&proto)
            })?;
            let services = srv(wanted, &service, &backends, cluster_ip, &domain);
            Some(Found { services, ..Found::default() })
        }
        [endpoint] => {
            let addresses: Vec<Ipv4Addr> =
                backends().into_iter().filter(|b| label(b) == **endpoint).map(|b| b.ip).collect();
            (!addresses.is_empty()).then(|| Found { addresses, ..Found::default() })
        }
        _ => None,
    }
}

/// An endpoint's label under its service: its host name, or its address with dashes.
fn label(backend: &Backend) -> String {
    backend.hostname.clone().unwrap_or_else(|| backend.ip.to_string().replace('.', "-"))
}

fn srv(
    port: &ServicePort,
    service: &Service,
    backends: &dyn Fn() -> Vec<Backend>,
    cluster_ip: Option<Ipv4Addr>,
    domain: &str,
) -> Vec<(u16, String)> {
    let Ok(number) = u16::try_from(port.port) else { return Vec::new() };
    if cluster_ip.is_some() || service.spec.is_none() {
        return vec![(number, domain.to_owned())];
    }
    // A headless service's port is its pods' port.
    backends().iter().map(|b| (number, format!("{}.{domain}", label(b)))).collect()
}

/// The name of an address: a service's, or a headless service's endpoint's.
pub(crate) fn reverse(catalog: &Catalog, ip: Ipv4Addr) -> Option<String> {
    let text = ip.to_string();
    for service in catalog.services() {
        let (Some(namespace), name) = (service.namespace(), service.name_any()) else { continue };
        let cluster_ip = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).unwrap_or_default();
        if cluster_ip == text {
            return Some(format!("{name}.{namespace}.svc.{DOMAIN}"));
        }
        if cluster_ip == "None"
            && let Some(backend) = catalog.backends(&namespace, &name, None).iter().find(|b| b.ip == ip)
        {
            return Some(format!("{}.{name}.{namespace}.svc.{DOMAIN}", label(backend)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Sink;

    fn catalog() -> std::sync::Arc<Catalog> {
        let catalog = Catalog::new();
        let services = serde_json::json!([
            {"metadata": {"name": "kubernetes", "namespace": "default"},
             "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}},
            {"metadata": {"name": "db", "namespace": "n"},
             "spec": {"clusterIP": "None", "ports": [{"name": "sql", "port": 3306}]}},
            {"metadata": {"name": "out", "namespace": "n"},
             "spec": {"type": "ExternalName", "externalName": "example.com."}}
        ]);
        catalog.service_sink().replace(serde_json::from_value(services).unwrap());
        let slice = serde_json::json!({"metadata": {"name": "db-1", "namespace": "n",
            "labels": {"kubernetes.io/service-name": "db"}}, "addressType": "IPv4",
            "ports": [{"name": "sql", "port": 3306}],
            "endpoints": [{"addresses": ["10.244.0.7"], "hostname": "db-0"}, {"addresses": ["10.244.0.8"]},
                {"addresses": ["10.244.0.9"], "conditions": {"ready": false}}]});
        catalog.slice_sink().replace(vec![serde_json::from_value(slice).unwrap()]);
        catalog
    }

    fn found(name: &str) -> Found {
        match lookup(&catalog(), name) {
            Lookup::Found(found) => found,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn services_have_their_cluster_ip() {
        let name = "kubernetes.default.svc.cluster.local";
        assert_eq!(found(name).addresses, [Ipv4Addr::new(10, 96, 0, 1)]);
        assert_eq!(found(&format!("_https._tcp.{name}")).services, [(443, name.to_owned())]);
    }

    #[test]
    fn headless_services_have_their_ready_endpoints() {
        let name = "db.n.svc.cluster.local";
        assert_eq!(found(name).addresses.len(), 2);
        assert_eq!(found(&format!("db-0.{name}")).addresses, [Ipv4Addr::new(10, 244, 0, 7)]);
        assert_eq!(found(&format!("10-244-0-8.{name}")).addresses, [Ipv4Addr::new(10, 244, 0, 8)]);
        let srv = found(&format!("_sql._tcp.{name}")).services;
        assert_eq!(srv[0], (3306, format!("db-0.{name}")));
    }

    #[test]
    fn pods_aliases_and_what_is_not_there() {
        assert_eq!(found("10-244-0-3.n.pod.cluster.local").addresses, [Ipv4Addr::new(10, 244, 0, 3)]);
        assert_eq!(found("out.n.svc.cluster.local").alias.as_deref(), Some("example.com"));
        assert_eq!(lookup(&catalog(), "nothing.n.svc.cluster.local"), Lookup::Missing);
        assert_eq!(lookup(&catalog(), "example.com.n.svc.cluster.local"), Lookup::Missing);
        assert_eq!(lookup(&catalog(), "example.com"), Lookup::Foreign);
        assert_eq!(lookup(&catalog(), "notcluster.local"), Lookup::Foreign);
    }

    #[test]
    fn addresses_have_names() {
        let catalog = catalog();
        let name = reverse(&catalog, Ipv4Addr::new(10, 244, 0, 7));
        assert_eq!(name.as_deref(), Some("db-0.db.n.svc.cluster.local"));
        let name = reverse(&catalog, Ipv4Addr::new(10, 96, 0, 1));
        assert_eq!(name.as_deref(), Some("kubernetes.default.svc.cluster.local"));
    }
}
