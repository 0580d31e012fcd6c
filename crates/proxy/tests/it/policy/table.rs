//! Policies and requests with the verdicts that they must get, from ours and from a real Envoy with the same
//! filters. The table stands in `cases/`.
//!
//! A request is written `METHOD TARGET [name:value ...] [as=PEER] [sni=NAME] [jwt=TOKEN] [xff=ADDRESS] [on=LISTENER]
//! -> STATUS [envoy=STATUS|any]`; the last where we differ from Envoy on purpose.

use super::world::*;
use crate::harness::{Message, read_message};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

const RBAC: &str = "envoy.filters.http.rbac";
const CASES: [(&str, &str); 4] = [
    ("requests", include_str!("cases/requests.yaml")),
    ("paths", include_str!("cases/paths.yaml")),
    ("peers", include_str!("cases/peers.yaml")),
    ("tokens", include_str!("cases/tokens.yaml")),
];

#[derive(Deserialize)]
struct Policy {
    policy: String,
    rbac: Value,
    requests: Vec<String>,
}

/// A request that was read from the table.
struct Request {
    line: String,
    text: String,
    peer: Option<String>,
    sni: Option<String>,
    listener: String,
    status: u16,
    envoy: Option<u16>,
}

fn policies() -> Vec<(String, Policy)> {
    let read = |(file, text): &(&str, &str)| {
        let policies: Vec<Policy> = serde_saphyr::from_str(text).unwrap();
        policies.into_iter().map(|policy| (format!("{file}: {}", policy.policy), policy)).collect::<Vec<_>>()
    };
    CASES.iter().flat_map(read).collect()
}

impl Request {
    fn read(number: usize, line: &str, tokens: &HashMap<&str, String>) -> Self {
        let (request, verdict) = line.split_once(" -> ").expect("a verdict");
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (mut headers, mut host) = (format!("x-policy: {number}\r\n"), "host");
        let (mut peer, mut sni, mut listener) = (None, None, "plain");
        for word in words {
            let option = word.split_once('=').filter(|(name, _)| !name.contains(':'));
            match option {
                Some(("as", name)) => peer = Some(name.to_owned()),
                Some(("sni", name)) => sni = Some(name.to_owned()),
                Some(("on", name)) => listener = name,
                Some(("xff", address)) => headers += &format!("x-forwarded-for: {address}\r\n"),
                Some(("jwt", name)) => headers += &format!("authorization: Bearer {}\r\n", tokens[name]),
                _ => match word.split_once(':').unwrap() {
                    ("host", name) => host = name,
                    (name, value) => headers += &format!("{name}: {value}\r\n"),
                },
            }
        }
        let mut verdict = verdict.split(' ');
        let status = verdict.next().unwrap().parse().unwrap();
        let envoy = match verdict.next().map(|other| other.strip_prefix("envoy=").unwrap()) {
            None => Some(status),
            Some("any") => None,
            Some(other) => Some(other.parse().unwrap()),
        };
        let text =
            format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n{headers}connection: close\r\n\r\n");
        let listener = if peer.is_some() { "tls" } else { listener }.to_owned();
        Request { line: line.to_owned(), text, peer, sni, listener, status, envoy }
    }
}

