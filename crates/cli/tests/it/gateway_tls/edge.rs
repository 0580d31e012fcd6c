//! A mesh with an application behind the ingress gateway, and clients outside of it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Mesh, User, eventually};
use crate::pki::{Authority, Pair, write};

/// The application, what passes TLS through to, and the routes of every host.
const APPLICATIONS: &str = "
apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec:
  selector: {app: httpbin}
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin}
spec:
  selector: {matchLabels: {app: httpbin}}
  template:
    metadata: {labels: {app: httpbin}}
    spec:
      containers: [{name: httpbin, image: docker.io/mccutchen/go-httpbin:v2.15.0, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: own-tls}
spec:
  selector: {app: own-tls}
  ports: [{name: tls, port: 443, targetPort: 8443}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: own-tls}
spec:
  selector: {matchLabels: {app: own-tls}}
  template:
    metadata: {labels: {app: own-tls}}
    spec:
      containers:
      - name: own-tls
        image: curlimages/curl
        command: [openssl, s_server, -accept, '8443', -www, -cert, /tls/tls.crt, -key, /tls/tls.key]
        volumeMounts: [{name: tls, mountPath: /tls}]
      volumes: [{name: tls, secret: {secretName: own-tls}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: outsider}
spec:
  selector: {matchLabels: {app: outsider}}
  template:
    metadata: {labels: {app: outsider, sidecar.istio.io/inject: 'false'}}
    spec:
      containers:
      - name: outsider
        image: curlimages/curl
        command: [sleep, infinity]
        volumeMounts: [{name: forged, mountPath: /forged}]
      volumes: [{name: forged, secret: {secretName: forged}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: everything}
spec:
  hosts: ['*.example']
  gateways: [edge]
  http: [{route: [{destination: {host: httpbin, port: {number: 8000}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own-tls}
spec:
  hosts: [pass.example]
  gateways: [edge]
  tls: [{match: [{port: 443, sniHosts: [pass.example]}], route: [{destination: {host: own-tls, port: {number: 443}}}]}]
";

/// A server of the Gateway `edge` on port 443.
pub fn server(name: &str, protocol: &str, tls: &str) -> String {
    format!(
        "  - port: {{number: 443, name: {name}, protocol: {protocol}}}\n    hosts: [{name}.example]\n    tls: {tls}\n"
    )
}

pub struct Edge {
    pub mesh: Mesh,
    pub folder: PathBuf,
    pub authority: Authority,
    port: String,
    plain: String,
}

impl Edge {
    /// Brings everything up, with no Gateway yet.
    pub fn up(arguments: &[&str]) -> Edge {
        let mesh = Mesh::up(User::Current, arguments);
        let folder = mesh.state.join("pki");
        let authority = Authority::new("the world's authority");
        write(&folder, "world.pem", &authority.pem);
        let node_port = |port: u16| {
            let path = format!("jsonpath={{.spec.ports[?(@.port=={port})].nodePort}}");
            mesh.kubectl(&["-n", "istio-system", "get", "service", "istio-ingressgateway", "-o", &path])
        };
        let (port, plain) = (node_port(443), node_port(80));
        let mut edge = Edge { mesh, folder, authority, port, plain };
        let own = edge.authority.issue(crate::pki::Key::Ecdsa, &["pass.example"]);
        edge.tls_secret("default", "own-tls", &own);
        crate::forged::Forger::new(&edge.mesh).write(&edge.folder.join("forged"));
        let from = format!("--from-file={}", edge.folder.join("forged").display());
        edge.mesh.kubectl(&["create", "secret", "generic", "forged", &from]);
        edge.mesh.kubectl(&["label", "namespace", "default", "istio-injection=enabled", "--overwrite"]);
        edge.apply(APPLICATIONS);
        edge.mesh.kubectl(&["wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s"]);
        edge
    }

    pub fn apply(&self, text: &str) {
        self.mesh.apply(&write(&self.folder, "manifest.yaml", text));
    }

    /// The Gateway with these servers.
    pub fn gateway(&self, servers: &[String]) {
        let head = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n  \
                    selector: {istio: ingressgateway}\n  servers:\n";
        self.apply(&format!("{head}{}", servers.concat()));
    }

    /// A Secret of type `kubernetes.io/tls`, new or in the place of another.
    pub fn tls_secret(&self, namespace: &str, name: &str, pair: &Pair) {
        self.secret(namespace, name, &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)]);
    }

    /// A Secret; one with `tls.crt` is of the type for it.
    pub fn secret(&self, namespace: &str, name: &str, data: &[(&str, &str)]) {
        let kind = if data.iter().any(|(key, _)| *key == "tls.crt") { "kubernetes.io/tls" } else { "Opaque" };
        let data: serde_json::Map<_, _> =
            data.iter().map(|(key, text)| ((*key).to_owned(), (*text).into())).collect();
        let object = serde_json::json!({ "apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": { "name": name, "namespace": namespace }, "stringData": data });
        self.apply(&object.to_string());
    }

    /// A pair's files.
    pub fn files(&self, name: &str, pair: &Pair) -> (String, String) {
        let put = |ending: &str, text: &str| {
            write(&self.folder, &format!("{name}.{ending}"), text).to_str().unwrap().to_owned()
        };
        (put("crt", &pair.certificate), put("key", &pair.key))
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// What curl says of `https://HOST/PATH`: head and body, or why there is none.
    pub fn curl(&self, host: &str, path: &str, more: &[&str]) -> Result<String, String> {
        let to = format!("{host}:443:127.0.0.1:{}", self.port);
        let url = format!("https://{host}{path}");
        let roots = self.path("world.pem");
        self.run_curl(&[&["--cacert", &roots, "--connect-to", &to, &url], more].concat())
    }

    /// The same over plain HTTP.
    pub fn curl_plain(&self, host: &str, path: &str) -> Result<String, String> {
        let to = format!("{host}:80:127.0.0.1:{}", self.plain);
        self.run_curl(&["--connect-to", &to, &format!("http://{host}{path}")])
    }

    fn run_curl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("curl")
            .args(["-s", "-S", "-i", "--max-time", "5"])
            .args(arguments)
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Waits until a host answers with this in it.
    pub fn serves(&self, host: &str, path: &str, more: &[&str], part: &str) -> String {
        eventually(Duration::from_secs(20), || match self.curl(host, path, more) {
            Ok(text) if text.contains(part) => Ok(text),
            other => Err(format!("{host}{path}, not {part:?}: {other:?}")),
        })
    }

    /// What `openssl s_client` says of a host, after one request.
    pub fn s_client(&self, host: &str, more: &[&str]) -> String {
        let address = format!("127.0.0.1:{}", self.port);
        let mut child = Command::new("timeout")
            .args(["10", "openssl", "s_client", "-connect", &address, "-servername", host, "-ign_eof"])
            .args(["-CAfile", &self.path("world.pem")])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let request = format!("GET /status/200 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut input = child.stdin.take().unwrap();
        // The peer may be gone already when the handshake failed.
        let _ = input.write_all(request.as_bytes());
        let output = child.wait_with_output().unwrap();
        drop(input);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// The same from a pod outside of the mesh to the gateway's pod, with a certificate of the mesh.
    pub fn mesh_client(&self, port: u16, server_name: &str, more: &str) -> String {
        let ip = self.mesh.kubectl(&[
            "-n",
            "istio-system",
            "get",
            "pods",
            "-l",
            "istio=ingressgateway",
            "-o",
            "jsonpath={.items[0].status.podIP}",
        ]);
        let line = format!(
            "printf 'GET /status/200 HTTP/1.1\\r\\nHost: mesh.example\\r\\nConnection: close\\r\\n\\r\\n' | timeout 5 \
             openssl s_client -connect {ip}:{port} -servername {server_name} -ign_eof {more} 2>&1; true"
        );
        self.mesh.kubectl(&["exec", "deploy/outsider", "--", "bash", "-c", &line])
    }
}
