//! JSON web tokens: verdicts and their words (ours and Envoy's), what is told to the upstream and to routes, and keys
//! that come from an HTTPS server.

use super::world::*;
use crate::harness::{Client, Message, WAIT, echo, upstream};
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const JWT: &str = "envoy.filters.http.jwt_authn";
const ISSUER: &str = "https://issuer.test";

fn jwt_filter(config: Value) -> Value {
    filter(JWT, "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication", config)
}

fn manager(config: Value, routes: Value) -> Value {
    json!({
        "stat_prefix": "tokens",
        "http_filters": [jwt_filter(config), router()],
        "route_config": {"name": "r", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    })
}

fn ok_route() -> Value {
    json!({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}})
}

fn request(address: SocketAddr, path: &str, headers: &str) -> Message {
    Client::new(address).request(&format!("GET {path} HTTP/1.1\r\nhost: jwt.test\r\n{headers}\r\n"))
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// One rule for everything that needs a token of the one provider.
fn required(mut provider: Value, jwks: String) -> Value {
    provider["issuer"] = ISSUER.into();
    provider["local_jwks"] = json!({ "inline_string": jwks });
    json!({"providers": {"p": provider}, "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]})
}

/// What is sent, and the status and body that must come back.
fn refusals(signer: &Signer) -> Vec<(&'static str, String, u16, &'static str)> {
    let good = json!({"iss": ISSUER, "sub": "a", "aud": "web", "exp": now() + 600});
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        signer.sign(claims)
    };
    let whole = signer.sign(good.clone());
    let (head, signature) = whole.rsplit_once('.').unwrap();
    let unsigned = |header: Value| format!("{}.{}.", encode(header.to_string()), encode(good.to_string()));
    // The public key as the secret of a symmetric signature.
    let confused = {
        let signed = format!(
            "{}.{}",
            encode(json!({"alg": "HS256", "kid": "k1"}).to_string()),
            encode(good.to_string())
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, signer.jwks().as_bytes());
        format!("{signed}.{}", encode(hmac::sign(&key, signed.as_bytes())))
    };
    let format = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    let no_key = "Jwks doesn't have key to match kid or alg from Jwt";
    vec![
        ("good", bearer(&whole), 200, "ok"),
        ("in the query", String::new(), 401, "Jwt is missing"),
        ("other scheme", format!("authorization: Basic {whole}\r\n"), 401, "Jwt is missing"),
        ("nothing", String::new(), 401, "Jwt is missing"),
        ("two parts", bearer("a.b"), 401, format),
        ("four parts", bearer("a.b.c.d"), 401, format),
        ("bad base64", bearer("a!.b.c"), 401, "Jwt header is an invalid Base64url encoded"),
        ("bad JSON", bearer(&format!("{}.b.c", encode("{"))), 401, "Jwt header is an invalid JSON"),
        (
            "no algorithm",
            bearer(&signer.sign_with(json!({}), good.clone())),
            401,
            "Jwt header [alg] field is required and must be a string",
        ),
        (
            "algorithm none",
            bearer(&(unsigned(json!({"alg": "none"})) + "eA")),
            401,
            "Jwt header [alg] is not supported",
        ),
        ("algorithm none without a signature", bearer(&unsigned(json!({"alg": "none"}))), 401, format),
        ("expired", bearer(&with("exp", json!(now() - 100))), 401, "Jwt is expired"),
        ("expired within the skew", bearer(&with("exp", json!(now() - 20))), 200, "ok"),
        ("not yet valid", bearer(&with("nbf", json!(now() + 100))), 401, "Jwt not yet valid"),
        ("soon valid", bearer(&with("nbf", json!(now() + 20))), 200, "ok"),
        (
            "another issuer",
            bearer(&with("iss", json!("https://evil.test"))),
            401,
            "Jwt issuer is not configured",
        ),
        ("another audience", bearer(&with("aud", json!("api"))), 403, "Audiences in Jwt are not allowed"),
        ("one of the audiences", bearer(&with("aud", json!(["x", "web"]))), 200, "ok"),
        (
            "issuer that is no text",
            bearer(&with("iss", json!(1))),
            401,
            "Jwt payload [iss] field is not a string",
        ),
        (
            "unknown kid",
            bearer(&signer.sign_with(json!({"alg": "ES256", "kid": "k2"}), good.clone())),
            401,
            no_key,
        ),
        (
            "another algorithm",
            bearer(&signer.sign_with(json!({"alg": "ES384", "kid": "k1"}), good.clone())),
            401,
            no_key,
        ),
        ("wrong key", bearer(&Signer::new().sign(good.clone())), 401, "Jwt verification fails"),
        ("changed", bearer(&format!("{}x.{signature}", &head[..head.len() - 1])), 401, ""),
        ("confused algorithms", bearer(&confused), 401, no_key),
        (
            "bad signature text",
            bearer(&format!("{head}.!!")),
            401,
            "Jwt signature is an invalid Base64url encoded",
        ),
    ]
}

#[test]
fn bad_tokens_are_refused_in_envoys_words() {
    let signer = Signer::new();
    let config = required(json!({"audiences": ["web"]}), signer.jwks());
    let bootstrap = json!({"static_resources": {"listeners": [listener("http", manager(config, json!([ok_route()])), None)]}});
    let (ours, envoy) = (Ours::start(&bootstrap), Envoy::start(&bootstrap));
    let mut addresses = vec![("lateen", ours.address("http"))];
    addresses.extend(envoy.as_ref().map(|envoy| ("envoy", envoy.address("http"))));
    for (what, headers, status, body) in refusals(&signer) {
        for (who, address) in &addresses {
            let answer = request(*address, "/p?q", &headers);
            assert_eq!(answer.status(), status, "{what}: {who}: {}", answer.body);
            if !body.is_empty() {
                assert_eq!(answer.body, body, "{what}: {who}");
            }
            if status != 200 {
                let error = if body == "Jwt is missing" { "" } else { ", error=\"invalid_token\"" };
                let wanted = format!("Bearer realm=\"http://jwt.test/p?q\"{error}");
                assert_eq!(answer.header("www-authenticate"), Some(&*wanted), "{what}: {who}");
            }
        }
    }
    assert!(ours.metric("envoy_http_jwt_authn_denied") > 10);
}

#[test]
fn an_oversized_token_is_refused() {
    let signer = Signer::new();
    let config = required(json!({}), signer.jwks());
    let bootstrap = json!({"static_resources": {"listeners": [listener("http", manager(config, json!([ok_route()])), None)]}});
    let ours = Ours::start(&bootstrap);
    let token = signer.sign(json!({"iss": ISSUER, "junk": "x".repeat(40 << 10)}));
    let answer = request(ours.address("http"), "/", &bearer(&token));
    assert_eq!((answer.status(), &*answer.body), (401, "Jwt is too large"));
}

#[test]
fn claims_go_upstream_and_nobody_else_can_tell_them() {
    let signer = Signer::new();
    let provider = json!({
        "from_headers": [{"name": "X-Token", "value_prefix": "JWT "}],
        "from_params": ["t"],
        "from_cookies": ["session"],
        "forward_payload_header": "x-payload",
        "claim_to_headers": [{"header_name": "x-sub", "claim_name": "sub"},
            {"header_name": "x-team", "claim_name": "realm.team"}, {"header_name": "x-age", "claim_name": "age"}],
    });
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]);
    let bootstrap = json!({"static_resources": {
        "clusters": [cluster("up", echo(), false)],
        "listeners": [listener("http", manager(required(provider, signer.jwks()), routes), None)],
    }});
    let (ours, envoy) = (Ours::start(&bootstrap), Envoy::start(&bootstrap));
    let claims = json!({"iss": ISSUER, "sub": "alice", "realm": {"team": "blue"}, "age": 30});
    let token = signer.sign(claims.clone());
    let mut addresses = vec![ours.address("http")];
    addresses.extend(envoy.as_ref().map(|envoy| envoy.address("http")));
    for address in addresses {
        let forged = "x-sub: root\r\nx-payload: forged\r\n";
        for (path, headers) in [
            ("/a", format!("x-token: JWT {token}\r\n{forged}")),
            (&*format!("/a?t={token}&b=1"), forged.to_owned()),
            ("/a", format!("cookie: session={token}\r\n{forged}")),
        ] {
            let answer = request(address, path, &headers);
            assert_eq!(answer.status(), 200, "{}", answer.body);
            let told = answer.body.to_ascii_lowercase();
            assert!(told.contains("x-sub: alice\r\n") && !told.contains("root"), "{told}");
            assert!(told.contains("x-team: blue\r\n") && told.contains("x-age: 30\r\n"), "{told}");
            assert!(answer.body.contains(&encode(claims.to_string())) && !told.contains("forged"), "{told}");
            assert!(!told.contains("x-token") && !told.contains("t=ey"), "the token is taken out: {told}");
        }
        assert_eq!(request(address, "/a", forged).status(), 401);
    }
}

