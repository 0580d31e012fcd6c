//! Attacks from inside and outside the mesh: each is refused, and seen in log and metric.

use std::fs;
use std::time::Duration;

use lateen_testkit::http;

use crate::forged::{Forger, Forgery};
use crate::harness::{Mesh, User, eventually, has_program, missing_peer};
use crate::tokens::{ISSUER, Issuer};

const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: httpbin, namespace: bank}
spec:
  selector: {app: httpbin}
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: httpbin, namespace: bank}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: teller, namespace: bank}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin, namespace: bank}
spec:
  selector: {matchLabels: {app: httpbin}}
  template:
    metadata: {labels: {app: httpbin}}
    spec:
      serviceAccountName: httpbin
      containers: [{name: httpbin, image: docker.io/mccutchen/go-httpbin:v2.15.0, ports: [{containerPort: 8080}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: teller, namespace: bank}
spec:
  selector: {matchLabels: {app: teller}}
  template:
    metadata: {labels: {app: teller}}
    spec:
      serviceAccountName: teller
      containers: [{name: teller, image: curlimages/curl, command: [sleep, infinity]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: outsider, namespace: bank}
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
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: bank}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bank, namespace: bank}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bank, namespace: bank}
spec:
  hosts: ['*']
  gateways: [bank]
  http: [{route: [{destination: {host: httpbin, port: {number: 8000}}}]}]
";

#[test]
fn attacks_are_refused_and_seen() {
    for program in ["kubectl", "openssl"] {
        if !has_program(program) {
            return missing_peer(program);
        }
    }
    let mesh = Mesh::up(User::Current, &[]);
    deploy(&mesh);
    friends_are_served(&mesh);
    plain_text_is_refused(&mesh);
    forged_certificates_are_refused(&mesh);
    an_unfinished_handshake_ends(&mesh);
    headers_that_only_proxies_may_set_are_taken_away(&mesh);
    tricks_with_paths_do_not_get_past_a_denial(&mesh);
    tokens_that_are_not_the_issuers_are_refused(&mesh);
}

fn deploy(mesh: &Mesh) {
    mesh.kubectl(&["create", "namespace", "bank"]);
    mesh.kubectl(&["label", "namespace", "bank", "istio-injection=enabled"]);
    let forged = mesh.state.join("forged");
    Forger::new(mesh).write(&forged);
    let from = format!("--from-file={}", forged.display());
    mesh.kubectl(&["-n", "bank", "create", "secret", "generic", "forged", &from]);
    apply(mesh, MANIFEST);
    mesh.kubectl(&[
        "-n",
        "bank",
        "wait",
        "--for=condition=Available",
        "deployment",
        "--all",
        "--timeout=60s",
    ]);
}

fn apply(mesh: &Mesh, text: &str) {
    let file = mesh.state.join("attacks.yaml");
    fs::write(&file, text).unwrap();
    mesh.apply(&file);
}

