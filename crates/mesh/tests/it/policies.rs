//! Which policy decides for a port.

use lateen_mesh::{Labels, Mesh, Mtls, ServedBy, World};

use crate::kit::{WEB, put};

fn mesh(policies: &str) -> std::sync::Arc<Mesh> {
    let mut world = World::new();
    put(&mut world, WEB);
    put(&mut world, policies);
    world.snapshot().0
}

fn labels(app: &str) -> Labels {
    [("app".to_owned(), app.to_owned())].into()
}

fn mode(mesh: &Mesh, app: &str, port: u16) -> (Mtls, String) {
    let service = mesh.service_for("web.default.svc.cluster.local", "default").unwrap();
    let served: Vec<ServedBy<'_>> = vec![(&**service, &service.ports[0])];
    let found = mesh.policies.peer("default", &labels(app), port, &served);
    (found.mode, found.source.map(|key| key.name.to_string()).unwrap_or_default())
}

const PEERS: &str = "
kind: PeerAuthentication
metadata: {name: mesh, namespace: istio-system, creationTimestamp: '2024-01-01T00:00:00Z'}
spec: {mtls: {mode: STRICT}}
---
kind: PeerAuthentication
metadata: {name: younger, namespace: istio-system, creationTimestamp: '2024-01-02T00:00:00Z'}
spec: {mtls: {mode: DISABLE}}
---
kind: PeerAuthentication
metadata: {name: selective, namespace: istio-system}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: DISABLE}}
---
kind: PeerAuthentication
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  mtls: {mode: UNSET}
  portLevelMtls: {'8080': {mode: DISABLE}, '9090': {mode: UNSET}}
";

#[test]
fn the_narrowest_policy_that_says_something_decides_and_of_equals_the_oldest() {
    let mesh = mesh(PEERS);
    assert_eq!(mode(&mesh, "web", 8080), (Mtls::Disable, "web".into()));
    assert_eq!(mode(&mesh, "web", 9090), (Mtls::Strict, "mesh".into()));
    assert_eq!(mode(&mesh, "web", 1), (Mtls::Strict, "mesh".into()));
    assert_eq!(mode(&mesh, "other", 8080), (Mtls::Strict, "mesh".into()));
}

#[test]
fn without_policies_both_are_accepted() {
    assert_eq!(
        mode(&mesh("kind: Sidecar\nmetadata: {name: x}\nspec: {}"), "web", 80),
        (Mtls::Permissive, String::new())
    );
}

#[test]
fn old_policies_name_services_and_ports() {
    let mesh = mesh(
        "
kind: MeshPolicy
metadata: {name: default, namespace: ''}
spec: {peers: [{mtls: {}}]}
---
kind: Policy
metadata: {name: web}
spec: {targets: [{name: web, ports: [{name: http}]}], peers: [{mtls: {mode: PERMISSIVE}}]}
---
kind: Policy
metadata: {name: plain, namespace: other}
spec: {}
",
    );
    assert_eq!(mode(&mesh, "web", 8080), (Mtls::Permissive, "web".into()));
    let found = |namespace: &str| mesh.policies.peer(namespace, &labels("x"), 80, &[]).mode;
    assert_eq!((found("third"), found("other")), (Mtls::Strict, Mtls::Disable));
}

#[test]
fn endpoints_keep_their_accounts_when_they_go_and_policies_change_what_they_take() {
    let mut world = World::new();
    put(&mut world, WEB);
    let service =
        |mesh: &Mesh| mesh.service_for("web.default.svc.cluster.local", "default").unwrap().id.clone();
    let (mesh, _) = world.snapshot();
    let before = mesh.endpoints(&service(&mesh)).clone();
    assert_eq!(before.accounts.iter().map(|a| &**a).collect::<Vec<_>>(), ["ns/default/sa/default"]);
    assert!(!before.of_port(80)[0].mtls, "no label says so");
    let slice = lateen_mesh::ConfigKey::new(lateen_mesh::Kind::EndpointSlice, "default", "web-x");
    world.remove(&slice);
    let (mesh, _) = world.snapshot();
    let after = mesh.endpoints(&service(&mesh));
    assert!(after.of_port(80).is_empty() && after.accounts == before.accounts);
}
