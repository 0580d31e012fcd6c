//! Bad input is answered in words, and never costs what was there.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use lateen_testkit::http;

use crate::harness::{Mesh, User, eventually, has_program, missing_peer, samples};

#[test]
fn bad_input_is_answered_and_costs_nothing() {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    let mesh = Mesh::up(User::Current, &["--demo", "bookinfo"]);
    eventually(Duration::from_secs(20), || productpage_status(&mesh, 200));
    mesh.apply(&samples().join("bookinfo/destination-rule-all.yaml"));
    an_invalid_resource_is_refused_with_all_its_errors(&mesh);
    four_of_five_documents_are_applied(&mesh);
    a_reference_that_leads_nowhere_is_served_as_503_and_reported(&mesh);
    malformed_requests_never_reach_the_application(&mesh);
    a_sidecar_that_ends_comes_back(&mesh);
    traffic_goes_on_without_the_control_plane(&mesh);
}

fn productpage_status(mesh: &Mesh, wanted: u16) -> Result<(), String> {
    let answer = http::get(&mesh.gateway, "/productpage").map_err(|error| error.to_string())?;
    (answer.status == wanted).then_some(()).ok_or_else(|| format!("status {}", answer.status))
}

/// Applies text as kubectl would from a file; gives success and everything that kubectl said.
fn apply_text(mesh: &Mesh, text: &str) -> (bool, String) {
    let file = mesh.state.join("input.yaml");
    fs::write(&file, text).unwrap();
    let output = mesh.try_kubectl(&["apply", "-f", file.to_str().unwrap()]);
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

fn an_invalid_resource_is_refused_with_all_its_errors(mesh: &Mesh) {
    mesh.apply(&samples().join("bookinfo/virtual-service-all-v1.yaml"));
    let before = mesh.kubectl(&["get", "vs", "reviews", "-o", "jsonpath={.spec}"]);
    let (applied, said) = apply_text(
        mesh,
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n  \
         hosts: [reviews]\n  http:\n  - timeout: -3s\n    route:\n    \
         - {destination: {host: reviews, subset: v1}, weight: -20}\n    \
         - {destination: {host: 'not a host', subset: v2}, weight: 50}\n",
    );
    assert!(!applied, "{said}");
    for field in
        ["spec.http[0].timeout", "spec.http[0].route[0].weight", "spec.http[0].route[1].destination.host"]
    {
        assert!(said.contains(field), "{field} is not named: {said}");
    }
    assert_eq!(mesh.kubectl(&["get", "vs", "reviews", "-o", "jsonpath={.spec}"]), before);
}

fn four_of_five_documents_are_applied(mesh: &Mesh) {
    let document = |number: u32, weight: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: five-{number}}}\nspec:\n  \
             hosts: [five-{number}.example.com]\n  http:\n  - route:\n    \
             - {{destination: {{host: reviews, subset: v1}}, weight: {weight}}}\n    \
             - {{destination: {{host: reviews, subset: v2}}, weight: 50}}\n---\n"
        )
    };
    let text: String = (1..=5).map(|n| document(n, if n == 3 { "-1" } else { "50" })).collect();
    let (all, said) = apply_text(mesh, &text);
    assert!(!all);
    for number in [1, 2, 4, 5] {
        assert!(
            said.contains(&format!("virtualservice.networking.istio.io/five-{number} created")),
            "{said}"
        );
    }
    assert!(said.contains("five-3") && said.contains("weight"), "{said}");
    assert!(!mesh.try_kubectl(&["get", "vs", "five-3"]).status.success());
}

