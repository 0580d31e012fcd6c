//! External authorization by a gRPC service (`tonic`) and by an HTTP server, of ours and of Envoy's filters.

use super::world::*;
use crate::harness::{Client, Message, echo, nobody, server, upstream};
use lateen_xds::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption, QueryParameter};
use lateen_xds::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use lateen_xds::pb::envoy::service::auth::v3::check_response::HttpResponse;
use lateen_xds::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use lateen_xds::pb::envoy::r#type::v3::HttpStatus;
use lateen_xds::pb::google::rpc;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const AUTHZ: &str = "envoy.filters.http.ext_authz";
const RBAC: &str = "envoy.filters.http.rbac";

/// An authorization service that does what the path asks for, and keeps what it was asked.
#[derive(Clone, Default)]
struct Judge {
    asked: Arc<Mutex<Vec<CheckRequest>>>,
}

fn header(key: &str, value: &str, append_action: i32) -> HeaderValueOption {
    let header = HeaderValue { key: key.into(), value: value.into(), raw_value: Vec::new() };
    HeaderValueOption { header: Some(header), append_action, ..HeaderValueOption::default() }
}

fn status(code: i32) -> Option<rpc::Status> {
    Some(rpc::Status { code, ..rpc::Status::default() })
}

#[tonic::async_trait]
impl Authorization for Judge {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let request = request.into_inner();
        let http = request.attributes.as_ref().and_then(|context| context.request.as_ref()?.http.clone());
        self.asked.lock().unwrap().push(request);
        let path = http.map(|http| http.path).unwrap_or_else(|| "/tcp".to_owned());
        let (code, answer) = match path.split('?').next().unwrap() {
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                (0, None)
            }
            "/fail" => return Err(tonic::Status::internal("broken")),
            "/deny" => {
                let answer = DeniedHttpResponse {
                    status: Some(HttpStatus { code: 401 }),
                    headers: vec![header("x-why", "because", 0), header("x-why", "twice", 0)],
                    body: "go away".into(),
                };
                (7, Some(HttpResponse::DeniedResponse(answer)))
            }
            "/bare-deny" => (7, None),
            "/smuggle" => {
                let answer = OkHttpResponse {
                    headers: vec![header("x-user", "a\r\nx-admin: 1", 2)],
                    ..OkHttpResponse::default()
                };
                (0, Some(HttpResponse::OkResponse(answer)))
            }
            "/edit" => {
                let answer = OkHttpResponse {
                    headers: vec![header("X-User", "alice", 2)],
                    headers_to_remove: vec!["x-secret".into(), ":path".into(), "host".into()],
                    response_headers_to_add: vec![header("x-checked", "yes", 2)],
                    query_parameters_to_set: vec![QueryParameter {
                        key: "who".into(),
                        value: "alice".into(),
                    }],
                    query_parameters_to_remove: vec!["token".into()],
                    ..OkHttpResponse::default()
                };
                (0, Some(HttpResponse::OkResponse(answer)))
            }
            _ => (0, None),
        };
        Ok(tonic::Response::new(CheckResponse {
            status: status(code),
            http_response: answer,
            ..CheckResponse::default()
        }))
    }
}

impl Judge {
    /// Serves; the address.
    fn serve(&self) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let service = AuthorizationServer::new(self.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming)
                    .await
                    .unwrap();
            });
        });
        address
    }

    fn last(&self) -> CheckRequest {
        self.asked.lock().unwrap().last().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn grpc(mut more: Value) -> Value {
    more["transport_api_version"] = "V3".into();
    more["grpc_service"] = json!({"envoy_grpc": {"cluster_name": "judge"}, "timeout": "1s"});
    filter(AUTHZ, "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", more)
}

fn bootstrap(filters: Vec<Value>, judge: SocketAddr, http2: bool, up: SocketAddr) -> Value {
    let per_route =
        |config| json!({AUTHZ: typed("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", config)});
    let mut filters = filters;
    filters.push(router());
    let to_up = json!({"cluster": "up"});
    let manager = json!({
        "stat_prefix": "authz",
        "http_filters": filters,
        "route_config": {"name": "r", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/off"}, "route": to_up, "typed_per_filter_config": per_route(json!({"disabled": true}))},
            {"match": {"prefix": "/more"}, "route": to_up, "typed_per_filter_config": per_route(json!({
                "check_settings": {"context_extensions": {"team": "blue"}, "disable_request_body_buffering": true}}))},
            {"match": {"prefix": "/"}, "route": to_up},
        ]}]},
    });
    json!({"static_resources": {
        "clusters": [cluster("judge", judge, http2), cluster("up", up, false)],
        "listeners": [listener("http", manager, None)],
    }})
}

