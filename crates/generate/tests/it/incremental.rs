//! A change reaches what depends on it, and nothing else.

use lateen_generate::{Flavour, Generator};
use lateen_xds::TypeUrl;

use crate::bookinfo::{bookinfo, productpage};
use crate::kit::{Cluster0, sidecar};

fn names(list: &[std::sync::Arc<lateen_xds::Encoded>]) -> Vec<String> {
    list.iter().map(|r| r.name.to_string()).collect()
}

const RULES: &str = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {selector: {app: b}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {metadata: {labels: {app: a, version: v1}}, spec: {containers: []}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}], timeout: 1s}]}
";

fn rule(timeout: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a}}
spec: {{hosts: [a], http: [{{route: [{{destination: {{host: a}}}}], timeout: {timeout}}}]}}
"
    )
}

fn replicas(count: u32) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: more}}
spec: {{replicas: {count}, template: {{metadata: {{labels: {{app: a}}}}, spec: {{containers: []}}}}}}
"
    )
}

#[test]
fn one_rule_touches_one_virtual_host_of_lateens_proxies() {
    let mut cluster = Cluster0::new();
    cluster.apply(RULES);
    let proxy = sidecar("c-0", &[], "lateen");
    assert_eq!(proxy.flavour, Flavour::Lateen);
    let mut generator = Generator::new(cluster.mesh());
    let before = generator.resources(&proxy);
    cluster.apply(&rule("2s"));
    let (mesh, changes) = cluster.world.snapshot();
    generator.step(mesh, &changes);
    let after = generator.resources(&proxy);
    let delta = after.diff(&before);
    for type_url in TypeUrl::ALL {
        let changed: Vec<_> = delta.of(type_url).flat_map(|d| names(&d.changed)).collect();
        let expected: &[&str] = match type_url {
            TypeUrl::VirtualHost => &["80/a.default.svc.cluster.local:80"],
            _ => &[],
        };
        assert_eq!(changed, expected, "{type_url}");
        assert!(delta.of(type_url).all(|d| d.removed.is_empty()));
    }
    let shared = |list| std::sync::Arc::ptr_eq(before.shared.list(list), after.shared.list(list));
    assert!(shared(TypeUrl::Cluster) && shared(TypeUrl::Endpoints) && !shared(TypeUrl::VirtualHost));
}

#[test]
fn one_endpoint_touches_the_load_assignments_of_its_service() {
    let mut cluster = Cluster0::new();
    cluster.apply(RULES);
    let proxy = sidecar("c-0", &[], "envoy");
    let mut generator = Generator::new(cluster.mesh());
    let before = generator.resources(&proxy);
    cluster.apply(&replicas(1));
    let (mesh, changes) = cluster.world.snapshot();
    assert!(!changes.config && changes.endpoints.len() == 1, "{changes:?}");
    generator.step(mesh, &changes);
    let delta = generator.resources(&proxy).diff(&before);
    let changed: Vec<_> = delta.of(TypeUrl::Endpoints).flat_map(|d| names(&d.changed)).collect();
    assert_eq!(changed, ["outbound|80||a.default.svc.cluster.local"]);
    let others = TypeUrl::ALL.into_iter().filter(|t| *t != TypeUrl::Endpoints);
    assert!(others.into_iter().all(|t| delta.of(t).next().is_none()));
}

#[test]
fn proxies_of_a_scope_share_one_set_and_one_difference() {
    let mut cluster = Cluster0::new();
    cluster.apply(RULES);
    let mut generator = Generator::new(cluster.mesh());
    let (one, two) = (sidecar("c-0", &[("app", "c")], "lateen"), sidecar("d-0", &[("app", "d")], "lateen"));
    let before = (generator.resources(&one), generator.resources(&two));
    assert!(std::sync::Arc::ptr_eq(&before.0.shared, &before.1.shared));
    cluster.apply(&rule("3s"));
    let (mesh, changes) = cluster.world.snapshot();
    generator.step(mesh, &changes);
    let after = (generator.resources(&one), generator.resources(&two));
    let deltas = (after.0.shared.diff(&before.0.shared), after.1.shared.diff(&before.1.shared));
    assert!(std::sync::Arc::ptr_eq(&deltas.0, &deltas.1));
}