#[test]
fn routes_choose_by_claims() {
    let signer = Signer::new();
    let provider = json!({"payload_in_metadata": "payload", "clear_route_cache": true, "issuer": ISSUER,
        "local_jwks": {"inline_string": signer.jwks()}});
    let any = json!({"requires_any": {"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]}});
    let config =
        json!({"providers": {"p": provider}, "rules": [{"match": {"prefix": "/"}, "requires": any}]});
    let claim = |value: Value| json!({"filter": JWT, "path": [{"key": "payload"}, {"key": "groups"}], "value": value});
    let admins = claim(json!({"list_match": {"one_of": {"string_match": {"exact": "admins"}}}}));
    let text = |body: &str| json!({"status": 200, "body": {"inline_string": body}});
    let routes = json!([
        {"match": {"prefix": "/", "dynamic_metadata": [admins]}, "direct_response": text("admins")},
        {"match": {"prefix": "/"}, "direct_response": text("others")},
    ]);
    let bootstrap =
        json!({"static_resources": {"listeners": [listener("http", manager(config, routes), None)]}});
    let (ours, envoy) = (Ours::start(&bootstrap), Envoy::start(&bootstrap));
    let mut addresses = vec![ours.address("http")];
    addresses.extend(envoy.as_ref().map(|envoy| envoy.address("http")));
    let token = |groups: Value| bearer(&signer.sign(json!({"iss": ISSUER, "groups": groups})));
    for address in addresses {
        assert_eq!(request(address, "/", &token(json!(["x", "admins"]))).body, "admins");
        assert_eq!(request(address, "/", &token(json!(["x"]))).body, "others");
        assert_eq!(request(address, "/", "").body, "others");
        let forged = bearer(&Signer::new().sign(json!({"iss": ISSUER, "groups": ["admins"]})));
        assert_eq!(request(address, "/", &forged).body, "Jwt verification fails");
    }
}

#[test]
fn requirements_combine_and_routes_have_their_own() {
    let (one, two) = (Signer::new(), Signer::new());
    let provider = |signer: &Signer, issuer: &str, header: &str| json!({"issuer": issuer, "local_jwks": {"inline_string": signer.jwks()}, "from_headers": [{"name": header}]});
    let both =
        json!({"requires_all": {"requirements": [{"provider_name": "one"}, {"provider_name": "two"}]}});
    let either =
        json!({"requires_any": {"requirements": [{"provider_name": "one"}, {"provider_name": "two"}]}});
    let optional =
        json!({"requires_any": {"requirements": [{"provider_name": "one"}, {"allow_missing": {}}]}});
    let config = json!({
        "providers": {"one": provider(&one, "i1", "x-one"), "two": provider(&two, "i2", "x-two")},
        "rules": [{"match": {"prefix": "/both"}, "requires": both}, {"match": {"prefix": "/either"}, "requires": either},
            {"match": {"prefix": "/optional"}, "requires": optional}],
        "requirement_map": {"two": {"provider_name": "two"}},
        "bypass_cors_preflight": true,
    });
    let per_route =
        |config| json!({JWT: typed("envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", config)});
    let route = |prefix: &str, own: Option<Value>| {
        let mut route = ok_route();
        route["match"]["prefix"] = prefix.into();
        if let Some(own) = own {
            route["typed_per_filter_config"] = per_route(own);
        }
        route
    };
    let routes = json!([
        route("/both/off", Some(json!({"disabled": true}))),
        route("/both/two", Some(json!({"requirement_name": "two"}))),
        route("/both/unknown", Some(json!({"requirement_name": "x"}))),
        route("/", None),
    ]);
    let bootstrap =
        json!({"static_resources": {"listeners": [listener("http", manager(config, routes), None)]}});
    let (ours, envoy) = (Ours::start(&bootstrap), Envoy::start(&bootstrap));
    let mut addresses = vec![("lateen", ours.address("http"))];
    addresses.extend(envoy.as_ref().map(|envoy| ("envoy", envoy.address("http"))));
    let one = format!("x-one: {}\r\n", one.sign(json!({"iss": "i1"})));
    let two = format!("x-two: {}\r\n", two.sign(json!({"iss": "i2"})));
    let bad = "x-one: a.b.c\r\n".to_owned();
    let cases = [
        ("/both", one.clone() + &two, 200),
        ("/both", one.clone(), 401),
        ("/both", String::new(), 401),
        ("/either", one.clone(), 200),
        ("/either", two.clone(), 200),
        ("/either", String::new(), 401),
        ("/either", bad.clone(), 401),
        ("/optional", String::new(), 200),
        ("/optional", one.clone(), 200),
        ("/optional", bad.clone(), 401),
        ("/optional", two.clone(), 200),
        ("/both/off", bad.clone(), 200),
        ("/both/two", two.clone(), 200),
        ("/both/two", one, 401),
        ("/both/unknown", two, 403),
        ("/elsewhere", bad, 200),
    ];
    for (path, headers, status) in cases {
        for (who, address) in &addresses {
            let answer = request(*address, path, &headers);
            assert_eq!(answer.status(), status, "{who}: {path} {headers}: {}", answer.body);
        }
    }
    let preflight =
        "OPTIONS /both HTTP/1.1\r\nhost: a\r\norigin: b\r\naccess-control-request-method: GET\r\n\r\n";
    assert_eq!(Client::new(addresses[0].1).request(preflight).status(), 200);
}

/// An HTTPS server of key sets that can be told to fail.
struct KeyServer {
    address: SocketAddr,
    keys: Arc<Mutex<String>>,
    broken: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

fn key_server(authority: &Authority, keys: String) -> KeyServer {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let pair = authority.issue(None, vec![dns("keys.test")]);
    let chain = CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let server = KeyServer {
        address: listener.local_addr().unwrap(),
        keys: Arc::new(Mutex::new(keys)),
        broken: Arc::default(),
        asked: Arc::default(),
    };
    let (keys, broken, asked) = (server.keys.clone(), server.broken.clone(), server.asked.clone());
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::StreamOwned::new(session, tcp.unwrap());
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if tls.read_exact(&mut byte).is_err() {
                    break;
                }
                head.push(byte[0]);
            }
            if head.is_empty() {
                continue;
            }
            assert!(head.starts_with(b"GET /jwks.json HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
            asked.fetch_add(1, Ordering::SeqCst);
            let keys = keys.lock().unwrap().clone();
            let status = if broken.load(Ordering::SeqCst) { "500 Broken" } else { "200 OK" };
            let length = keys.len();
            let _ = write!(
                tls,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{keys}"
            );
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    server
}

fn remote(server: &KeyServer, authority: &Authority, cache: &str) -> Value {
    let uri = json!({"uri": "https://keys.test/jwks.json", "cluster": "keys", "timeout": "2s"});
    let provider = json!({"issuer": ISSUER, "remote_jwks": {"http_uri": uri, "cache_duration": cache,
        "async_fetch": {"failed_refetch_duration": "0.3s"}}});
    let config = json!({"providers": {"p": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]});
    let mut keys = cluster("keys", server.address, false);
    let context = json!({"sni": "keys.test", "common_tls_context": {"validation_context": {
        "trusted_ca": {"inline_string": authority.root},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "keys.test"}}]}}});
    keys["transport_socket"] = filter(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        context,
    );
    json!({"static_resources": {"clusters": [keys],
        "listeners": [listener("http", manager(config, json!([ok_route()])), None)]}})
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn keys_come_from_an_https_server_change_there_and_stay_when_it_fails() {
    let (authority, old, new) = (Authority::new("keys"), Signer::new(), Signer::new());
    let server = key_server(&authority, old.jwks());
    let ours = Ours::start(&remote(&server, &authority, "0.5s"));
    let address = ours.address("http");
    let claims = json!({"iss": ISSUER});
    assert_eq!(request(address, "/", &bearer(&old.sign(claims.clone()))).body, "ok");
    assert_eq!(request(address, "/", &bearer(&new.sign(claims.clone()))).body, "Jwt verification fails");
    *server.keys.lock().unwrap() = new.jwks();
    let token = bearer(&new.sign(claims));
    until("the new keys are not taken", || request(address, "/", &token).status() == 200);
    server.broken.store(true, Ordering::SeqCst);
    let asked = server.asked.load(Ordering::SeqCst);
    until("no fetch while it fails", || server.asked.load(Ordering::SeqCst) > asked + 1);
    assert_eq!(request(address, "/", &token).status(), 200, "the last good keys stay");
    assert!(ours.metric("envoy_http_jwt_authn_jwks_fetch_failed") > 0);
}

#[test]
fn without_keys_every_token_is_refused_until_they_come() {
    let (authority, signer) = (Authority::new("keys"), Signer::new());
    let server = key_server(&authority, "no JSON".to_owned());
    let ours = Ours::start(&remote(&server, &authority, "600s"));
    let address = ours.address("http");
    let token = bearer(&signer.sign(json!({"iss": ISSUER})));
    let answer = request(address, "/", &token);
    assert_eq!((answer.status(), &*answer.body), (401, "Jwks remote fetch is failed"));
    *server.keys.lock().unwrap() = signer.jwks();
    until("the keys are not taken", || request(address, "/", &token).status() == 200);
}

#[test]
fn keys_of_a_server_with_a_wrong_certificate_are_not_taken() {
    let (authority, other, signer) = (Authority::new("keys"), Authority::new("evil"), Signer::new());
    let server = key_server(&other, signer.jwks());
    let ours = Ours::start(&remote(&server, &authority, "600s"));
    let token = bearer(&signer.sign(json!({"iss": ISSUER})));
    assert_eq!(request(ours.address("http"), "/", &token).body, "Jwks remote fetch is failed");
    assert_eq!(server.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_provider_with_bad_keys_refuses_its_tokens_and_the_others_go_on() {
    let signer = Signer::new();
    let provider =
        |issuer: &str, jwks: String| json!({"issuer": issuer, "local_jwks": {"inline_string": jwks}});
    let any =
        json!({"requires_any": {"requirements": [{"provider_name": "bad"}, {"provider_name": "good"}]}});
    let config = json!({
        "providers": {"bad": provider("bad", "no JSON".to_owned()), "good": provider("good", signer.jwks())},
        "rules": [{"match": {"prefix": "/"}, "requires": any}],
    });
    let up = upstream(|_| crate::harness::ok("up"));
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]);
    let bootstrap = json!({"static_resources": {"clusters": [cluster("up", up, false)],
        "listeners": [listener("http", manager(config, routes), None)]}});
    let ours = Ours::start(&bootstrap);
    let ask =
        |issuer: &str| request(ours.address("http"), "/", &bearer(&signer.sign(json!({"iss": issuer}))));
    assert_eq!(ask("good").body, "up");
    assert_eq!((ask("bad").status(), &*ask("bad").body), (401, "Jwks doesn't have any valid public key"));
}