/// Runs a check against ours, and against an Envoy where one is.
fn on_both(bootstrap: &Value, check: impl Fn(&str, SocketAddr)) {
    let ours = Ours::start(bootstrap);
    check("lateen", ours.address("http"));
    if let Some(envoy) = Envoy::start(bootstrap) {
        check("envoy", envoy.address("http"));
    }
}

fn send(address: SocketAddr, path: &str, headers: &str, body: &str) -> Message {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let sized = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    Client::new(address)
        .request(&format!("{method} {path} HTTP/1.1\r\nhost: authz.test\r\n{headers}{sized}\r\n{body}"))
}

#[test]
fn a_grpc_service_allows_refuses_and_edits() {
    let judge = Judge::default();
    let config = bootstrap(vec![grpc(json!({}))], judge.serve(), true, echo());
    on_both(&config, |who, address| {
        let answer = send(address, "/plain", "x-a: 1\r\nx-a: 2\r\n", "");
        assert_eq!(answer.status(), 200, "{who}");
        let asked = judge.last().attributes.unwrap();
        let http = asked.request.unwrap().http.unwrap();
        assert_eq!((&*http.method, &*http.path, &*http.host), ("GET", "/plain", "authz.test"), "{who}");
        assert_eq!(http.headers["x-a"], "1,2", "{who}");
        assert_eq!(http.headers[":path"], "/plain", "{who}");
        assert!(asked.source.is_some_and(|source| source.address.is_some()), "{who}");

        let answer = send(address, "/edit?token=x&a=1", "x-secret: 1\r\nx-user: root\r\n", "");
        let told = answer.body.to_ascii_lowercase();
        assert!(told.starts_with("get /edit?a=1&who=alice http/1.1"), "{who}: {told}");
        assert!(
            told.contains("x-user: alice") && !told.contains("root") && !told.contains("x-secret"),
            "{who}"
        );
        assert_eq!(answer.header("x-checked"), Some("yes"), "{who}");

        let answer = send(address, "/deny", "", "");
        assert_eq!((answer.status(), &*answer.body), (401, "go away"), "{who}");
        assert_eq!(answer.head.matches("x-why: ").count(), 2, "{who}: {}", answer.head);
        assert_eq!(send(address, "/bare-deny", "", "").status(), 403, "{who}");
        assert_eq!(send(address, "/fail", "", "").status(), 403, "{who}");
        assert_eq!(send(address, "/slow", "", "").status(), 403, "{who}");

        let before = judge.count();
        assert_eq!(send(address, "/off", "", "").status(), 200, "{who}");
        assert_eq!(judge.count(), before, "{who}: switched off by the route");
        send(address, "/more", "", "");
        assert_eq!(judge.last().attributes.unwrap().context_extensions["team"], "blue", "{who}");
    });
}

#[test]
fn a_service_cannot_smuggle_headers() {
    let judge = Judge::default();
    let ours =
        Ours::start(&bootstrap(vec![grpc(json!({"validate_mutations": true}))], judge.serve(), true, echo()));
    assert_eq!(send(ours.address("http"), "/smuggle", "", "").status(), 500);
    assert_eq!(ours.metric("envoy_http_ext_authz_invalid"), 1);
}

#[test]
fn without_an_answer_requests_are_refused_or_pass_as_told() {
    let closed = grpc(json!({"status_on_error": {"code": "ServiceUnavailable"}}));
    on_both(&bootstrap(vec![closed], nobody(), true, echo()), |who, address| {
        assert_eq!(send(address, "/", "", "").status(), 503, "{who}");
    });
    let open = grpc(json!({"failure_mode_allow": true, "failure_mode_allow_header_add": true}));
    on_both(&bootstrap(vec![open], nobody(), true, echo()), |who, address| {
        let answer = send(address, "/", "", "");
        assert_eq!(answer.status(), 200, "{who}");
        assert!(answer.body.contains("x-envoy-auth-failure-mode-allowed: true"), "{who}: {}", answer.body);
    });
}