#[test]
fn what_changes_nothing_makes_no_snapshot() {
    let Some(mut cluster) = bookinfo("istio-1.0", &["destination-rule-all.yaml"]) else { return };
    let first = cluster.mesh();
    let root = crate::kit::samples("istio-1.0").expect("present").join("bookinfo/networking");
    cluster.apply_file(&root.join("destination-rule-all.yaml"));
    let (second, changes) = cluster.world.snapshot();
    assert!(changes.is_empty() && std::sync::Arc::ptr_eq(&first, &second));
}

#[test]
fn a_service_that_goes_takes_its_resources_with_it() {
    use lateen_mesh::{ConfigKey, Kind};
    let Some(mut cluster) = bookinfo("istio-1.0", &["destination-rule-all.yaml"]) else { return };
    let proxy = productpage("lateen");
    let mut generator = Generator::new(cluster.mesh());
    let before = generator.resources(&proxy);
    cluster.world.remove(&ConfigKey::new(Kind::Service, "default", "details"));
    let (mesh, changes) = cluster.world.snapshot();
    generator.step(mesh, &changes);
    let delta = generator.resources(&proxy).diff(&before);
    let removed: Vec<_> = delta.of(TypeUrl::Cluster).flat_map(|d| d.removed.clone()).collect();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert!(removed.iter().all(|name| name.contains("details")));
    assert!(delta.of(TypeUrl::Cluster).all(|d| d.changed.is_empty()));
}

/// What gateways have besides the services' clusters: those of server names, and of keys.
const EDGE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 15443, name: auto, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: istio-system}
spec: {jwtRules: [{issuer: a, jwksUri: 'https://issuer.example/keys'}]}
";

#[test]
fn a_gateway_that_is_changed_step_by_step_is_as_if_it_were_new() {
    let mut cluster = Cluster0::new();
    cluster.apply(RULES);
    let proxy = crate::kit::ingress("lateen");
    let mut generator = Generator::new(cluster.mesh());
    generator.resources(&proxy);
    cluster.apply(EDGE);
    let (mesh, changes) = cluster.world.snapshot();
    generator.step(mesh.clone(), &changes);
    let (stepped, fresh) = (generator.resources(&proxy), Generator::new(mesh).resources(&proxy));
    assert_same(&stepped, &fresh);
    let clusters: Vec<String> = stepped.iter(TypeUrl::Cluster).map(|r| r.name.to_string()).collect();
    for name in ["outbound_.80_._.a.default.svc.cluster.local", "outbound|443|jwks|issuer.example"] {
        assert!(clusters.iter().any(|c| c == name), "{name} is not among {clusters:?}");
    }
    // Endpoints come by both names.
    cluster.apply(&replicas(1));
    let (mesh, changes) = cluster.world.snapshot();
    generator.step(mesh.clone(), &changes);
    let after = generator.resources(&proxy);
    assert_same(&after, &Generator::new(mesh).resources(&proxy));
    let delta = after.diff(&stepped);
    let changed: Vec<_> = delta.of(TypeUrl::Endpoints).flat_map(|d| names(&d.changed)).collect();
    assert_eq!(
        changed,
        ["outbound_.80_._.a.default.svc.cluster.local", "outbound|80||a.default.svc.cluster.local"]
    );
}

fn assert_same(one: &lateen_generate::ProxyResources, other: &lateen_generate::ProxyResources) {
    for type_url in TypeUrl::ALL {
        let of = |r: &lateen_generate::ProxyResources| {
            r.iter(type_url).map(|r| (r.name.to_string(), r.body.clone())).collect::<Vec<_>>()
        };
        assert_eq!(of(one), of(other), "{type_url}");
    }
}
