//! The voting application as its tutorial walks through it: real Redis, then real MySQL (MariaDB), read as a person would.

use std::path::PathBuf;
use std::time::Duration;

use lateen_testkit::http::{self, Answer};

use crate::harness::{Mesh, User, envoy, eventually, has_program, missing_peer, samples};

const FLAG: &str = "Cookie: featureflag=on";
/// How long configuration may take to reach every proxy.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_walkthrough_runs_as_root_or_whoever_runs_the_tests() {
    walk_through(User::Current, &["--demo", "voting"]);
}

#[test]
fn the_walkthrough_runs_without_privileges() {
    if !nix::unistd::geteuid().is_root() {
        // Then the other scenario runs without privileges already.
        return;
    }
    walk_through(User::Unprivileged, &[]);
}

#[test]
fn the_walkthrough_runs_with_envoy_as_every_proxy() {
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    walk_through(User::Current, &["--demo", "voting", "--proxy", &format!("envoy={}", envoy.display())]);
}

fn step(name: &str) -> PathBuf {
    samples().join("voting").join(name)
}

/// Whether everything is there that the walkthrough needs; says what is not.
fn peers() -> bool {
    let needed = [("kubectl", "kubectl"), ("redis-server", "redis-server"), ("mariadb-server", "mariadbd")];
    let sbin = |program: &str| PathBuf::from("/usr/sbin").join(program).is_file();
    for (what, program) in needed {
        if !has_program(program) && !sbin(program) {
            missing_peer(what);
            return false;
        }
    }
    true
}

fn walk_through(user: User, arguments: &[&str]) {
    if !peers() {
        return;
    }
    let mesh = Mesh::up(user, arguments);
    if !arguments.contains(&"--demo") {
        deploy(&mesh);
    }
    version_1_0_counts_votes(&mesh);
    both_analytics_take_turns(&mesh);
    traffic_is_locked_to_analytics_1_1(&mesh);
    mutual_tls_is_agreed(&mesh);
    the_policy_of_old_means_the_same(&mesh);
    only_those_named_reach_redis(&mesh);
    version_2_0_is_for_those_with_the_flag(&mesh);
    votes_survive_their_database(&mesh);
    version_2_0_is_for_everybody(&mesh);
}

/// kubectl in the application's namespace.
fn kubectl(mesh: &Mesh, arguments: &[&str]) -> String {
    mesh.kubectl(&[&["-n", "voting"], arguments].concat())
}

fn apply(mesh: &Mesh, file: &str) {
    kubectl(mesh, &["apply", "-f", step(file).to_str().unwrap()]);
}

/// This project's command, as `istioctl` in the tutorial; gives what it says.
fn istioctl(mesh: &Mesh, verb: &str, file: &str) -> String {
    let output = mesh.lateen(&[verb, "-f", step(file).to_str().unwrap(), "--namespace", "voting"]);
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{verb} {file}: {said}");
    said
}

fn available(mesh: &Mesh) {
    kubectl(mesh, &["wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s"]);
}

fn deploy(mesh: &Mesh) {
    mesh.kubectl(&["create", "namespace", "voting"]);
    mesh.kubectl(&["label", "namespace", "voting", "istio-injection=enabled"]);
    apply(mesh, "step-1-app.yaml");
    available(mesh);
    let said = istioctl(mesh, "create", "step-1-gateway.yaml");
    assert!(said.contains("Created config gateway/voting/voting-app-gateway at revision "), "{said}");
}

fn page(mesh: &Mesh, headers: &[&str]) -> Result<Answer, String> {
    let answer = http::request("GET", &mesh.gateway, "/", headers, "").map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(answer),
        status => Err(format!("status {status}: {}", answer.body)),
    }
}

/// What `grep results` finds on the page.
fn results(mesh: &Mesh, headers: &[&str]) -> Result<String, String> {
    let body = page(mesh, headers)?.body;
    let line = body.lines().find(|line| line.contains("results"));
    line.map(|line| line.trim().to_owned()).ok_or_else(|| format!("no results in {body}"))
}

fn is(line: &str) -> String {
    format!("<div id=\"results\"> {line} </div>")
}

/// Waits for a line of results.
fn shows(mesh: &Mesh, headers: &[&str], line: &str) {
    eventually(SOON, || {
        let found = results(mesh, headers)?;
        if found == is(line) { Ok(()) } else { Err(found) }
    });
}

fn vote(mesh: &Mesh, headers: &[&str], choice: &str) {
    let answer = http::request("POST", &mesh.gateway, "/", headers, &format!("vote={choice}")).unwrap();
    assert_eq!(answer.status, 302, "{}", answer.body);
}

