//! Bookinfo as the tutorials walk through it, with stock kubectl and Istio's own manifests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lateen_testkit::http::{self, Answer};

use crate::harness::{Mesh, User, envoy, eventually, has_program, missing_peer, samples, upstream};

/// Where the manifests of one release of Istio lie.
struct Manifests {
    bookinfo: PathBuf,
    networking: PathBuf,
    sleep: PathBuf,
}

impl Manifests {
    fn of(version: &str) -> Option<Manifests> {
        let root = upstream(version)?;
        Some(Manifests {
            bookinfo: root.join("bookinfo/platform/kube/bookinfo.yaml"),
            networking: root.join("bookinfo/networking"),
            sleep: root.join("sleep/sleep.yaml"),
        })
    }

    fn networking(&self, name: &str) -> PathBuf {
        self.networking.join(name)
    }
}

#[test]
fn the_tutorial_of_2018_runs_as_root_or_whoever_runs_the_tests() {
    walk_through("istio-1.0", User::Current, &[]);
}

#[test]
fn todays_manifests_run_without_privileges() {
    if !nix::unistd::geteuid().is_root() {
        // Then the other scenarios run without privileges already.
        return;
    }
    walk_through("istio-1.32-dev", User::Unprivileged, &[]);
}

#[test]
fn todays_manifests_run_with_envoy_as_every_proxy() {
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    walk_through("istio-1.32-dev", User::Current, &["--proxy", &format!("envoy={}", envoy.display())]);
}

#[test]
fn todays_manifests_run_with_envoy_without_privileges() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    walk_through("istio-1.32-dev", User::Unprivileged, &["--proxy", &format!("envoy={}", envoy.display())]);
}

#[test]
fn a_restart_finds_the_resources_where_they_were() {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    let mesh = Mesh::up(User::Current, &["--demo", "bookinfo"]);
    mesh.apply(&samples().join("bookinfo/destination-rule-all.yaml"));
    mesh.apply(&samples().join("bookinfo/virtual-service-all-v1.yaml"));
    let before = mesh.kubectl(&["get", "vs,dr,gw,deploy,svc", "-o", "name"]);
    let state = mesh.down();
    let mesh = Mesh::up_in(User::Current, "again", &state, &[]);
    assert_eq!(mesh.kubectl(&["get", "vs,dr,gw,deploy,svc", "-o", "name"]), before);
    eventually(Duration::from_secs(20), || page_title(&mesh));
    no_stars(&mesh);
}

#[test]
fn ratings_come_from_mysql_and_say_so_when_they_cannot() {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    if !Path::new("/usr/sbin/mariadbd").is_file() {
        return missing_peer("mariadb-server");
    }
    let Some(root) = upstream("istio-1.32-dev") else {
        return missing_peer("the folder of Istio's manifests");
    };
    let mesh = Mesh::up(User::Current, &["--demo", "bookinfo"]);
    let platform = root.join("bookinfo/platform/kube");
    mesh.apply(&platform.join("bookinfo-ratings-v2-mysql.yaml"));
    mesh.kubectl(&["wait", "--for=condition=Available", "deployment/ratings-v2-mysql", "--timeout=60s"]);
    mesh.kubectl(&["delete", "deployment", "ratings-v1"]);
    let ratings = || {
        let answer = http::get(&mesh.gateway, "/api/v1/products/0/ratings");
        answer.map(|answer| (answer.status, answer.body)).map_err(|error| error.to_string())
    };
    eventually(Duration::from_secs(20), || match ratings()? {
        (500, _) => Ok(()),
        other => Err(format!("without a database: {other:?}")),
    });
    mesh.apply(&platform.join("bookinfo-mysql.yaml"));
    mesh.kubectl(&["wait", "--for=condition=Available", "deployment/mysqldb-v1", "--timeout=60s"]);
    eventually(Duration::from_secs(30), || match ratings()? {
        (200, body) if body.contains("\"Reviewer1\":5") && body.contains("\"Reviewer2\":4") => Ok(()),
        other => Err(format!("with a database: {other:?}")),
    });
    mesh.kubectl(&["set", "env", "deployment/ratings-v2-mysql", "MYSQL_DB_PASSWORD=wrong"]);
    mesh.kubectl(&["rollout", "status", "deployment/ratings-v2-mysql", "--timeout=60s"]);
    eventually(Duration::from_secs(20), || match ratings()? {
        (500, _) => Ok(()),
        other => Err(format!("with a wrong password: {other:?}")),
    });
}

