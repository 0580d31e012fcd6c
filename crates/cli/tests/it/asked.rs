//! Policies that ask others: external authorization by gRPC and HTTP, keys from an HTTPS server, issuers that are found by
//! discovery. What becomes of requests when those are slow, gone, or talk nonsense.

use std::fs;
use std::time::Duration;

use lateen_testkit::http::{self, Answer};
use serde_json::json;

use crate::asked_connections;
use crate::harness::{Mesh, User, envoy, eventually, has_program, missing_peer};
use crate::judges;
use crate::pki::{Authority, Key};
use crate::tokens::{ISSUER, Issuer};

/// The issuer that says itself where its keys are.
const DISCOVERED: &str = "http://judge.default.svc.cluster.local:8080";

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
metadata: {name: judge}
spec:
  selector: {app: judge}
  ports:
  - {name: http, port: 8000}
  - {name: http-dead, port: 8001}
  - {name: http-keys, port: 8080}
  - {name: grpc, port: 9000}
  - {name: grpc-dead, port: 9001}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: judge}
spec:
  selector: {matchLabels: {app: judge}}
  template:
    metadata: {labels: {app: judge}}
    spec:
      containers: [{name: judge, image: example.com/judge, volumeMounts: [{name: keys, mountPath: /keys}]}]
      volumes: [{name: keys, secret: {secretName: keys}}]
---
apiVersion: v1
kind: Service
metadata: {name: keys}
spec:
  selector: {app: keys}
  ports: [{name: https, port: 8443}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: keys}
spec:
  selector: {matchLabels: {app: keys}}
  template:
    metadata: {labels: {app: keys}}
    spec:
      containers:
      - name: keys
        image: curlimages/curl
        command: [bash, -c, 'cd /keys && exec openssl s_server -accept 8443 -WWW -cert tls.crt -key tls.key']
        volumeMounts: [{name: keys, mountPath: /keys}]
      volumes: [{name: keys, secret: {secretName: keys}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: keys}
spec:
  host: keys.default.svc.cluster.local
  trafficPolicy: {tls: {mode: SIMPLE, credentialName: world, sni: keys.example, subjectAltNames: [keys.example]}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: ['*']
  gateways: [edge]
  http: [{route: [{destination: {host: httpbin, port: {number: 8000}}}]}]
";

const PROVIDERS: &str = "
extensionProviders:
- name: by-grpc
  envoyExtAuthzGrpc:
    service: judge.default.svc.cluster.local
    port: 9000
    timeout: 1s
    includeRequestBodyInCheck: {maxRequestBytes: 8, allowPartialMessage: true}
- name: by-http
  envoyExtAuthzHttp:
    service: default/judge.default.svc.cluster.local
    port: 8000
    timeout: 1s
    pathPrefix: /check
    includeRequestHeadersInCheck: [x-ext-authz]
    includeAdditionalHeadersInCheck: {x-added: told}
    includeRequestBodyInCheck: {maxRequestBytes: 8, allowPartialMessage: false}
    headersToUpstreamOnAllow: [x-checked]
    headersToDownstreamOnDeny: [x-why]
- name: fails-open
  envoyExtAuthzHttp: {service: judge.default.svc.cluster.local, port: 8001, failOpen: true}
- name: fails-closed
  envoyExtAuthzHttp: {service: judge.default.svc.cluster.local, port: 8001, statusOnError: '503'}
";

#[test]
fn policies_ask_others_and_are_safe_when_these_fail() {
    ask_others(&[]);
}

#[test]
fn envoys_ask_others_and_are_safe_when_these_fail() {
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    ask_others(&["--proxy", &format!("envoy={}", envoy.display())]);
}

fn ask_others(arguments: &[&str]) {
    for program in ["kubectl", "openssl"] {
        if !has_program(program) {
            return missing_peer(program);
        }
    }
    let image = format!("example.com/judge={}", judges::command());
    let mesh = Mesh::up(User::Current, &[&["--image", &image], arguments].concat());
    let issuer = Issuer::new();
    deploy(&mesh, &issuer);
    authorizers_decide(&mesh);
    authorizers_that_fail(&mesh);
    asked_connections::are_asked_for(&mesh, apply);
    keys_come_over_https(&mesh, &issuer);
    keys_are_found_by_discovery(&mesh, &issuer);
    keys_stay_while_their_server_is_gone(&mesh, &issuer);
    without_keys_no_token_is_good(&mesh, &issuer);
}

fn apply(mesh: &Mesh, text: &str) {
    let file = mesh.state.join("asked.yaml");
    fs::write(&file, text).unwrap();
    mesh.apply(&file);
}

fn deploy(mesh: &Mesh, issuer: &Issuer) {
    let mut authority = Authority::new("the world's authority");
    let pair = authority.issue(Key::Ecdsa, &["keys.example"]);
    let document = json!({"issuer": DISCOVERED, "jwks_uri": format!("{DISCOVERED}/jwks")}).to_string();
    let secret = |name: &str, data: serde_json::Value| {
        let object =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        apply(mesh, &object.to_string());
    };
    secret("world", json!({ "cacert": authority.pem }));
    let keys = json!({ "tls.crt": pair.certificate, "tls.key": pair.key, "jwks": issuer.jwks(),
        "openid-configuration": document });
    secret("keys", keys);
    let before =
        mesh.kubectl(&["-n", "istio-system", "get", "configmap", "istio", "-o", "jsonpath={.data.mesh}"]);
    assert!(!before.contains("extensionProviders"), "{before}");
    let after = [before.trim_end(), PROVIDERS, asked_connections::PROVIDERS.trim_start()];
    let patch = json!({ "data": { "mesh": format!("{}\n{}{}", after[0], after[1].trim_start(), after[2]) } })
        .to_string();
    mesh.kubectl(&["-n", "istio-system", "patch", "configmap", "istio", "--type=merge", "-p", &patch]);
    mesh.kubectl(&["label", "namespace", "default", "istio-injection=enabled", "--overwrite"]);
    apply(mesh, APPLICATIONS);
    available(mesh);
    eventually(Duration::from_secs(20), || expect(ask(mesh, "GET", "/anything", &[], "")?, 200));
}

fn available(mesh: &Mesh) {
    mesh.kubectl(&["wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s"]);
}

fn ask(mesh: &Mesh, method: &str, path: &str, headers: &[&str], body: &str) -> Result<Answer, String> {
    http::request(method, &mesh.gateway, path, headers, body).map_err(|error| error.to_string())
}

fn expect(answer: Answer, status: u16) -> Result<Answer, String> {
    if answer.status == status { Ok(answer) } else { Err(format!("not {status}: {answer:?}")) }
}

/// CUSTOM for the paths below `/anything/NAME`, by the provider of that name.
fn custom(names: &[&str]) -> String {
    let one = |name: &&str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             selector: {{matchLabels: {{app: httpbin}}}}\n  action: CUSTOM\n  provider: {{name: {name}}}\n  \
             rules: [{{to: [{{operation: {{paths: ['/anything/{name}*']}}}}]}}]\n---\n"
        )
    };
    names.iter().map(one).collect()
}