/// Everything that both proxies are asked with.
struct World {
    authority: Authority,
    signer: Signer,
    peers: HashMap<&'static str, Arc<rustls::ClientConfig>>,
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl World {
    fn new() -> Self {
        let authority = Authority::new("root");
        let spiffe = |name: &str| vec![uri(&format!("spiffe://{name}"))];
        let peers = [
            ("web", Some(authority.issue(None, spiffe("cluster.local/ns/default/sa/web")))),
            ("admin", Some(authority.issue(None, spiffe("cluster.local/ns/admin/sa/root")))),
            ("old", Some(authority.issue(None, spiffe("old.td/ns/default/sa/web")))),
            ("sneaky", Some(authority.issue(None, spiffe("cluster.local/ns/defaultx/sa/web")))),
            ("dns", Some(authority.issue(Some("client"), vec![dns("client.example.com")]))),
            ("nobody", None),
        ];
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.root.as_bytes()).unwrap()).unwrap();
        let client = |pair: Option<Pair>| {
            let builder = rustls::ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots.clone());
            let config = match pair {
                Some(pair) => {
                    let chain = CertificateDer::from_pem_slice(pair.chain.as_bytes()).unwrap();
                    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                    builder.with_client_auth_cert(vec![chain], key).unwrap()
                }
                None => builder.with_no_client_auth(),
            };
            Arc::new(config)
        };
        let peers = peers.into_iter().map(|(name, pair)| (name, client(pair))).collect();
        World { authority, signer: Signer::new(), peers }
    }

    fn tokens(&self) -> HashMap<&'static str, String> {
        let (issuer, exp) = ("https://issuer.test", now() + 3600);
        let sign = |claims| self.signer.sign(claims);
        HashMap::from([
            (
                "alice",
                sign(
                    json!({"iss": issuer, "sub": "alice", "exp": exp, "aud": ["web", "api"], "groups": ["users",
                    "admins"], "scope": "read write", "realm": {"roles": ["x", "team-a"]}, "age": 30, "verified": true}),
                ),
            ),
            (
                "bob",
                sign(json!({"iss": issuer, "sub": "bob", "exp": exp, "aud": "web", "groups": "admins",
                    "scope": "read", "realm": ["team-b"], "age": 17, "verified": "true", "nothing": null})),
            ),
            (
                "carol",
                sign(json!({"iss": issuer, "sub": "carol", "exp": exp, "aud": "webx", "verified": false})),
            ),
            ("expired", sign(json!({"iss": issuer, "sub": "alice", "exp": now() - 3600}))),
            ("stranger", sign(json!({"iss": "https://other.test", "sub": "alice", "exp": exp}))),
            ("forged", Signer::new().sign(json!({"iss": issuer, "sub": "alice", "exp": exp, "aud": "web"}))),
        ])
    }

    fn bootstrap(&self, policies: &[(String, Policy)]) -> Value {
        let per_route = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
        let routes = policies.iter().enumerate().map(|(number, (_, policy))| {
            json!({
                "match": {"prefix": "/", "headers":
                    [{"name": "x-policy", "string_match": {"exact": number.to_string()}}]},
                "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
                "typed_per_filter_config": {RBAC: typed(per_route, json!({"rbac": {"rules": policy.rbac}}))},
            })
        });
        let routes: Vec<Value> = routes.collect();
        let manager = |more: Value| {
            let mut manager = json!({
                "stat_prefix": "policy",
                "http_filters": [self.jwt(), filter(RBAC, "envoy.extensions.filters.http.rbac.v3.RBAC", json!({})),
                    router()],
                "route_config": {"name": "r", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            });
            manager.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            manager
        };
        let normal = |action: &str| {
            manager(
                json!({"normalize_path": true, "merge_slashes": true, "path_with_escaped_slashes_action": action}),
            )
        };
        json!({"static_resources": {"listeners": [
            listener("plain", manager(json!({})), None),
            listener("normal", normal("UNESCAPE_AND_FORWARD"), None),
            listener("reject", normal("REJECT_REQUEST"), None),
            listener("redirect", normal("UNESCAPE_AND_REDIRECT"), None),
            listener("tls", manager(json!({})), Some(self.server_tls())),
        ]}})
    }

    fn jwt(&self) -> Value {
        let provider = json!({
            "issuer": "https://issuer.test",
            "local_jwks": {"inline_string": self.signer.jwks()},
            "payload_in_metadata": "payload",
            "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
        });
        let any = json!({"requires_any": {"requirements":
            [{"provider_name": "p"}, {"allow_missing_or_failed": {}}]}});
        let config =
            json!({"providers": {"p": provider}, "rules": [{"match": {"prefix": "/"}, "requires": any}]});
        filter(
            "envoy.filters.http.jwt_authn",
            "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            config,
        )
    }

    fn server_tls(&self) -> Value {
        let names = ["localhost", "www.example.com", "api.example.com"];
        let pair = self.authority.issue(Some("server"), names.map(dns).to_vec());
        let context = json!({"common_tls_context": {
            "tls_certificates": [{"certificate_chain": {"inline_string": pair.chain},
                "private_key": {"inline_string": pair.key}}],
            "validation_context": {"trusted_ca": {"inline_string": self.authority.root}},
        }});
        let kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
        filter("envoy.transport_sockets.tls", kind, context)
    }

    /// Asks a proxy.
    fn ask(&self, address: SocketAddr, request: &Request) -> Option<Message> {
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(crate::harness::WAIT)).unwrap();
        let Some(peer) = &request.peer else {
            tcp.write_all(request.text.as_bytes()).unwrap();
            return read_message(&mut tcp, &mut Vec::new(), request.text.starts_with("HEAD"));
        };
        let name = request.sni.clone().unwrap_or_else(|| "localhost".to_owned());
        let name = ServerName::try_from(name).unwrap();
        let session = rustls::ClientConnection::new(self.peers[&**peer].clone(), name).unwrap();
        let mut tls = rustls::StreamOwned::new(session, tcp);
        tls.write_all(request.text.as_bytes()).ok()?;
        read_tls(&mut tls)
    }
}

/// Reads one response whose body has a length; none: the connection ended before it.
fn read_tls(tls: &mut impl Read) -> Option<Message> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let length = tls.read(&mut piece).ok().filter(|length| *length > 0)?;
        all.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&all);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let message = Message { head: head.to_owned(), body: body.to_owned(), trailers: String::new() };
        let length = message.header("content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return Some(message);
        }
    }
}

#[test]
fn every_case_of_the_table_gets_its_verdict_from_us_and_from_envoy() {
    let (world, policies) = (World::new(), policies());
    let tokens = world.tokens();
    let bootstrap = world.bootstrap(&policies);
    let (ours, envoy) = (Ours::start(&bootstrap), Envoy::start(&bootstrap));
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (number, (name, policy)) in policies.iter().enumerate() {
        for line in &policy.requests {
            let request = Request::read(number, line, &tokens);
            count += 1;
            let mut compare = |who: &str, address, wanted: u16| {
                let answer = world.ask(address, &request);
                let status = answer.as_ref().map_or(0, Message::status);
                if status != wanted {
                    wrong.push(format!("{name}: {}: {who} says {status}", request.line));
                }
                if status == 403 && !request.text.starts_with("HEAD") {
                    assert_eq!(
                        answer.unwrap().body,
                        "RBAC: access denied",
                        "{name}: {}: {who}",
                        request.line
                    );
                }
            };
            compare("lateen", ours.address(&request.listener), request.status);
            if let (Some(envoy), Some(wanted)) = (&envoy, request.envoy) {
                compare("envoy", envoy.address(&request.listener), wanted);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 300, "{count} cases");
    assert!(ours.metric("envoy_http_rbac_denied") > 100 && ours.metric("envoy_http_rbac_allowed") > 100);
}
