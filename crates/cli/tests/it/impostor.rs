//! Attacks on the control plane from a pod: each is refused, and seen in its log and its metrics.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, SanType};

use crate::harness::{Mesh, User, eventually, has_program, missing_peer};

const MANIFEST: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: teller, namespace: branch}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: teller, namespace: branch}
spec:
  selector: {matchLabels: {app: teller}}
  template:
    metadata: {labels: {app: teller, sidecar.istio.io/inject: 'true'}}
    spec:
      serviceAccountName: teller
      containers: [{name: teller, image: curlimages/curl, command: [sleep, infinity]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: outsider, namespace: branch}
spec:
  selector: {matchLabels: {app: outsider}}
  template:
    metadata: {labels: {app: outsider, sidecar.istio.io/inject: 'false'}}
    spec:
      containers: [{name: outsider, image: curlimages/curl, command: [sleep, infinity]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: vault, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: vault}
    hosts: [vault.example]
";

const CREATE: &str = "istio.v1.auth.IstioCertificateService/CreateCertificate";
const ADS: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SECURE: &str = "https://istiod.istio-system.svc:15012";
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

#[test]
fn impostors_get_nothing_of_the_control_plane_and_are_seen() {
    for program in ["kubectl", "curl", "openssl"] {
        if !has_program(program) {
            return missing_peer(program);
        }
    }
    let branch = Branch::open();
    let slow = branch.unfinished_handshake();
    branch.the_authority_gives_everyone_their_own_certificate_only();
    branch.streams_are_for_the_workload_that_they_name();
    branch.secrets_stay_in_their_namespace();
    branch.debug_pages_are_not_for_strangers();
    branch.strangers_fail_the_handshake();
    branch.ends(slow);
}

/// A namespace with a workload of the mesh and a pod without a sidecar, from which the attacks come.
struct Branch {
    mesh: Mesh,
    roots: String,
}

impl Branch {
    fn open() -> Branch {
        let mesh = Mesh::up(User::Current, &[]);
        mesh.kubectl(&["create", "namespace", "branch"]);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["vault.example".to_owned()]).unwrap();
        for (name, text) in
            [("tls.key", key.serialize_pem()), ("tls.crt", params.self_signed(&key).unwrap().pem())]
        {
            fs::write(mesh.state.join(name), text).unwrap();
        }
        let file = |name: &str| mesh.state.join(name).display().to_string();
        let (cert, key) = (format!("--cert={}", file("tls.crt")), format!("--key={}", file("tls.key")));
        mesh.kubectl(&["-n", "istio-system", "create", "secret", "tls", "vault", &cert, &key]);
        fs::write(mesh.state.join("branch.yaml"), MANIFEST).unwrap();
        mesh.apply(&mesh.state.join("branch.yaml"));
        for deployment in ["teller", "outsider"] {
            let deployment = format!("deployment/{deployment}");
            mesh.kubectl(&["-n", "branch", "rollout", "status", &deployment, "--timeout=60s"]);
        }
        let path = "jsonpath={.data.root-cert\\.pem}";
        let roots = mesh.kubectl(&["-n", "branch", "get", "configmap", "istio-ca-root-cert", "-o", path]);
        Branch { mesh, roots }
    }

    /// What a shell line says in the pod without a sidecar.
    fn shell(&self, line: &str) -> String {
        let arguments =
            ["-n", "branch", "exec", "deploy/outsider", "-c", "outsider", "--", "bash", "-c", line];
        let output = self.mesh.try_kubectl(&arguments);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// A gRPC call from there: headers, trailers and answer, as curl shows them.
    fn call(&self, base: &str, method: &str, token: Option<&str>, message: &[u8]) -> String {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body = STANDARD.encode([&[0], &length[..], message].concat());
        let roots = STANDARD.encode(&self.roots);
        let token = token.map_or_else(String::new, |token| format!("-H 'authorization: Bearer {token}'"));
        let version = if base.starts_with("https") { "--http2" } else { "--http2-prior-knowledge" };
        self.shell(&format!(
            "echo {roots} | base64 -d >/tmp/roots.pem; echo {body} | base64 -d | curl -sS -m 10 {version} --cacert /tmp/roots.pem \
             -H 'content-type: application/grpc' -H 'te: trailers' {token} --data-binary @- -D - --output - {base}/{method} \
             | tr -d '\\000' | cut -c1-4000"
        ))
    }

    fn token(&self, account: &str, audience: &str) -> String {
        let audience = format!("--audience={audience}");
        self.mesh.kubectl(&["-n", "branch", "create", "token", account, &audience]).trim().to_owned()
    }

    /// A counter of the control plane; `labels` as they are written.
    fn counter(&self, name: &str) -> u64 {
        let url = "http://127.0.0.1:15014/metrics";
        let arguments =
            ["-n", "istio-system", "exec", "deploy/istiod", "-c", "discovery", "--", "curl", "-s", url];
        let text = self.mesh.kubectl(&arguments);
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
    }

    fn logged(&self, part: &str) -> usize {
        let log = self.mesh.kubectl(&["-n", "istio-system", "logs", "deploy/istiod", "--tail=-1"]);
        log.lines().filter(|line| line.contains(part)).count()
    }

    /// What the control plane refuses is counted and logged.
    fn seen(&self, counter: &str, line: &str, attack: impl FnOnce()) {
        let before = (self.counter(counter), self.logged(line));
        attack();
        eventually(Duration::from_secs(5), || {
            let now = (self.counter(counter), self.logged(line));
            if now.0 > before.0 && now.1 > before.1 {
                Ok(())
            } else {
                Err(format!("{counter}, {line:?}: {before:?}, {now:?}"))
            }
        });
    }

    fn the_authority_gives_everyone_their_own_certificate_only(&self) {
        let (own, admin) =
            ("spiffe://cluster.local/ns/branch/sa/teller", "spiffe://cluster.local/ns/branch/sa/admin");
        let good = self.token("teller", "istio-ca");
        let answer = self.call(SECURE, CREATE, Some(&good), &certificate_request(Some(own)));
        assert!(answer.contains("BEGIN CERTIFICATE"), "the attack itself must work for the honest: {answer}");

        let failures = "citadel_server_authentication_failure_count ";
        for audience in ["https://kubernetes.default.svc.cluster.local", "vault", "istio-ca2"] {
            let replayed = self.token("teller", audience);
            self.seen(failures, "certificate refused: the caller is not known", || {
                let answer = self.call(SECURE, CREATE, Some(&replayed), &certificate_request(Some(own)));
                assert!(answer.contains("grpc-status: 16"), "{audience}: {answer}");
            });
        }
        for other in [
            admin,
            "spiffe://cluster.local/ns/istio-system/sa/istiod",
            "spiffe://evil.example/ns/branch/sa/teller",
        ] {
            let errors = "citadel_server_id_extraction_err_count ";
            self.seen(errors, "the CSR names another workload", || {
                let answer = self.call(SECURE, CREATE, Some(&good), &certificate_request(Some(other)));
                assert!(answer.contains("grpc-status: 7"), "{other}: {answer}");
                assert!(!answer.contains("BEGIN CERTIFICATE"), "{other}: {answer}");
            });
        }
    }

    fn streams_are_for_the_workload_that_they_name(&self) {
        let own = "sidecar~10.244.9.9~teller-1.branch~branch.svc.cluster.local";
        let replayed = self.token("teller", "vault");
        for token in [None, Some(replayed.as_str())] {
            let unknown = "lateen_refusals_total{what=\"xds\",reason=\"unauthenticated\"} ";
            self.seen(unknown, "xDS stream refused: the caller is not known", || {
                let answer = self.call(SECURE, ADS, token, &stream_request(own, "teller", &[]));
                assert!(answer.contains("grpc-status: 16"), "{answer}");
            });
        }
        let good = self.token("teller", "istio-ca");
        for (node, account) in [
            // Another account of the namespace, another namespace, the ingress gateway itself.
            (own, "admin"),
            ("sidecar~10.244.9.9~teller-1.bank~bank.svc.cluster.local", "teller"),
            (
                "router~10.244.9.9~istio-ingressgateway-1.istio-system~istio-system.svc.cluster.local",
                "istio-ingressgateway",
            ),
        ] {
            let identity = "lateen_refusals_total{what=\"xds\",reason=\"identity\"} ";
            self.seen(identity, "the caller is not the workload that its node describes", || {
                let message = stream_request(node, account, &["kubernetes://vault"]);
                let answer = self.call(SECURE, ADS, Some(&good), &message);
                assert!(answer.contains("grpc-status: 7"), "{node}: {answer}");
            });
        }
    }

    fn secrets_stay_in_their_namespace(&self) {
        let good = self.token("teller", "istio-ca");
        // A gateway of one's own namespace with the labels of another's would have them, too: what counts is the namespace.
        let gateway = "router~10.244.9.9~teller-1.branch~branch.svc.cluster.local";
        let ask = |name: &str| stream_request(gateway, "teller", &[name]);
        let errors = "pilot_sds_certificate_errors_total ";
        for name in
            ["kubernetes://vault", "kubernetes://istio-system/vault", "kubernetes://../istio-system/vault"]
        {
            self.seen(errors, "secret withheld from a proxy", || {
                let answer = self.call(SECURE, ADS, Some(&good), &ask(name));
                assert!(!answer.contains("PRIVATE KEY"), "{name}: {answer}");
            });
        }
        let gateway = "router~10.244.9.9~istio-ingressgateway-1.istio-system~istio-system.svc.cluster.local";
        let message = stream_request(gateway, "istio-ingressgateway", &["kubernetes://vault"]);
        self.seen(errors, "the stream proved no identity", || {
            let answer = self.call("http://istiod.istio-system.svc:15010", ADS, None, &message);
            assert!(!answer.contains("PRIVATE KEY"), "{answer}");
        });
    }

    fn debug_pages_are_not_for_strangers(&self) {
        let get = |token: Option<&str>, page: &str| {
            let token = token.map_or_else(String::new, |token| format!("-H 'authorization: Bearer {token}'"));
            let url = format!("http://istiod.istio-system.svc:15014{page}");
            self.shell(&format!("curl -s -m 5 {token} -o /dev/null -w '%{{http_code}}' '{url}'"))
        };
        let line = "debug page refused";
        let (unknown, namespace) = (
            "lateen_refusals_total{what=\"debug\",reason=\"unauthenticated\"} ",
            "lateen_refusals_total{what=\"debug\",reason=\"namespace\"} ",
        );
        let replayed = self.token("teller", "vault");
        for token in [None, Some(replayed.as_str())] {
            self.seen(unknown, line, || assert_eq!(get(token, "/debug/syncz"), "401"));
        }
        let name = |namespace: &str, app: &str| {
            let (selector, path) = (format!("app={app}"), "jsonpath={.items[0].metadata.name}");
            self.mesh.kubectl(&["-n", namespace, "get", "pods", "-l", &selector, "-o", path])
        };
        let good = self.token("teller", "istio-ca");
        let gateway = name("istio-system", "istio-ingressgateway");
        for page in ["/debug/syncz", &format!("/debug/config_dump?proxyID={gateway}.istio-system")] {
            self.seen(namespace, line, || assert_eq!(get(Some(&good), page), "403", "{page}"));
        }
        let own = format!("/debug/config_dump?proxyID={}.branch", name("branch", "teller"));
        assert_eq!(get(Some(&good), &own), "200", "{own}");
        assert_eq!(get(None, "/metrics"), "200");
        let status = self.mesh.lateen(&["proxy-status"]);
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    }

    /// Plain text, and a certificate of somebody else.
    fn strangers_fail_the_handshake(&self) {
        let stranger = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x \
                        -addext subjectAltName=URI:spiffe://cluster.local/ns/branch/sa/teller \
                        -keyout /tmp/x.key -out /tmp/x.pem 2>/dev/null; \
                        curl -sk -m 5 --http2 --cert /tmp/x.pem --key /tmp/x.key";
        for client in ["curl -s -m 5", stranger] {
            let scheme = if client == stranger { "https" } else { "http" };
            self.seen(HANDSHAKE, "TLS handshake failed", || {
                let line = format!("{client} {scheme}://istiod.istio-system.svc:15012/ || echo refused");
                let said = self.shell(&line);
                assert!(said.contains("refused"), "{said}");
            });
        }
    }

    /// Half a ClientHello, and then nothing.
    fn unfinished_handshake(&self) -> (Child, Instant) {
        let line = "exec 3<>/dev/tcp/istiod.istio-system.svc/15012; \
                    printf '\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03' >&3; timeout 60 cat <&3";
        let child = Command::new("kubectl")
            .args(["-n", "branch", "exec", "deploy/outsider", "-c", "outsider", "--", "bash", "-c", line])
            .env("KUBECONFIG", self.mesh.kubeconfig())
            .stdout(Stdio::null())
            .spawn();
        (child.unwrap(), Instant::now())
    }

    fn ends(&self, (mut slow, since): (Child, Instant)) {
        eventually(Duration::from_secs(30), || match slow.try_wait() {
            Ok(Some(status)) if status.success() => Ok(()),
            other => Err(format!("{other:?} after {:?}", since.elapsed())),
        });
        assert!(self.counter(HANDSHAKE) >= 3);
        assert!(self.logged("it took too long") >= 1);
    }
}

const HANDSHAKE: &str = "lateen_refusals_total{what=\"handshake\",reason=\"tls\"} ";

/// A field of a protobuf message that has a length: text, bytes or a message.
fn field(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// `IstioCertificateRequest` with a CSR in that name.
fn certificate_request(identity: Option<&str>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        identity.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap())).collect();
    let key = KeyPair::generate().unwrap();
    field(1, params.serialize_request(&key).unwrap().pem().unwrap())
}

/// `DeltaDiscoveryRequest` of a node for Secrets.
fn stream_request(node: &str, account: &str, names: &[&str]) -> Vec<u8> {
    let entry = [field(1, "SERVICE_ACCOUNT"), field(2, field(3, account))].concat();
    let node = [field(1, node), field(3, field(1, entry))].concat();
    let mut request = [field(1, node), field(2, SECRET)].concat();
    names.iter().for_each(|name| request.extend(field(3, name)));
    request
}