fn walk_through(version: &str, user: User, arguments: &[&str]) {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    let Some(manifests) = Manifests::of(version) else {
        return missing_peer("the folder of Istio's manifests");
    };
    let mesh = Mesh::up(user, arguments);
    deploy(&mesh, &manifests);
    mesh.apply(&manifests.networking("bookinfo-gateway.yaml"));
    eventually(Duration::from_secs(10), || page_title(&mesh));
    round_robin(&mesh);
    mesh.apply(&manifests.networking("destination-rule-all.yaml"));
    mesh.apply(&manifests.networking("virtual-service-all-v1.yaml"));
    eventually(Duration::from_secs(5), || {
        share(&mesh, 20, stars_none).eq(&20).then_some(()).ok_or("v2, v3".into())
    });
    no_stars(&mesh);
    jason_sees_black_stars(&mesh, &manifests);
    jason_waits_for_ratings(&mesh, &manifests);
    jason_gets_no_ratings(&mesh, &manifests);
    weights_hold(&mesh, &manifests);
    mesh.kubectl(&["delete", "-f", manifests.networking("virtual-service-all-v1.yaml").to_str().unwrap()]);
    eventually(Duration::from_secs(5), || {
        (share(&mesh, 20, stars_none) < 20).then_some(()).ok_or_else(|| "still pinned to v1".to_owned())
    });
    round_robin(&mesh);
    nothing_was_refused(&mesh);
}

fn nothing_was_refused(mesh: &Mesh) {
    let log = mesh.kubectl(&["logs", "-n", "istio-system", "deploy/istiod", "--tail=-1"]);
    assert!(log.contains("proxy connected"), "{log}");
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("refused configuration")).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

fn deploy(mesh: &Mesh, manifests: &Manifests) {
    mesh.kubectl(&["label", "namespace", "default", "istio-injection=enabled"]);
    mesh.apply(&manifests.bookinfo);
    mesh.apply(&manifests.sleep);
    mesh.kubectl(&["wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s"]);
    let pods = mesh.kubectl(&["get", "pods", "--no-headers"]);
    assert_eq!(pods.lines().count(), 7, "{pods}");
    for pod in pods.lines() {
        let columns: Vec<&str> = pod.split_whitespace().collect();
        assert_eq!(columns[1..3], ["2/2", "Running"], "{pods}");
    }
}

fn page(mesh: &Mesh, headers: &[&str]) -> Result<Answer, String> {
    let answer = http::request("GET", &mesh.gateway, "/productpage", headers, "");
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(answer),
        status => Err(format!("status {status}: {}", answer.body)),
    }
}

fn page_title(mesh: &Mesh) -> Result<(), String> {
    let answer = page(mesh, &[])?;
    let title = "<title>Simple Bookstore App</title>";
    answer.body.contains(title).then_some(()).ok_or_else(|| format!("no title in {}", answer.body))
}

fn stars_black(page: &str) -> bool {
    page.contains("color=\"black\"")
}

fn stars_red(page: &str) -> bool {
    page.contains("color=\"red\"")
}

fn stars_none(page: &str) -> bool {
    !stars_black(page) && !stars_red(page)
}

/// Of `requests` pages, how many are as `wanted`.
fn share(mesh: &Mesh, requests: usize, wanted: fn(&str) -> bool) -> usize {
    (0..requests).filter(|_| wanted(&page(mesh, &[]).unwrap().body)).count()
}

fn no_stars(mesh: &Mesh) {
    assert_eq!(share(mesh, 100, stars_none), 100);
}

fn round_robin(mesh: &Mesh) {
    for (version, wanted) in [("v1", stars_none as fn(&str) -> bool), ("v2", stars_black), ("v3", stars_red)]
    {
        let seen = share(mesh, 60, wanted);
        assert!((5..=40).contains(&seen), "{version} answered {seen} of 60");
    }
}