fn version_1_0_counts_votes(mesh: &Mesh) {
    let pods = kubectl(mesh, &["get", "pods", "--no-headers"]);
    assert_eq!(
        pods.lines().filter(|pod| pod.contains("2/2") && pod.contains("Running")).count(),
        5,
        "{pods}"
    );
    shows(mesh, &[], "Cats: 0 | Dogs: 0");
    for choice in ["Cats", "Cats", "Dogs", "Dogs", "Dogs", "Dogs"] {
        vote(mesh, &[], choice);
    }
    assert_eq!(results(mesh, &[]).unwrap(), is("Cats: 2 | Dogs: 4"));
    let body = page(mesh, &[]).unwrap().body;
    assert!(body.contains("host: voting-app-1-0-") && body.contains("store: redis"), "{body}");
    let bad = http::request("POST", &mesh.gateway, "/", &[], "vote=Mice").unwrap();
    assert_eq!(bad.status, 400);
}

const PLAIN: &str = "Cats: 2 | Dogs: 4";
const SHARES: &str = "Cats: 2/6 (33%) | Dogs: 4/6 (67%)";

fn both_analytics_take_turns(mesh: &Mesh) {
    apply(mesh, "step-2-analytics-1.1.yaml");
    available(mesh);
    eventually(SOON, || {
        let found = results(mesh, &[])?;
        if found == is(SHARES) { Ok(()) } else { Err(found) }
    });
    let seen: Vec<String> = (0..30).map(|_| results(mesh, &[]).unwrap()).collect();
    let shares = seen.iter().filter(|line| **line == is(SHARES)).count();
    assert!(seen.iter().all(|line| *line == is(SHARES) || *line == is(PLAIN)), "{seen:?}");
    assert!((8..=22).contains(&shares), "1.1 answered {shares} of 30");
}

fn traffic_is_locked_to_analytics_1_1(mesh: &Mesh) {
    let said = istioctl(mesh, "replace", "step-2a-virtual-service.yaml");
    assert!(said.contains("Updated config virtual-service/voting/voting-app to revision "), "{said}");
    let said = istioctl(mesh, "create", "step-2b-routing.yaml");
    for config in [
        "peer-authentication/voting/default",
        "destination-rule/voting/voting-app",
        "destination-rule/voting/voting-analytics",
        "virtual-service/voting/voting-analytics",
        "destination-rule/voting/voting-storage",
        "virtual-service/voting/voting-storage",
    ] {
        assert!(said.contains(&format!("Created config {config} at revision ")), "{said}");
    }
    // Proxies learn of it one after the other: from now on, a row without the old version.
    eventually(SOON, || {
        (0..20).try_for_each(|_| {
            let found = results(mesh, &[])?;
            if found == is(SHARES) { Ok(()) } else { Err(found) }
        })
    });
    for _ in 0..50 {
        assert_eq!(results(mesh, &[]).unwrap(), is(SHARES));
    }
}

