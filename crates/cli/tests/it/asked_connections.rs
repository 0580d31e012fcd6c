//! Connections that are no HTTP, and whose policy asks others: by gRPC alone, as far as the rules reach.

use std::fmt::Write;
use std::time::Duration;

use crate::harness::{Mesh, eventually};

/// What asks for connections, beside the judges that work.
pub const PROVIDERS: &str = "
- name: dead-open
  envoyExtAuthzGrpc: {service: judge.default.svc.cluster.local, port: 9001, failOpen: true}
- name: dead-closed
  envoyExtAuthzGrpc: {service: judge.default.svc.cluster.local, port: 9001}
";

const ECHO: &str = "
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports:
  - {name: tcp-asked, port: 7000}
  - {name: tcp-open, port: 7001}
  - {name: tcp-closed, port: 7002}
  - {name: tcp-http, port: 7003}
  - {name: tcp-nobody, port: 7004}
  - {name: tcp-free, port: 7005}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec: {containers: [{name: echo, image: example.com/judge}]}
";

/// Each port, the provider of its policy, and what a friend and a stranger get.
const CASES: [(u16, &str, [bool; 2]); 6] = [
    (7000, "by-grpc", [true, false]),
    (7001, "dead-open", [true, true]),
    (7002, "dead-closed", [false, false]),
    // Over HTTP nobody can be asked for a connection.
    (7003, "by-http", [false, false]),
    // A provider that MeshConfig does not have.
    (7004, "nobody", [false, false]),
    (7005, "", [true, true]),
];

const CALLERS: [&str; 2] = ["friend", "stranger"];

fn caller(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}}}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec: {{serviceAccountName: {name}, containers: [{{name: curl, image: curlimages/curl, command: [sleep, '3600']}}]}}\n---\n"
    )
}

/// CUSTOM by the port. A field of HTTP says nothing of a connection, and must not keep a rule from applying.
fn policies() -> String {
    CASES.iter().filter(|(_, provider, _)| !provider.is_empty()).fold(String::new(), |mut all, (port, provider, _)| {
        write!(
            all,
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: connections-{provider}}}\nspec:\n  \
             selector: {{matchLabels: {{app: echo}}}}\n  action: CUSTOM\n  provider: {{name: {provider}}}\n  \
             rules: [{{to: [{{operation: {{ports: ['{port}'], paths: [/private]}}}}]}}]\n---\n"
        )
        .unwrap();
        all
    })
}

/// Whether what a pod says to a port comes back.
fn echoes(mesh: &Mesh, caller: &str, port: u16) -> bool {
    let line = format!("exec 3<>/dev/tcp/echo/{port}; echo ping >&3; timeout 5 head -n1 <&3");
    let deployment = format!("deploy/{caller}");
    let said = mesh.try_kubectl(&["exec", &deployment, "-c", "curl", "--", "bash", "-c", &line]);
    String::from_utf8_lossy(&said.stdout).trim() == "ping"
}

fn expect(mesh: &Mesh) -> Result<(), String> {
    for (port, provider, wanted) in CASES {
        let got = CALLERS.map(|caller| echoes(mesh, caller, port));
        if got != wanted {
            return Err(format!("{CALLERS:?} at {port} ({provider:?}): {got:?}, not {wanted:?}"));
        }
    }
    Ok(())
}

/// How often the proxy of the server heard this from its judges.
fn verdicts(mesh: &Mesh, verdict: &str) -> u64 {
    let page =
        ["exec", "deploy/echo", "-c", "istio-proxy", "--", "curl", "-s", "http://127.0.0.1:15000/stats"];
    let stats = mesh.kubectl(&page);
    let lines = stats.lines().filter_map(|line| line.strip_prefix("ext_authz.")?.split_once(": "));
    let found = lines.filter(|(name, _)| name.rsplit('.').next() == Some(verdict));
    found.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}

/// Asks for connections to a server of plain TCP.
pub fn are_asked_for(mesh: &Mesh, apply: impl Fn(&Mesh, &str)) {
    let callers: String = CALLERS.map(caller).concat();
    apply(mesh, &format!("{callers}{ECHO}"));
    mesh.kubectl(&["wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s"]);
    eventually(Duration::from_secs(20), || match echoes(mesh, "friend", 7000) {
        true => Ok(()),
        false => Err("no echo".to_owned()),
    });
    apply(mesh, &policies());
    eventually(Duration::from_secs(20), || expect(mesh));
    for verdict in ["ok", "denied", "error", "failure_mode_allowed", "cx_closed"] {
        assert!(verdicts(mesh, verdict) > 0, "nobody counted {verdict}");
    }
}