#[test]
fn a_body_is_told_within_its_limit_and_goes_upstream_whole() {
    let whole = grpc(json!({"with_request_body": {"max_request_bytes": 10}}));
    let judge = Judge::default();
    let address = judge.serve();
    let body_of = |judge: &Judge| judge.last().attributes.unwrap().request.unwrap().http.unwrap();
    on_both(&bootstrap(vec![whole], address, true, echo()), |who, address| {
        let answer = send(address, "/x", "", "0123456789");
        assert!(answer.body.ends_with("\n0123456789"), "{who}: {}", answer.body);
        assert_eq!(body_of(&judge).body, "0123456789", "{who}");
        assert_eq!(send(address, "/x", "", "0123456789a").status(), 413, "{who}");
        assert_eq!(send(address, "/deny", "", "012").status(), 401, "{who}");
        send(address, "/more", "", "012");
        assert_eq!(body_of(&judge).body, "", "{who}: the route does not send it");
    });
    let part = json!({"with_request_body":
        {"max_request_bytes": 4, "allow_partial_message": true, "pack_as_bytes": true}});
    on_both(&bootstrap(vec![grpc(part)], address, true, echo()), |who, address| {
        let long = "0123456789".repeat(30_000);
        let answer = send(address, "/x", "", &long);
        assert!(answer.body.ends_with(&format!("\n{long}")), "{who}: {} bytes", answer.body.len());
        let http = body_of(&judge);
        assert_eq!(http.raw_body.get(..4), Some(&b"0123"[..]), "{who}");
        assert_eq!(http.headers["x-envoy-auth-partial-body"], "true", "{who}");
    });
}

#[test]
fn only_what_shadow_rules_select_is_asked_for() {
    // Istio's CUSTOM: rules that only tell whether the service is to be asked.
    let selected = json!({"policies": {"istio-ext-authz-ns[a]-policy[b]-rule[0]": {
        "permissions": [{"url_path": {"path": {"prefix": "/deny"}}}, {"url_path": {"path": {"prefix": "/plain"}}}],
        "principals": [{"any": true}]}}, "action": "DENY"});
    let shadow = filter(
        RBAC,
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        json!({"shadow_rules": selected, "shadow_rules_stat_prefix": "istio_ext_authz_"}),
    );
    let enabled = json!({"filter": RBAC, "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "istio-ext-authz"}}});
    let judge = Judge::default();
    let filters = vec![shadow, grpc(json!({"filter_enabled_metadata": enabled}))];
    on_both(&bootstrap(filters, judge.serve(), true, echo()), |who, address| {
        let before = judge.count();
        assert_eq!(send(address, "/deny", "", "").status(), 401, "{who}");
        assert_eq!(send(address, "/plain", "", "").status(), 200, "{who}");
        assert_eq!(judge.count(), before + 2, "{who}");
        assert_eq!(send(address, "/bare-deny", "", "").status(), 200, "{who}: not selected");
        assert_eq!(judge.count(), before + 2, "{who}");
    });
}

#[test]
fn an_http_server_allows_and_refuses() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let judge = upstream(move |request| {
        seen.lock().unwrap().push(format!("{}\n{}", request.head, request.body));
        let path = request.head.split(' ').nth(1).unwrap();
        match path {
            "/check/deny" => "HTTP/1.1 302 Found\r\nlocation: /login\r\nx-told: 1\r\nx-kept: 1\r\ncontent-length: 5\r\n\r\nlogin".into(),
            "/check/fail" => "HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n".into(),
            _ => "HTTP/1.1 200 OK\r\nx-user: alice\r\nx-other: 1\r\nx-client: hello\r\ncontent-length: 0\r\n\r\n".into(),
        }
    });
    let exact = |names: &[&str]| {
        let patterns: Vec<Value> = names.iter().map(|name| json!({ "exact": name })).collect();
        json!({ "patterns": patterns })
    };
    let service = json!({
        "server_uri": {"uri": "http://judge.test", "cluster": "judge", "timeout": "1s"},
        "path_prefix": "/check",
        "authorization_request": {"headers_to_add": [{"key": "x-from", "value": "mesh"}]},
        "authorization_response": {
            "allowed_upstream_headers": exact(&["x-user"]),
            "allowed_client_headers": exact(&["x-told"]),
            "allowed_client_headers_on_success": exact(&["x-client"]),
        },
    });
    let config = json!({"transport_api_version": "V3", "http_service": service,
        "allowed_headers": exact(&["x-asked"]), "with_request_body": {"max_request_bytes": 100}});
    let authz = filter(AUTHZ, "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", config);
    on_both(&bootstrap(vec![authz], judge, false, echo()), |who, address| {
        let headers = "x-asked: 1\r\nx-private: 1\r\nauthorization: Basic x\r\nx-user: root\r\n";
        let answer = send(address, "/page?a", headers, "body");
        let told = asked.lock().unwrap().last().unwrap().to_ascii_lowercase();
        assert!(told.starts_with("post /check/page?a http/1.1\r\n"), "{who}: {told}");
        for part in ["host: authz.test", "x-asked: 1", "authorization: basic x", "x-from: mesh", "\nbody"] {
            assert!(told.contains(part), "{who}: {part}: {told}");
        }
        assert!(!told.contains("x-private"), "{who}: {told}");
        assert!(
            answer.body.contains("x-user: alice") && !answer.body.contains("root"),
            "{who}: {}",
            answer.body
        );
        assert!(!answer.body.contains("x-other"), "{who}");
        assert_eq!(answer.header("x-client"), Some("hello"), "{who}");
        let answer = send(address, "/deny", "", "");
        assert_eq!((answer.status(), &*answer.body), (302, "login"), "{who}");
        assert_eq!(
            (answer.header("location"), answer.header("x-told")),
            (Some("/login"), Some("1")),
            "{who}"
        );
        assert_eq!(answer.header("x-kept"), None, "{who}");
        assert_eq!(send(address, "/fail", "", "").status(), 403, "{who}");
    });
}

/// A TCP echo behind network filters.
fn tcp(filters: Vec<Value>, judge: SocketAddr, log: Option<&str>) -> Value {
    let up = server(|mut stream| {
        let mut reader = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut stream);
    });
    let mut proxy = json!({"stat_prefix": "tcp", "cluster": "up"});
    if let Some(path) = log {
        let format = json!({"path": path, "log_format": {"text_format_source":
            {"inline_string": "%CONNECTION_TERMINATION_DETAILS%\n"}}});
        proxy["access_log"] = json!([filter(
            "envoy.access_loggers.file",
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            format
        )]);
    }
    let mut filters = filters;
    filters.push(filter(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        proxy,
    ));
    json!({"static_resources": {"clusters": [cluster("judge", judge, true), cluster("up", up, false)],
        "listeners": [network_listener("http", Value::from(filters), None)]}})
}

