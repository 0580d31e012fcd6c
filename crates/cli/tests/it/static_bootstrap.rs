//! One static bootstrap, on Lateen's proxy and on Envoy: Bookinfo's scenario without a control plane.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lateen_testkit::http::{self, Answer};

use crate::harness::{envoy, eventually, missing_peer};

/// A program that ends with this value.
struct Program(Child);

impl Program {
    fn start(program: &Path, arguments: &[&str], environment: &[(&str, String)]) -> Program {
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().map(|(n, v)| (n, v)));
        Program(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn lateen() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_lateen"))
}

/// Bookinfo behind one proxy, whose listeners stand for the gateway and for each service.
struct Bookinfo {
    _programs: Vec<Program>,
    gateway: String,
    ratings: String,
    reviews: String,
}

const SERVICES: [(&str, &str); 6] = [
    ("productpage", "v1"),
    ("details", "v1"),
    ("ratings", "v1"),
    ("reviews", "v1"),
    ("reviews", "v2"),
    ("reviews", "v3"),
];

impl Bookinfo {
    fn start(proxy: &Path, arguments: &[&str], folder: &Path) -> Bookinfo {
        let [gateway, details, reviews, ratings] = [(); 4].map(|()| free_port());
        let mut environment = Vec::new();
        for (name, port) in [("DETAILS", details), ("REVIEWS", reviews), ("RATINGS", ratings)] {
            environment.push((format!("{name}_HOSTNAME"), "127.0.0.1".to_owned()));
            environment.push((format!("{name}_SERVICE_PORT"), port.to_string()));
        }
        let environment: Vec<(&str, String)> =
            environment.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
        let mut programs = Vec::new();
        let mut text = "static_resources:\n  clusters:\n".to_owned();
        for (service, version) in SERVICES {
            let port = free_port();
            let arguments = ["demo", service, "--version", version, "--port", &port.to_string()];
            programs.push(Program::start(lateen(), &arguments, &environment));
            text += &cluster(&format!("{service}-{version}"), port);
        }
        text += "  listeners:\n";
        text += &listener(
            "gateway",
            gateway,
            "        - match: {prefix: /}\n          route: {cluster: productpage-v1}\n",
        );
        text += &listener(
            "details",
            details,
            "        - match: {prefix: /}\n          route: {cluster: details-v1}\n",
        );
        text += &listener("reviews", reviews, REVIEWS);
        text += &listener("ratings", ratings, RATINGS);
        let file = folder.join("bootstrap.yaml");
        fs::write(&file, text).unwrap();
        let mut all = vec!["-c", file.to_str().unwrap()];
        all.extend(arguments);
        programs.push(Program::start(proxy, &all, &[]));
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        for port in [gateway, details, reviews, ratings] {
            eventually(Duration::from_secs(20), || {
                TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.to_string())
            });
        }
        Bookinfo { _programs: programs, gateway: url(gateway), ratings: url(ratings), reviews: url(reviews) }
    }
}

fn cluster(name: &str, port: u16) -> String {
    format!(
        "  - name: {name}\n    type: STATIC\n    connect_timeout: 1s\n    load_assignment:\n      cluster_name: {name}\n      \
         endpoints:\n      - lb_endpoints:\n        - endpoint: {{address: {{socket_address: \
         {{address: 127.0.0.1, port_value: {port}}}}}}}\n"
    )
}

fn listener(name: &str, port: u16, routes: &str) -> String {
    format!(
        "  - name: {name}\n    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}\n    \
         filter_chains:\n    - filters:\n      - name: envoy.filters.network.http_connection_manager\n        \
         typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.\
         http_connection_manager.v3.HttpConnectionManager\n          stat_prefix: {name}\n          \
         http_filters:\n          - name: envoy.filters.http.fault\n            typed_config:\n              \
         \"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault\n          \
         - name: envoy.filters.http.router\n            typed_config:\n              \
         \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\n          \
         route_config:\n            name: {name}\n            virtual_hosts:\n            - name: all\n              \
         domains: [\"*\"]\n              routes:\n{}",
        indent(routes)
    )
}

fn indent(routes: &str) -> String {
    routes.lines().map(|line| format!("      {line}\n")).collect()
}

