//! `sidecar.istio.io/interceptionMode: TPROXY`: the application sees its clients' own addresses.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Mesh, User, envoy, eventually, has_program, missing_peer};

/// Two clients with sidecars, and one without.
const CLIENTS: [&str; 2] = ["one", "two"];

#[test]
fn the_application_sees_its_clients() {
    walk(User::Current);
}

#[test]
fn the_application_sees_its_clients_without_root() {
    if !nix::unistd::getuid().is_root() {
        return; // The test above was this one.
    }
    walk(User::Unprivileged);
}

/// An application that tells the address of its connection's other end, behind a sidecar of the given annotations.
fn application(name: &str, annotations: &Value) -> [Value; 2] {
    let container = json!({
        "name": "app", "image": "example/echo:1",
        "ports": [{"containerPort": 8080}, {"containerPort": 7070}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    });
    let template = json!({
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [container]},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    });
    let ports = json!([{"name": "http", "port": 8080}, {"name": "tcp", "port": 7070}]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    });
    [deployment, service]
}

fn client(name: &str, inject: &str) -> Value {
    let container = json!({"name": "curl", "image": "curlimages/curl", "command": ["sleep", "infinity"]});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"sidecar.istio.io/inject": inject}},
        "spec": {"containers": [container]},
    })
}

fn strict() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "STRICT"}},
    })
}

/// The mode from the proxy's configuration, and names resolved by the agent.
const CONFIG: &str = "interceptionMode: TPROXY\nproxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}\n";

/// The applications, and whether they see who calls them.
fn applications(envoy: Option<&Path>) -> Vec<(&'static str, bool, Value)> {
    let mode = "sidecar.istio.io/interceptionMode";
    let mut all = vec![
        ("redirected", false, json!({mode: "REDIRECT"})),
        ("transparent", true, json!({mode: "TPROXY"})),
        ("configured", true, json!({"proxy.istio.io/config": CONFIG})),
    ];
    if let Some(envoy) = envoy {
        let config = format!("proxyMetadata: {{PROXY_BINARY: {}}}", envoy.display());
        all.push(("by-envoy", true, json!({mode: "TPROXY", "proxy.istio.io/config": config})));
    }
    all
}

fn walk(user: User) {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    let envoy = envoy();
    if envoy.is_none() {
        missing_peer("envoy");
    }
    let applications = applications(envoy.as_deref());
    let mesh = Mesh::up(user, &[]);
    mesh.kubectl(&["label", "namespace", "default", "istio-injection=enabled", "--overwrite"]);
    let mut items: Vec<Value> = CLIENTS.iter().map(|name| client(name, "true")).collect();
    items.extend([client("outsider", "false"), strict()]);
    items.extend(applications.iter().flat_map(|(name, _, annotations)| application(name, annotations)));
    let file = mesh.state.join("transparent.json");
    std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).unwrap();
    mesh.apply(&file);
    for (name, ..) in &applications {
        mesh.kubectl(&["rollout", "status", &format!("deployment/{name}"), "--timeout=60s"]);
    }
    mesh.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    for (name, sees, _) in &applications {
        everyone_calls(&mesh, name, *sees);
        calls_itself(&mesh, name, *sees);
        strangers_are_refused(&mesh, name);
    }
}

fn address(mesh: &Mesh, pods: &[&str]) -> String {
    let query = ["-o", "jsonpath={.status.podIP}{.items[0].status.podIP}"];
    mesh.kubectl(&[&["get", "pod"], pods, &query].concat())
}

/// The peer's address as the application tells it.
fn seen(mesh: &Mesh, target: &[&str], url: &str) -> Result<String, String> {
    let curl = ["--", "curl", "-s", "-m", "5", url];
    let output = mesh.try_kubectl(&[&["exec"], target, &curl].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value = serde_json::from_str(&text)
        .map_err(|_| format!("{target:?} {url}: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    answer["client"].as_str().map(str::to_owned).ok_or(text)
}

fn everyone_calls(mesh: &Mesh, name: &str, sees: bool) {
    // In turns: a connection to the application that one has used is free for nobody else.
    for _ in 0..2 {
        for client in CLIENTS {
            let own = if sees { address(mesh, &[client]) } else { "127.0.0.6".to_owned() };
            for port in [8080, 7070] {
                let url = format!("http://{name}:{port}/");
                let peer = eventually(Duration::from_secs(20), || seen(mesh, &[client, "-c", "curl"], &url));
                assert_eq!(peer, own, "{client} -> {url}");
            }
        }
    }
}

/// By its service's name, which leads through the sidecar twice, and by its own address, which does not.
fn calls_itself(mesh: &Mesh, name: &str, sees: bool) {
    let target = format!("deploy/{name}");
    let target = [target.as_str(), "-c", "app"];
    let own = address(mesh, &["-l", &format!("app={name}")]);
    let peer = seen(mesh, &target, &format!("http://{name}:8080/")).unwrap();
    assert_eq!(peer, if sees { own.as_str() } else { "127.0.0.6" }, "{name} by its service");
    assert_eq!(seen(mesh, &target, &format!("http://{own}:8080/")).unwrap(), own, "{name} by its address");
    assert_eq!(seen(mesh, &target, "http://127.0.0.1:8080/").unwrap(), "127.0.0.1");
}

/// STRICT counts for captured connections, and all are captured.
fn strangers_are_refused(mesh: &Mesh, name: &str) {
    let own = address(mesh, &["-l", &format!("app={name}")]);
    for target in [name, own.as_str()] {
        let error = seen(mesh, &["outsider"], &format!("http://{target}:8080/")).unwrap_err();
        assert!(error.contains("exit code"), "{error}");
    }
}
