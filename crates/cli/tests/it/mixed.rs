//! Bookinfo under STRICT mutual TLS with Envoy as every second proxy: each speaks to the other, in both directions.

use std::time::Duration;

use lateen_testkit::http;

use crate::harness::{Mesh, User, envoy, eventually, has_program, missing_peer};

const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\n\
                      spec: {mtls: {mode: STRICT}}\n";

/// Called by Lateen's proxies (details, reviews by productpage), and calling one (ratings).
const ENVOYS: [&str; 2] = ["details-v1", "reviews-v2"];

#[test]
fn envoy_and_lateen_speak_mutual_tls_with_each_other() {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    let mesh = Mesh::up(User::Current, &["--demo", "bookinfo"]);
    for deployment in ENVOYS {
        let config = format!("proxyMetadata: {{PROXY_BINARY: {}}}", envoy.display());
        let patch = serde_json::json!({"spec": {"template": {"metadata": {"annotations": {"proxy.istio.io/config": config}}}}});
        mesh.kubectl(&["patch", "deployment", deployment, "-p", &patch.to_string()]);
    }
    for deployment in ENVOYS {
        let target = format!("deployment/{deployment}");
        mesh.kubectl(&["rollout", "status", &target, "--timeout=60s"]);
        assert!(proxy_of(&mesh, deployment).contains("/1.40."), "{deployment} has another proxy");
    }
    let file = mesh.state.join("strict.yaml");
    std::fs::write(&file, STRICT).unwrap();
    mesh.apply(&file);
    everything_is_shown(&mesh);
    certificates_are_the_meshs(&mesh);
}

/// The version of a deployment's proxy.
fn proxy_of(mesh: &Mesh, deployment: &str) -> String {
    admin(mesh, deployment, "server_info")
}

fn admin(mesh: &Mesh, deployment: &str, path: &str) -> String {
    let (pod, url) = (format!("deploy/{deployment}"), format!("http://127.0.0.1:15000/{path}"));
    mesh.kubectl(&["exec", &pod, "-c", "istio-proxy", "--", "curl", "-s", &url])
}

/// Every page has details, and reviews of each version, with their stars.
fn everything_is_shown(mesh: &Mesh) {
    let page = || -> Result<String, String> {
        let answer = http::get(&mesh.gateway, "/productpage").map_err(|error| error.to_string())?;
        let whole =
            answer.status == 200 && answer.body.contains("paperback") && !answer.body.contains("unavailable");
        if whole { Ok(answer.body) } else { Err(format!("{}: {}", answer.status, answer.body)) }
    };
    eventually(Duration::from_secs(20), || (0..10).try_for_each(|_| page().map(drop)));
    let pages: Vec<String> = (0..60).map(|_| page().unwrap()).collect();
    let share =
        |color: &str| pages.iter().filter(|page| page.contains(&format!("color=\"{color}\""))).count();
    assert!(
        (5..=40).contains(&share("black")) && (5..=40).contains(&share("red")),
        "not all versions answer"
    );
}

/// Both kinds of proxy have counted handshakes, at both ends.
fn certificates_are_the_meshs(mesh: &Mesh) {
    for deployment in ["productpage-v1", "details-v1", "reviews-v2", "ratings-v1"] {
        let stats = admin(mesh, deployment, "stats?filter=ssl.handshake");
        let sum: u64 = stats.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok()).sum();
        assert!(sum > 0, "{deployment}: {stats}");
        let certificates = admin(mesh, deployment, "certs");
        assert!(
            certificates.contains("spiffe://cluster.local/ns/default/sa/"),
            "{deployment}: {certificates}"
        );
    }
    let pod = "sidecar.istio.io/inject=false";
    mesh.kubectl(&[
        "run",
        "outsider",
        "--image=curlimages/curl",
        "--labels",
        pod,
        "--restart=Never",
        "--command",
        "--",
        "sleep",
        "infinity",
    ]);
    mesh.kubectl(&["wait", "--for=condition=Ready", "pod/outsider", "--timeout=30s"]);
    for service in ["productpage:9080/productpage", "details:9080/details/0"] {
        let url = format!("http://{service}");
        let output = mesh.try_kubectl(&["exec", "outsider", "--", "curl", "-s", "-m", "5", &url]);
        assert!(!output.status.success(), "{service} answers in plain text");
    }
}