/// User jason to v2; everyone else to v1 and v3 by halves.
const REVIEWS: &str = r#"        - match:
            prefix: /
            headers:
            - {name: end-user, string_match: {exact: jason}}
          route: {cluster: reviews-v2}
        - match: {prefix: /}
          route:
            weighted_clusters:
              clusters:
              - {name: reviews-v1, weight: 50}
              - {name: reviews-v3, weight: 50}
"#;

/// User jason is held for a second, user rosa is refused, user carla gets an answer of the proxy's own.
const RATINGS: &str = r#"        - match:
            prefix: /
            headers:
            - {name: end-user, string_match: {exact: jason}}
          route: {cluster: ratings-v1}
          typed_per_filter_config:
            envoy.filters.http.fault:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              delay: {fixed_delay: 1s, percentage: {numerator: 100}}
        - match:
            prefix: /
            headers:
            - {name: end-user, string_match: {exact: rosa}}
          route: {cluster: ratings-v1}
          typed_per_filter_config:
            envoy.filters.http.fault:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: {http_status: 500, percentage: {numerator: 100}}
        - match:
            safe_regex: {regex: "/r[a-z]+/1"}
          direct_response: {status: 418, body: {inline_string: "no such book"}}
        - match: {path_separated_prefix: /old}
          redirect: {prefix_rewrite: /ratings, response_code: FOUND}
        - match: {prefix: /}
          route: {cluster: ratings-v1}
"#;

/// What an answer means, without what differs from run to run.
fn essence(answer: &Answer) -> (u16, Option<String>, String) {
    (
        answer.status,
        answer.header("location").map(|l| l[l.rfind("/ratings").unwrap_or(0)..].to_owned()),
        answer.body.clone(),
    )
}

fn walk_through(proxy: &Path, arguments: &[&str], name: &str) -> Vec<(u16, Option<String>, String)> {
    let folder = std::env::temp_dir().join(format!("lateen-static-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let bookinfo = Bookinfo::start(proxy, arguments, &folder);
    let title = eventually(Duration::from_secs(20), || {
        let answer = http::get(&bookinfo.gateway, "/productpage").map_err(|error| error.to_string())?;
        if answer.body.contains("<title>Simple Bookstore App</title>") {
            Ok(answer.status)
        } else {
            Err(answer.body)
        }
    });
    assert_eq!(title, 200);
    let red =
        (0..400).filter(|_| http::get(&bookinfo.reviews, "/reviews/0").unwrap().body.contains("red")).count();
    assert!((140..=260).contains(&red), "{red} of 400 at 50/50");
    let jason = http::request("GET", &bookinfo.reviews, "/reviews/0", &["end-user: jason"], "").unwrap();
    assert!(jason.body.contains("black"), "{}", jason.body);
    let start = Instant::now();
    http::request("GET", &bookinfo.ratings, "/ratings/0", &["end-user: jason"], "").unwrap();
    let held = start.elapsed().as_secs_f64();
    // Timers count whole milliseconds.
    assert!((0.99..1.3).contains(&held), "held {held} s");
    let asked = [
        ("/ratings/0", vec![]),
        ("/ratings/0", vec!["end-user: rosa"]),
        ("/reviews/1", vec![]),
        ("/old/0?a=b", vec![]),
        ("/older", vec![]),
    ];
    let answer = |(path, headers): &(&str, Vec<&str>)| {
        essence(&http::request("GET", &bookinfo.ratings, path, headers, "").unwrap())
    };
    let answers = asked.iter().map(answer).collect();
    fs::remove_dir_all(&folder).unwrap();
    answers
}

#[test]
fn bookinfo_runs_from_a_static_bootstrap_and_answers_as_behind_envoy() {
    let proxy = lateen().to_owned();
    let folder = std::env::temp_dir().join(format!("lateen-static-bin-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    // The proxy is a verb of the binary; Envoy is a program of its own.
    let script = folder.join("proxy");
    fs::write(&script, format!("#!/bin/sh\nexec {} proxy \"$@\"\n", proxy.display())).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ours = walk_through(&script, &["-l", "error"], "lateen");
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(ours[1].0, 500);
    assert_eq!((ours[2].0, ours[2].2.as_str()), (418, "no such book"));
    assert_eq!((ours[3].0, ours[3].1.as_deref()), (302, Some("/ratings/0?a=b")));
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    let theirs = walk_through(&envoy, &["-l", "error", "--use-dynamic-base-id"], "envoy");
    assert_eq!(ours, theirs);
}