/// Signs in on the page, and gives the header line that keeps the session.
fn sign_in(mesh: &Mesh, user: &str) -> String {
    let body = format!("username={user}&passwd=");
    let answer = http::request("POST", &mesh.gateway, "/login", &[], &body).unwrap();
    assert!((300..400).contains(&answer.status), "{answer:?}");
    let cookie = answer.header("set-cookie").expect("a session cookie");
    format!("Cookie: {}", cookie.split(';').next().unwrap())
}

fn jason_sees_black_stars(mesh: &Mesh, manifests: &Manifests) {
    mesh.apply(&manifests.networking("virtual-service-reviews-test-v2.yaml"));
    let session = sign_in(mesh, "jason");
    eventually(Duration::from_secs(5), || {
        let body = page(mesh, &[&session])?.body;
        stars_black(&body).then_some(()).ok_or(body)
    });
    for _ in 0..20 {
        assert!(stars_black(&page(mesh, &[&session]).unwrap().body));
        assert!(stars_none(&page(mesh, &[]).unwrap().body));
    }
}

/// What curl, run in the sleep pod, says of a call to ratings: status and seconds.
fn call_ratings(mesh: &Mesh, headers: &[&str]) -> (u16, f64) {
    let mut arguments = vec![
        "exec",
        "deploy/sleep",
        "-c",
        "sleep",
        "--",
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{time_total}",
    ];
    for header in headers {
        arguments.extend(["-H", header]);
    }
    arguments.push("http://ratings:9080/ratings/0");
    let text = mesh.kubectl(&arguments);
    let (status, seconds) = text.trim().split_once(' ').unwrap_or_else(|| panic!("curl said {text:?}"));
    (status.parse().unwrap(), seconds.parse().unwrap())
}

fn jason_waits_for_ratings(mesh: &Mesh, manifests: &Manifests) {
    mesh.apply(&manifests.networking("virtual-service-ratings-test-delay.yaml"));
    let session = sign_in(mesh, "jason");
    let sorry = "Sorry, product reviews are currently unavailable for this book.";
    let body = eventually(Duration::from_secs(30), || {
        let body = page(mesh, &[&session])?.body;
        if body.contains(sorry) { Ok(body) } else { Err(body) }
    });
    assert!(stars_none(&body));
    assert!(!page(mesh, &[]).unwrap().body.contains(sorry), "only jason is held");
    let (status, seconds) = call_ratings(mesh, &["end-user: jason"]);
    assert_eq!(status, 200);
    assert!((6.7..7.3).contains(&seconds), "held {seconds} s");
    assert!(call_ratings(mesh, &[]).1 < 1.0);
}

fn jason_gets_no_ratings(mesh: &Mesh, manifests: &Manifests) {
    mesh.apply(&manifests.networking("virtual-service-ratings-test-abort.yaml"));
    let session = sign_in(mesh, "jason");
    let unavailable = "Ratings service is currently unavailable";
    eventually(Duration::from_secs(15), || {
        let body = page(mesh, &[&session])?.body;
        body.contains(unavailable).then_some(()).ok_or(body)
    });
    assert!(!page(mesh, &[]).unwrap().body.contains(unavailable), "only jason is refused");
    assert_eq!(call_ratings(mesh, &["end-user: jason"]).0, 500);
    assert_eq!(call_ratings(mesh, &[]).0, 200);
}

fn weights_hold(mesh: &Mesh, manifests: &Manifests) {
    let requests = 1000;
    mesh.apply(&manifests.networking("virtual-service-reviews-50-v3.yaml"));
    eventually(Duration::from_secs(5), || {
        (share(mesh, 20, stars_red) > 0).then_some(()).ok_or("no v3".to_owned())
    });
    let red = share(mesh, requests, stars_red);
    assert!((450..=550).contains(&red), "{red} of {requests} at 50/50");
    let canary: &Path = &manifests.networking("virtual-service-reviews-80-20.yaml");
    let canary = if canary.exists() {
        canary.to_owned()
    } else {
        samples().join("bookinfo/virtual-service-reviews-80-20.yaml")
    };
    mesh.apply(&canary);
    eventually(Duration::from_secs(5), || {
        (share(mesh, 20, stars_red) == 0).then_some(()).ok_or("v3".to_owned())
    });
    let black = share(mesh, requests, stars_black);
    assert!((150..=250).contains(&black), "{black} of {requests} at 80/20");
}