/// Runs a shell line in a pod; gives whether it succeeded, and what it said.
fn run(mesh: &Mesh, who: &str, line: &str) -> (bool, String) {
    let pod = format!("deploy/{who}");
    let output = mesh.try_kubectl(&["-n", "bank", "exec", &pod, "-c", who, "--", "bash", "-c", line]);
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// The sum of the server's counters whose names hold one of these.
fn counted(mesh: &Mesh, names: &[&str]) -> u64 {
    let stats = "http://127.0.0.1:15000/stats";
    let text = mesh.kubectl(&[
        "-n",
        "bank",
        "exec",
        "deploy/httpbin",
        "-c",
        "istio-proxy",
        "--",
        "curl",
        "-s",
        stats,
    ]);
    let values = text.lines().filter_map(|line| line.split_once(": "));
    values
        .filter(|(name, _)| names.iter().any(|n| name.contains(n)))
        .filter_map(|(_, v)| v.parse::<u64>().ok())
        .sum()
}

/// The server's access log.
fn log(mesh: &Mesh) -> String {
    mesh.kubectl(&["-n", "bank", "logs", "deploy/httpbin", "-c", "istio-proxy", "--tail=-1"])
}

/// How often the log holds this.
fn logged(mesh: &Mesh, part: &str) -> usize {
    log(mesh).matches(part).count()
}

fn pod_ip(mesh: &Mesh) -> String {
    mesh.kubectl(&[
        "-n",
        "bank",
        "get",
        "pods",
        "-l",
        "app=httpbin",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    ])
}

fn friends_are_served(mesh: &Mesh) {
    eventually(Duration::from_secs(20), || {
        match run(mesh, "teller", "curl -s -m 5 http://httpbin:8000/status/200 -w '%{http_code}'") {
            (true, said) if said.contains("200") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// To the service, to the pod's own port, from without and from within the mesh.
fn plain_text_is_refused(mesh: &Mesh) {
    let ip = pod_ip(mesh);
    let (no_chain, no_way) = (
        ("no_filter_chain_match", "NR filter_chain_not_found"),
        ("BlackHoleCluster.upstream_cx_none_healthy", "BlackHoleCluster"),
    );
    for (who, url, (counter, line)) in [
        ("outsider", "http://httpbin:8000/status/200".to_owned(), no_chain),
        ("outsider", format!("http://{ip}:8080/status/200"), no_chain),
        // Straight to the port that captured connections come to.
        ("outsider", format!("http://{ip}:15006/status/200"), no_way),
        ("teller", format!("http://{ip}:8080/status/200"), no_chain),
    ] {
        let (count, lines) = (counted(mesh, &[counter]), logged(mesh, line));
        let (_, said) = run(mesh, who, &format!("curl -s -m 5 {url} -w 'code=%{{http_code}}'"));
        assert!(!said.contains("code=200"), "{who} {url}: {said}");
        eventually(Duration::from_secs(5), || {
            let now = (counted(mesh, &[counter]), logged(mesh, line));
            let seen = now.0 > count && now.1 > lines;
            if seen { Ok(()) } else { Err(format!("{who} {url}: {now:?}, {}", log(mesh))) }
        });
    }
}

/// What the server answers to somebody who shows this certificate.
fn ask_with(mesh: &Mesh, forgery: &Forgery) -> String {
    let name = forgery.name;
    let line = format!(
        "printf 'GET /status/200 HTTP/1.1\\r\\nHost: httpbin\\r\\nConnection: close\\r\\n\\r\\n' | timeout 5 openssl s_client \
         -connect {}:8080 -quiet -ign_eof -alpn istio -cert /forged/{name}.pem -key /forged/{name}.key 2>&1",
        pod_ip(mesh)
    );
    run(mesh, "outsider", &line).1
}

fn forged_certificates_are_refused(mesh: &Mesh) {
    let genuine = ask_with(mesh, &Forgery::GENUINE);
    assert!(
        genuine.contains("HTTP/1.1 200"),
        "the attack itself must work with a good certificate: {genuine}"
    );
    for forgery in Forgery::BAD {
        let before = (counted(mesh, &["ssl.fail_verify", "ssl.connection_error"]), logged(mesh, "TLS_error"));
        let said = ask_with(mesh, &forgery);
        assert!(!said.contains("HTTP/1.1"), "{}: {said}", forgery.name);
        eventually(Duration::from_secs(5), || {
            let now =
                (counted(mesh, &["ssl.fail_verify", "ssl.connection_error"]), logged(mesh, "TLS_error"));
            let seen = now.0 > before.0 && now.1 > before.1;
            if seen { Ok(()) } else { Err(format!("{}: {before:?}, {now:?}\n{}", forgery.name, log(mesh))) }
        });
    }
    let line =
        format!("timeout 5 openssl s_client -connect {}:8080 -alpn istio </dev/null 2>&1", pod_ip(mesh));
    let before = counted(mesh, &["ssl.fail_verify_no_cert"]);
    run(mesh, "outsider", &line);
    eventually(Duration::from_secs(5), || {
        let now = counted(mesh, &["ssl.fail_verify_no_cert"]);
        if now > before { Ok(()) } else { Err(format!("no certificate at all: {now}")) }
    });
}

/// Half a ClientHello, and then nothing.
fn an_unfinished_handshake_ends(mesh: &Mesh) {
    let hello = "\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03";
    let line = format!(
        "exec 3<>/dev/tcp/{}/8080; printf '{hello}' >&3; timeout 30 cat <&3 >/dev/null && echo ended",
        pod_ip(mesh)
    );
    let counters = ["downstream_pre_cx_timeout", "no_filter_chain_match", "ssl.connection_error"];
    let seen = || {
        let lines = ["filter_chain_not_found", "listener_filter_timeout", "TLS handshake timeout"];
        (counted(mesh, &counters), lines.iter().map(|line| logged(mesh, line)).sum::<usize>())
    };
    let before = seen();
    let (_, said) = run(mesh, "outsider", &line);
    assert!(said.contains("ended"), "the connection was still open after 30 s: {said}");
    eventually(Duration::from_secs(5), || {
        let now = seen();
        let more = now.0 > before.0 && now.1 > before.1;
        if more { Ok(()) } else { Err(format!("{before:?}, {now:?}, {}", log(mesh))) }
    });
}

fn headers_that_only_proxies_may_set_are_taken_away(mesh: &Mesh) {
    let forged = "By=spiffe://cluster.local/ns/bank/sa/httpbin;URI=spiffe://cluster.local/ns/bank/sa/forged";
    let xfcc = format!("X-Forwarded-Client-Cert: {forged}");
    let headers = [
        xfcc.as_str(),
        "X-Envoy-Internal: true",
        "X-Envoy-Original-Path: /forged",
        "X-Envoy-Peer-Metadata-Id: forged",
        "X-Envoy-Upstream-Rq-Timeout-Ms: 1",
        "X-Envoy-Retry-On: 5xx-forged",
    ];
    let answer = http::request("GET", &mesh.gateway, "/headers", &headers, "").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body.contains("forged"), "{}", answer.body);
    let gateway = "URI=spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway";
    assert!(answer.body.contains(gateway), "the gateway's own identity is told: {}", answer.body);
    let slow = http::request("GET", &mesh.gateway, "/delay/0.2", &headers, "").unwrap();
    assert_eq!(slow.status, 200, "a client from outside may not set the mesh's timeouts");
}

fn tricks_with_paths_do_not_get_past_a_denial(mesh: &Mesh) {
    apply(
        mesh,
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: no-vault, namespace: bank}\nspec:\n  \
         selector: {matchLabels: {app: httpbin}}\n  action: DENY\n  rules: [{to: [{operation: {paths: ['/anything/vault*']}}]}]\n",
    );
    let status = |path: &str| {
        let answer = http::request("GET", &mesh.gateway, path, &[], "");
        answer.map(|answer| (answer.status, answer.body)).map_err(|error| error.to_string())
    };
    eventually(Duration::from_secs(10), || match status("/anything/vault")? {
        (403, body) if body == "RBAC: access denied" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(status("/anything/hall").unwrap().0, 200);
    eventually(Duration::from_secs(5), || {
        let denied = logged(mesh, "rbac_access_denied_matched_policy[ns[bank]-policy[no-vault]-rule[0]]");
        if denied > 0 { Ok(()) } else { Err(log(mesh)) }
    });
    assert!(counted(mesh, &["rbac.denied"]) > 0);
    for trick in [
        "/anything/./vault",
        "/anything/hall/../vault",
        "/anything/hall/%2e%2e/vault",
        "/anything/%76ault",
        "/anything\\vault",
        "/anything/vault/..;/x",
        "/./anything/vault?x=/../hall",
    ] {
        let (code, body) = status(trick).unwrap();
        assert!(code == 403 || code == 400, "{trick}: {code} {body}");
    }
}

fn tokens_that_are_not_the_issuers_are_refused(mesh: &Mesh) {
    let issuer = Issuer::new();
    apply(
        mesh,
        &format!(
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens, namespace: bank}}\nspec:\n  \
             selector: {{matchLabels: {{app: httpbin}}}}\n  jwtRules: [{{issuer: {ISSUER}, jwks: '{}'}}]\n---\n\
             apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: tokens, namespace: bank}}\nspec:\n  \
             selector: {{matchLabels: {{app: httpbin}}}}\n  rules: [{{from: [{{source: {{requestPrincipals: ['{ISSUER}/teller']}}}}]}}]\n",
            issuer.jwks()
        ),
    );
    let status = |token: Option<&str>| {
        let header = token.map(|token| format!("Authorization: Bearer {token}"));
        let headers: Vec<&str> = header.iter().map(String::as_str).collect();
        let answer = http::request("GET", &mesh.gateway, "/status/200", &headers, "");
        answer.map(|answer| answer.status).map_err(|error| error.to_string())
    };
    eventually(Duration::from_secs(10), || match (status(None)?, status(Some(&issuer.good()))?) {
        (403, 200) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for (name, token) in issuer.bad() {
        let before = (counted(mesh, &["jwt_authn.denied"]), logged(mesh, "jwt_authn_access_denied"));
        assert_eq!(status(Some(&token)).unwrap(), 401, "{name}");
        eventually(Duration::from_secs(5), || {
            let now = (counted(mesh, &["jwt_authn.denied"]), logged(mesh, "jwt_authn_access_denied"));
            if now.0 > before.0 && now.1 > before.1 {
                Ok(())
            } else {
                Err(format!("{name}: {now:?}\n{}", log(mesh)))
            }
        });
    }
}
