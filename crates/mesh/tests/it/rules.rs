//! Which rule counts, and for whom.

use lateen_mesh::{Labels, Mesh, Scope, ServiceId, World};

use crate::kit::{WEB, put};

const HOST: &str = "web.default.svc.cluster.local";

fn web() -> ServiceId {
    ServiceId { host: HOST.into(), namespace: "default".into() }
}

fn rule(namespace: &str, name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{host: '{host}'}}\n"
    )
}

fn looked_up(mesh: &Mesh, client: &str) -> Option<String> {
    let rule = mesh.destination_rules.lookup(client, &Labels::new(), &web());
    rule.map(|r| format!("{}/{}", r.meta.namespace, r.meta.name))
}

#[test]
fn destination_rules_come_from_the_client_then_the_service_then_the_root() {
    let mut world = World::new();
    put(&mut world, &rule("istio-system", "root", "*.local"));
    assert_eq!(looked_up(&world.snapshot().0, "client").as_deref(), Some("istio-system/root"));
    put(&mut world, &rule("default", "service", HOST));
    assert_eq!(looked_up(&world.snapshot().0, "client").as_deref(), Some("default/service"));
    put(&mut world, &rule("client", "wide", "*.svc.cluster.local"));
    assert_eq!(looked_up(&world.snapshot().0, "client").as_deref(), Some("client/wide"));
    put(&mut world, &rule("client", "exact", HOST));
    assert_eq!(looked_up(&world.snapshot().0, "client").as_deref(), Some("client/exact"));
    assert_eq!(looked_up(&world.snapshot().0, "third").as_deref(), Some("default/service"));
}

#[test]
fn rules_of_one_namespace_for_one_host_add_up_their_subsets() {
    let mut world = World::new();
    let with = |name: &str, subset: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n\
             spec: {{host: web, subsets: [{{name: {subset}}}]}}\n"
        )
    };
    put(&mut world, &with("a", "v1"));
    put(&mut world, &with("b", "v2"));
    let (mesh, _) = world.snapshot();
    let rule = mesh.destination_rules.lookup("default", &Labels::new(), &web()).unwrap();
    let names: Vec<_> = rule.spec.subsets.iter().map(|s| s.name.as_str()).collect();
    assert_eq!((&*rule.meta.name, names), ("a", vec!["v1", "v2"]));
}

#[test]
fn rules_that_are_not_exported_are_not_seen_elsewhere() {
    let mut world = World::new();
    put(&mut world, WEB);
    put(
        &mut world,
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: private}
spec: {hosts: [web], exportTo: ['.'], http: [{route: [{destination: {host: web}}]}]}
",
    );
    let (mesh, _) = world.snapshot();
    let seen =
        |namespace: &str| Scope::new(&mesh, &namespace.into(), None, None).egress[0].virtual_services.len();
    assert_eq!((seen("default"), seen("elsewhere")), (1, 0));
}

#[test]
fn the_clients_own_namespace_wins_between_services_of_one_host() {
    let mut world = World::new();
    for namespace in ["a", "b"] {
        let entry = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: x, namespace: {namespace}}}\n\
             spec: {{hosts: [x.example.com], resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n"
        );
        put(&mut world, &entry);
    }
    let (mesh, _) = world.snapshot();
    let of = |client: &str| mesh.service_for("x.example.com", client).unwrap().id.namespace.to_string();
    assert_eq!((of("b"), of("a"), of("c")), ("b".into(), "a".into(), "a".into()));
}

#[test]
fn the_most_particular_sidecar_applies() {
    let mut world = World::new();
    put(
        &mut world,
        "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: root, namespace: istio-system}
spec: {egress: [{hosts: ['./*']}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: all}
spec: {egress: [{hosts: ['./*']}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: some}
spec: {workloadSelector: {labels: {app: web}}, egress: [{hosts: ['./*']}]}
",
    );
    let (mesh, _) = world.snapshot();
    let web: Labels = [("app".to_owned(), "web".to_owned())].into();
    let of = |namespace: &str, labels: &Labels| {
        mesh.sidecars.of_workload(namespace, labels).map(|s| s.meta.name.to_string()).unwrap()
    };
    assert_eq!(of("default", &web), "some");
    assert_eq!(of("default", &Labels::new()), "all");
    assert_eq!(of("elsewhere", &web), "root");
}

#[test]
fn delegates_give_their_rules_to_the_root() {
    let mut world = World::new();
    put(
        &mut world,
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec: {hosts: [web], http: [{match: [{uri: {prefix: /a}}], delegate: {name: part}}, {route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part}
spec: {http: [{route: [{destination: {host: other}}]}]}
",
    );
    let (mesh, _) = world.snapshot();
    let [root] = mesh.virtual_services.mesh.as_slice() else { panic!("one with hosts") };
    assert_eq!(root.spec.http.len(), 2);
    assert_eq!(root.spec.http[0].r#match.len(), 1);
    assert!(root.destinations.iter().any(|d| &**d == "other.default.svc.cluster.local"));
}