fn a_reference_that_leads_nowhere_is_served_as_503_and_reported(mesh: &Mesh) {
    let (applied, said) = apply_text(
        mesh,
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: nowhere}\nspec:\n  \
         hosts: ['nowhere.example.com']\n  gateways: [bookinfo-gateway]\n  http:\n  - route:\n    \
         - {destination: {host: reviews, subset: v9}}\n",
    );
    assert!(applied, "{said}");
    eventually(Duration::from_secs(5), || {
        let answer = http::request("GET", &mesh.gateway, "/", &["Host: nowhere.example.com"], "");
        let status = answer.map_err(|error| error.to_string())?.status;
        (status == 503).then_some(()).ok_or_else(|| format!("status {status}"))
    });
    let state = mesh.state.join("mesh");
    let output = mesh.lateen(&["status", "--state-dir", state.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("nowhere") && said.contains("v9"), "{said}");
    mesh.kubectl(&["delete", "vs", "nowhere"]);
}

/// Sends bytes to the gateway as they are; gives the status of the answer, or `None` if the connection was closed.
fn raw(mesh: &Mesh, bytes: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(mesh.gateway.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The gateway may close before it has read everything: then the answer, if any, counts.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let line = String::from_utf8_lossy(&answer).lines().next()?.to_owned();
    line.split(' ').nth(1)?.parse().ok()
}

fn malformed_requests_never_reach_the_application(mesh: &Mesh) {
    let huge = format!("GET /productpage HTTP/1.1\r\nHost: a\r\nX-Huge: {}\r\n\r\n", "a".repeat(200_000));
    let cases: [(&str, &[u8]); 8] = [
        ("no request line", b"\x01\x02\x03\r\n\r\n"),
        ("no version", b"GET /productpage\r\nHost: a\r\n\r\n"),
        ("both lengths", b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("two lengths", b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
        ("bad chunk", b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
        ("NUL", b"GET /productpage HTTP/1.1\r\nHost: a\r\nX-A: a\0b\r\n\r\n"),
        ("CR", b"GET /productpage HTTP/1.1\r\nHost: a\r\nX-A: a\rb\r\n\r\n"),
        ("oversized header", huge.as_bytes()),
    ];
    for (what, bytes) in cases {
        let status = raw(mesh, bytes);
        assert!(matches!(status, None | Some(400..=499)), "{what}: {status:?}");
    }
    productpage_status(mesh, 200).unwrap();
}

fn a_sidecar_that_ends_comes_back(mesh: &Mesh) {
    let restarts = || {
        let path = "jsonpath={.items[0].status.containerStatuses[?(@.name==\"istio-proxy\")].restartCount}";
        mesh.kubectl(&["get", "pods", "-l", "app=productpage", "-o", path]).parse::<u32>().unwrap()
    };
    assert_eq!(restarts(), 0);
    let quit = "http://127.0.0.1:15000/quitquitquit";
    mesh.try_kubectl(&[
        "exec",
        "deploy/productpage-v1",
        "-c",
        "istio-proxy",
        "--",
        "curl",
        "-s",
        "-X",
        "POST",
        quit,
    ]);
    eventually(Duration::from_secs(20), || (restarts() > 0).then_some(()).ok_or("not restarted".to_owned()));
    eventually(Duration::from_secs(20), || productpage_status(mesh, 200));
}

fn traffic_goes_on_without_the_control_plane(mesh: &Mesh) {
    mesh.kubectl(&["delete", "pod", "-n", "istio-system", "-l", "app=istiod", "--grace-period=0", "--force"]);
    for _ in 0..50 {
        productpage_status(mesh, 200).unwrap();
    }
    mesh.kubectl(&[
        "wait",
        "-n",
        "istio-system",
        "--for=condition=Available",
        "deployment/istiod",
        "--timeout=30s",
    ]);
    mesh.kubectl(&["delete", "-f", samples().join("bookinfo/gateway.yaml").to_str().unwrap()]);
    eventually(Duration::from_secs(15), || match http::get(&mesh.gateway, "/productpage") {
        // Without a server the gateway closes its listener, or knows no route.
        Ok(answer) if answer.status == 200 => Err("still served".to_owned()),
        _ => Ok(()),
    });
}