const ALLOW: &str = "x-ext-authz: allow";

fn authorizers_decide(mesh: &Mesh) {
    apply(mesh, &custom(&["by-grpc", "by-http", "fails-open", "fails-closed", "nobody"]));
    for name in ["by-grpc", "by-http"] {
        let path = format!("/anything/{name}");
        let refused = eventually(Duration::from_secs(20), || {
            let answer = ask(mesh, "GET", &path, &[], "")?;
            if answer.body == "go away" { Ok(answer) } else { Err(format!("{name}: {answer:?}")) }
        });
        assert_eq!(refused.status, if name == "by-grpc" { 403 } else { 401 });
        assert_eq!((refused.header("x-why"), refused.header("x-secret")), (Some("because"), None));
        let allowed = expect(ask(mesh, "GET", &path, &[ALLOW], "").unwrap(), 200).unwrap();
        let seen = match name {
            "by-grpc" => {
                format!("grpc {path} 0 spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway")
            }
            _ => format!("http /check{path} 0 told"),
        };
        assert!(allowed.body.contains(&seen), "{seen:?} is not in {}", allowed.body);
        // A client cannot speak for the authorizer.
        let forged = ask(mesh, "GET", &path, &[ALLOW, "x-checked: forged"], "").unwrap();
        assert!(!forged.body.contains("forged"), "{}", forged.body);
    }
    // Of a long body the one sees a part, and the other refuses it unseen.
    let answer = ask(mesh, "POST", "/anything/by-grpc", &[ALLOW], "0123456789").unwrap();
    assert!(
        answer.body.contains("grpc /anything/by-grpc 8 ") && answer.body.contains("0123456789"),
        "{answer:?}"
    );
    expect(ask(mesh, "POST", "/anything/by-http", &[ALLOW], "0123456789").unwrap(), 413).unwrap();
    let answer = ask(mesh, "POST", "/anything/by-http", &[ALLOW], "01234567").unwrap();
    assert!(answer.body.contains("http /check/anything/by-http 8 told"), "{answer:?}");
    // What no policy asks about is not asked about.
    expect(ask(mesh, "GET", "/anything/free", &[], "").unwrap(), 200).unwrap();
}