/// What comes back for `ping`; empty when the connection is closed.
fn ping(address: SocketAddr) -> String {
    use std::io::{Read, Write};
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(crate::harness::WAIT)).unwrap();
    let _ = client.write_all(b"ping");
    let _ = client.shutdown(std::net::Shutdown::Write);
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer);
    answer
}

#[test]
fn connections_are_closed_by_rules_and_the_log_says_why() {
    let rbac = |range: &str, action: &str| {
        let rule = json!({"permissions": [{"any": true}],
            "principals": [{"direct_remote_ip": {"address_prefix": range, "prefix_len": 8}}]});
        filter(
            "envoy.filters.network.rbac",
            "envoy.extensions.filters.network.rbac.v3.RBAC",
            json!({"stat_prefix": "tcp.", "rules": {"action": action, "policies": {"from here": rule}}}),
        )
    };
    for (range, action, answer) in [
        ("127.0.0.0", "ALLOW", "ping"),
        ("10.0.0.0", "ALLOW", ""),
        ("127.0.0.0", "DENY", ""),
        ("10.0.0.0", "DENY", "ping"),
    ] {
        on_both(&tcp(vec![rbac(range, action)], nobody(), None), |who, address| {
            assert_eq!(ping(address), answer, "{who}: {action} {range}");
        });
    }
    let log = std::env::temp_dir().join(format!("lateen-tcp-{}.log", std::process::id()));
    let ours = Ours::start(&tcp(vec![rbac("127.0.0.0", "DENY")], nobody(), log.to_str()));
    assert_eq!(ping(ours.address("http")), "");
    let deadline = std::time::Instant::now() + crate::harness::WAIT;
    let wanted = "rbac_access_denied_matched_policy[from_here]\n";
    while std::fs::read_to_string(&log).unwrap_or_default() != wanted {
        assert!(std::time::Instant::now() < deadline, "{:?}", std::fs::read_to_string(&log));
        std::thread::yield_now();
    }
    std::fs::remove_file(&log).unwrap();
    assert_eq!(ours.metric("envoy_tcp_rbac_denied"), 1);
}

#[test]
fn connections_are_asked_for_as_well() {
    let judge = Judge::default();
    let authz = |open: bool| {
        filter(
            "envoy.filters.network.ext_authz",
            "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
            json!({"stat_prefix": "t", "transport_api_version": "V3", "failure_mode_allow": open,
                "grpc_service": {"envoy_grpc": {"cluster_name": "judge"}, "timeout": "1s"}}),
        )
    };
    on_both(&tcp(vec![authz(false)], judge.serve(), None), |who, address| {
        assert_eq!(ping(address), "ping", "{who}");
        let asked = judge.last().attributes.unwrap();
        assert!(asked.destination.is_some() && asked.request.is_none_or(|it| it.http.is_none()), "{who}");
    });
    on_both(&tcp(vec![authz(false)], nobody(), None), |who, address| assert_eq!(ping(address), "", "{who}"));
    on_both(&tcp(vec![authz(true)], nobody(), None), |who, address| {
        assert_eq!(ping(address), "ping", "{who}");
    });
}