/// The tutorial's table, line by line.
fn mutual_tls_is_agreed(mesh: &Mesh) {
    for (service, port) in [("voting-app", 8080), ("voting-analytics", 8080), ("voting-storage", 6379)] {
        let host = format!("{service}.voting.svc.cluster.local");
        let output = mesh.lateen(&["authn", "tls-check", &host]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
        let head = "HOST:PORT STATUS SERVER CLIENT AUTHN POLICY DESTINATION RULE";
        assert_eq!(lines[0].join(" "), head, "{said}");
        let (target, rule) = (format!("{host}:{port}"), format!("{service}/voting"));
        assert_eq!(lines[1], [&target, "OK", "mTLS", "mTLS", "default/voting", &rule], "{said}");
        assert_eq!(lines.len(), 2, "{said}");
    }
}

/// `Policy` in the form that the tutorials of 2018 use, in the place of the PeerAuthentication.
fn the_policy_of_old_means_the_same(mesh: &Mesh) {
    let file = mesh.state.join("policy.yaml");
    let policy = "apiVersion: authentication.istio.io/v1alpha1\nkind: Policy\nmetadata: {name: default}\n\
                  spec: {peers: [{mtls: {mode: STRICT}}]}\n";
    std::fs::write(&file, policy).unwrap();
    let output = mesh.lateen(&["create", "-f", file.to_str().unwrap(), "--namespace", "voting"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("Created config policy/voting/default at revision "), "{said}");
    kubectl(mesh, &["delete", "peerauthentication", "default"]);
    mutual_tls_is_agreed(mesh);
    outsiders_are_refused(mesh);
    shows(mesh, &[], SHARES);
}

/// A pod without a sidecar gets nothing in plain text, neither from the service nor from the pod itself.
fn outsiders_are_refused(mesh: &Mesh) {
    kubectl(
        mesh,
        &[
            "run",
            "outsider",
            "--image=curlimages/curl",
            "--labels=sidecar.istio.io/inject=false",
            "--restart=Never",
            "--command",
            "--",
            "sleep",
            "infinity",
        ],
    );
    kubectl(mesh, &["wait", "--for=condition=Ready", "pod/outsider", "--timeout=30s"]);
    let ip =
        kubectl(mesh, &["get", "pods", "-l", "app=voting-app", "-o", "jsonpath={.items[0].status.podIP}"]);
    for url in ["http://voting-app:8080/".to_owned(), format!("http://{ip}:8080/")] {
        let output =
            mesh.try_kubectl(&["-n", "voting", "exec", "outsider", "--", "curl", "-s", "-m", "5", &url]);
        assert!(!output.status.success(), "{url} answers in plain text: {output:?}");
    }
    kubectl(mesh, &["delete", "pod", "outsider", "--grace-period=0", "--force"]);
}

/// What Redis answers to a pod; an error when there is no connection.
fn ping(mesh: &Mesh, deployment: &str, container: &str) -> Result<String, String> {
    let deployment = format!("deploy/{deployment}");
    let output = mesh.try_kubectl(&[
        "-n",
        "voting",
        "exec",
        &deployment,
        "-c",
        container,
        "--",
        "redis-cli",
        "-h",
        "voting-storage",
        "ping",
    ]);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match said(&output.stdout) {
        answer if answer == "PONG" => Ok(answer),
        other => Err(format!("{other}{}", said(&output.stderr))),
    }
}

fn only_those_named_reach_redis(mesh: &Mesh) {
    ping(mesh, "voting-app-1-0", "voting-app").unwrap();
    ping(mesh, "voting-analytics-1-1", "voting-analytics").unwrap();
    let refused = ping(mesh, "voting-analytics-1-0", "voting-analytics").unwrap_err();
    assert!(refused.contains("closed the connection") || refused.contains("reset"), "{refused}");
}

fn version_2_0_is_for_those_with_the_flag(mesh: &Mesh) {
    let said = istioctl(mesh, "replace", "step-3-routing-2.0.yaml");
    assert_eq!(said.lines().filter(|line| line.starts_with("Updated config ")).count(), 6, "{said}");
    apply(mesh, "step-3-app-2.0.yaml");
    available(mesh);
    shows(mesh, &[FLAG], "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
    let set = http::request("POST", &mesh.gateway, "/featureflag/set", &[], "").unwrap();
    let cookie = set.header("set-cookie").expect("a cookie");
    assert!(set.status == 302 && cookie.starts_with("featureflag=on;"), "{set:?}");
    for choice in ["Cats", "Cats", "Cats", "Dogs"] {
        vote(mesh, &[FLAG], choice);
    }
    for _ in 0..20 {
        let (old, new) = (page(mesh, &[]).unwrap().body, page(mesh, &[FLAG]).unwrap().body);
        assert!(old.contains("store: redis") && old.contains(SHARES), "{old}");
        assert!(new.contains("store: mysql") && new.contains("Cats: 3/4 (75%) | Dogs: 1/4 (25%)"), "{new}");
    }
    let among_others = page(mesh, &["Cookie: theme=dark; featureflag=on; lang=ja"]).unwrap().body;
    assert!(among_others.contains("store: mysql"), "{among_others}");
    let other = page(mesh, &["Cookie: featureflag=onward"]).unwrap().body;
    assert!(other.contains("store: redis"), "{other}");
    let refused = ping(mesh, "voting-analytics-1-0", "voting-analytics").unwrap_err();
    assert!(!refused.is_empty());
}

fn votes_survive_their_database(mesh: &Mesh) {
    kubectl(mesh, &["delete", "pod", "-l", "app=voting-storage,version=2.0"]);
    available(mesh);
    eventually(Duration::from_secs(30), || {
        let found = results(mesh, &[FLAG])?;
        if found == is("Cats: 3/4 (75%) | Dogs: 1/4 (25%)") { Ok(()) } else { Err(found) }
    });
}

fn version_2_0_is_for_everybody(mesh: &Mesh) {
    istioctl(mesh, "replace", "step-4-promote-2.0.yaml");
    shows(mesh, &[], "Cats: 3/4 (75%) | Dogs: 1/4 (25%)");
    let old = ["voting-app-1-0", "voting-analytics-1-0", "voting-analytics-1-1", "voting-storage-1-0"];
    kubectl(mesh, &[&["delete", "deployment"], &old[..]].concat());
    vote(mesh, &[], "Dogs");
    for headers in [&[][..], &[FLAG][..]] {
        assert_eq!(results(mesh, headers).unwrap(), is("Cats: 3/5 (60%) | Dogs: 2/5 (40%)"));
    }
}