fn authorizers_that_fail(mesh: &Mesh) {
    for (path, status) in [
        ("/anything/by-grpc/slow", 403),
        ("/anything/by-http/slow", 403),
        ("/anything/fails-open", 200),
        ("/anything/fails-closed", 503),
        // A provider that MeshConfig does not have.
        ("/anything/nobody", 403),
    ] {
        let answer = ask(mesh, "GET", path, &[ALLOW], "").unwrap();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

fn token_rule(name: &str, rule: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}}}\nspec:\n  \
         selector: {{matchLabels: {{app: httpbin}}}}\n  jwtRules: [{rule}]\n---\n"
    )
}

fn with_token(mesh: &Mesh, token: &str) -> Result<Answer, String> {
    ask(mesh, "GET", "/anything", &[&format!("Authorization: Bearer {token}")], "")
}

fn keys_come_over_https(mesh: &Mesh, issuer: &Issuer) {
    let uri = "https://keys.default.svc.cluster.local:8443/jwks";
    apply(mesh, &token_rule("fetched", &format!("{{issuer: {ISSUER}, jwksUri: '{uri}', timeout: 2s}}")));
    let stranger = Issuer::new().good();
    // Both: a rule that is not there yet refuses nobody.
    eventually(Duration::from_secs(30), || {
        expect(with_token(mesh, &stranger)?, 401)?;
        expect(with_token(mesh, &issuer.good())?, 200)
    });
    let refused = with_token(mesh, &stranger).unwrap();
    assert_eq!(refused.body, "Jwt verification fails");
}

fn keys_are_found_by_discovery(mesh: &Mesh, issuer: &Issuer) {
    let token = issuer.of(DISCOVERED);
    expect(with_token(mesh, &token).unwrap(), 401).expect("nobody knows that issuer");
    apply(mesh, &token_rule("discovered", &format!("{{issuer: '{DISCOVERED}'}}")));
    eventually(Duration::from_secs(30), || {
        expect(with_token(mesh, &Issuer::new().of(DISCOVERED))?, 401)?;
        expect(with_token(mesh, &token)?, 200)
    });
    mesh.kubectl(&["delete", "requestauthentication", "discovered"]);
}

fn keys_stay_while_their_server_is_gone(mesh: &Mesh, issuer: &Issuer) {
    mesh.kubectl(&["scale", "deployment/keys", "--replicas=0"]);
    mesh.kubectl(&["wait", "--for=delete", "pod", "-l", "app=keys", "--timeout=60s"]);
    for _ in 0..5 {
        expect(with_token(mesh, &issuer.good()).unwrap(), 200).unwrap();
    }
}

/// A proxy that never had the keys believes nobody, and serves whoever shows no token; the keys are used as soon as they
/// are there.
fn without_keys_no_token_is_good(mesh: &Mesh, issuer: &Issuer) {
    mesh.kubectl(&["rollout", "restart", "deployment/httpbin"]);
    mesh.kubectl(&["rollout", "status", "deployment/httpbin", "--timeout=60s"]);
    eventually(Duration::from_secs(20), || {
        expect(ask(mesh, "GET", "/anything", &[], "")?, 200)?;
        expect(with_token(mesh, &issuer.good())?, 401)
    });
    // Keys that are none.
    let nonsense = json!({ "stringData": { "jwks": "this is not JSON" } }).to_string();
    mesh.kubectl(&["patch", "secret", "keys", "-p", &nonsense]);
    mesh.kubectl(&["scale", "deployment/keys", "--replicas=1"]);
    available(mesh);
    for _ in 0..5 {
        expect(with_token(mesh, &issuer.good()).unwrap(), 401).unwrap();
    }
    let keys = json!({ "stringData": { "jwks": issuer.jwks() } }).to_string();
    mesh.kubectl(&["patch", "secret", "keys", "-p", &keys]);
    mesh.kubectl(&["rollout", "restart", "deployment/keys"]);
    eventually(Duration::from_secs(60), || expect(with_token(mesh, &issuer.good())?, 200));
}
