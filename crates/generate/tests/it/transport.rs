//! TLS: which connections are encrypted, by whose certificates, and what becomes of those that must be and are not.

use std::sync::Arc;

use lateen_generate::Proxy;
use lateen_mesh::{Credential, Meta};
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use lateen_xds::pb::envoy::config::listener::v3::FilterChain;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, Secret, UpstreamTlsContext, secret,
};
use lateen_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use prost::Message;

use crate::kit::{Cluster0, Read, ingress, sidecar};

/// A proxy that has proved who it is.
pub fn trusted(proxy: Proxy) -> Proxy {
    Proxy { authenticated: true, ..proxy }
}

pub const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-x, port: 7000}, {name: odd, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web, version: v1, security.istio.io/tlsMode: istio}}
    spec: {serviceAccountName: web-account, containers: []}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db}
spec: {template: {metadata: {labels: {app: db}}, spec: {containers: []}}}
";

fn cluster(more: &str) -> Cluster0 {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(more);
    cluster
}

fn seen(cluster: &mut Cluster0, app: &str) -> Read {
    cluster.resources(&trusted(sidecar("x-0", &[("app", app)], "envoy")))
}

pub fn unpack<M: Message + Default>(socket: &TransportSocket) -> M {
    let Some(ConfigType::TypedConfig(any)) = &socket.config_type else { panic!("{socket:?}") };
    M::decode(any.value.as_slice()).expect("well formed")
}

fn names(common: &CommonTlsContext) -> Vec<String> {
    let Some(ValidationContextType::CombinedValidationContext(both)) = &common.validation_context_type else {
        panic!("{common:?}")
    };
    let own = both.default_validation_context.as_ref().expect("asked of certificates");
    let one =
        |m: &lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::SubjectAltNameMatcher| match m
            .matcher
            .as_ref()
            .and_then(|m| m.match_pattern.clone())
        {
            Some(MatchPattern::Exact(text)) => text,
            Some(MatchPattern::Prefix(text)) => format!("{text}*"),
            other => panic!("{other:?}"),
        };
    own.match_typed_subject_alt_names.iter().map(one).collect()
}

fn chains(seen: &Read, port: u32) -> Vec<FilterChain> {
    let all = seen.listener("virtualInbound").filter_chains;
    let of_port = |c: &FilterChain| {
        c.filter_chain_match.as_ref().and_then(|m| m.destination_port).is_some_and(|p| p.value == port)
    };
    all.into_iter().filter(of_port).collect()
}

fn peer(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

#[test]
fn endpoints_that_take_it_get_the_meshs_tls_and_others_none() {
    let mut cluster = cluster("");
    let seen = seen(&mut cluster, "client");
    let outbound = seen.cluster("outbound|80||web.default.svc.cluster.local");
    let [istio, plain] = outbound.transport_socket_matches.as_slice() else { panic!("{outbound:?}") };
    assert_eq!((istio.name.as_str(), plain.name.as_str()), ("tlsMode-istio", "tlsMode-disabled"));
    let context: UpstreamTlsContext = unpack(istio.transport_socket.as_ref().expect("a socket"));
    assert_eq!(context.sni, "outbound_.80_._.web.default.svc.cluster.local");
    let common = context.common_tls_context.expect("a context");
    assert_eq!(names(&common), ["spiffe://cluster.local/ns/default/sa/web-account"]);
    assert_eq!(common.tls_certificate_sds_secret_configs[0].name, "default");
    let modes = |service: &str| -> Vec<bool> {
        let all = seen.endpoints(service).endpoints;
        let all = all.iter().flat_map(|l| &l.lb_endpoints).map(|e| e.metadata.clone().unwrap_or_default());
        all.map(|m| m.filter_metadata.contains_key("envoy.transport_socket_match")).collect()
    };
    assert_eq!(modes("outbound|80||web.default.svc.cluster.local"), [true]);
    assert_eq!(modes("outbound|5432||db.default.svc.cluster.local"), [false]);
}

#[test]
fn a_port_that_is_disabled_is_called_plainly() {
    let mut cluster = cluster(&peer(
        "web",
        "{selector: {matchLabels: {app: web}}, portLevelMtls: {'8080': {mode: DISABLE}}}",
    ));
    let seen = seen(&mut cluster, "client");
    let taken = |port: u16| {
        let name = format!("outbound|{port}||web.default.svc.cluster.local");
        let first = seen.endpoints(&name).endpoints[0].lb_endpoints[0].metadata.clone().expect("metadata");
        first.filter_metadata.contains_key("envoy.transport_socket_match")
    };
    assert!(!taken(80) && taken(7000));
}

#[test]
fn strict_ports_have_only_encrypted_chains_and_undeclared_ports_too() {
    let mut cluster = cluster(&peer("default", "{mtls: {mode: STRICT}}"));
    let seen = seen(&mut cluster, "web");
    for port in [8080, 7000, 9000] {
        let chains = chains(&seen, port);
        assert!(!chains.is_empty() && chains.iter().all(|c| c.transport_socket.is_some()), "{port}");
        let context: DownstreamTlsContext = unpack(chains[0].transport_socket.as_ref().expect("a socket"));
        assert_eq!(context.require_client_certificate.map(|v| v.value), Some(true));
        assert_eq!(names(&context.common_tls_context.expect("a context")), ["spiffe://cluster.local/*"]);
    }
    let all = seen.listener("virtualInbound").filter_chains;
    let undeclared =
        all.iter().filter(|c| c.name.starts_with("virtualInbound") && !c.name.ends_with("blackhole"));
    assert!(undeclared.clone().count() > 0 && undeclared.clone().all(|c| c.transport_socket.is_some()));
}

#[test]
fn permissive_ports_take_both_and_a_proxy_without_certificate_only_plain_ones() {
    let mut cluster = cluster("");
    let both = chains(&seen(&mut cluster, "web"), 8080);
    assert_eq!(both.iter().map(|c| c.transport_socket.is_some()).collect::<Vec<_>>(), [true, false]);
    let without = cluster.resources(&sidecar("x-0", &[("app", "web")], "envoy"));
    assert!(chains(&without, 8080).iter().all(|c| c.transport_socket.is_none()));
    assert!(
        without.cluster("outbound|80||web.default.svc.cluster.local").transport_socket_matches.is_empty()
    );
}

#[test]
fn the_old_policies_mean_what_they_meant() {
    let policy = "
apiVersion: authentication.istio.io/v1alpha1
kind: Policy
metadata: {name: default}
spec: {peers: [{mtls: {mode: STRICT}}]}
---
apiVersion: authentication.istio.io/v1alpha1
kind: Policy
metadata: {name: web-http}
spec: {targets: [{name: web, ports: [{number: 80}]}], peers: [{mtls: {mode: PERMISSIVE}}]}
";
    let mut cluster = cluster(policy);
    let seen = seen(&mut cluster, "web");
    assert!(chains(&seen, 8080).iter().any(|c| c.transport_socket.is_none()));
    assert!(chains(&seen, 7000).iter().all(|c| c.transport_socket.is_some()));
}

#[test]
fn rules_choose_tls_and_name_what_is_verified() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    tls: {mode: ISTIO_MUTUAL}
    portLevelSettings: [{port: {number: 7000}, tls: {mode: DISABLE}}]
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec: {host: db, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, sni: db.example, subjectAltNames: [db.example]}}}
";
    let mut cluster = cluster(rule);
    let seen = seen(&mut cluster, "client");
    let of = |name: &str| -> UpstreamTlsContext {
        unpack(seen.cluster(name).transport_socket.as_ref().unwrap_or_else(|| panic!("{name} is plain")))
    };
    assert_eq!(
        of("outbound|80|v1|web.default.svc.cluster.local").sni,
        "outbound_.80_.v1_.web.default.svc.cluster.local"
    );
    let plain = seen.cluster("outbound|7000||web.default.svc.cluster.local");
    assert!(plain.transport_socket.is_none() && plain.transport_socket_matches.is_empty());
    let db = of("outbound|5432||db.default.svc.cluster.local");
    assert_eq!(db.sni, "db.example");
    let common = db.common_tls_context.expect("a context");
    assert_eq!(common.tls_certificate_sds_secret_configs[0].name, "file-cert:/c~/k");
    assert_eq!(names(&common), ["db.example"]);
}

/// A gateway with every mode; the Secret of one of its servers is missing.
pub fn gateways() -> Cluster0 {
    let mut cluster = cluster(GATEWAYS);
    for (name, pair, authorities) in
        [("simple", true, false), ("mutual", true, true), ("second", true, false), ("bad", false, false)]
    {
        let text = |there: bool| there.then(|| Arc::<[u8]>::from(b"PEM".as_slice()));
        cluster.world.upsert(
            Credential {
                kind: lateen_mesh::Kind::Secret,
                meta: Meta { name: name.into(), namespace: "istio-system".into(), created: 0 },
                pair: text(pair).zip(text(pair)),
                authorities: text(authorities),
                revoked: None,
                problem: (name == "bad").then(|| "the key does not belong to the certificate".to_owned()),
            }
            .into(),
        );
    }
    cluster
}

const GATEWAYS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: simple, protocol: HTTPS}, hosts: [simple.example], tls: {mode: SIMPLE, credentialNames: [simple, second], minProtocolVersion: TLSV1_3}}
  - {port: {number: 443, name: mutual, protocol: HTTPS}, hosts: [mutual.example], tls: {mode: MUTUAL, credentialName: mutual, subjectAltNames: [client.example]}}
  - {port: {number: 443, name: optional, protocol: HTTPS}, hosts: [optional.example], tls: {mode: OPTIONAL_MUTUAL, credentialName: mutual}}
  - {port: {number: 443, name: istio, protocol: HTTPS}, hosts: [istio.example], tls: {mode: ISTIO_MUTUAL}}
  - {port: {number: 443, name: missing, protocol: HTTPS}, hosts: [missing.example], tls: {mode: SIMPLE, credentialName: nosuch}}
  - {port: {number: 443, name: bad, protocol: HTTPS}, hosts: [bad.example], tls: {mode: SIMPLE, credentialName: bad}}
  - {port: {number: 443, name: roots, protocol: HTTPS}, hosts: [roots.example], tls: {mode: MUTUAL, credentialName: simple}}
  - {port: {number: 15443, name: auto, protocol: TLS}, hosts: ['*.default.svc.cluster.local'], tls: {mode: AUTO_PASSTHROUGH}}
";

#[test]
fn every_gateway_mode_asks_clients_for_what_it_should() {
    let mut cluster = gateways();
    let seen = cluster.resources(&trusted(ingress("envoy")));
    let listener = seen.listener("0.0.0.0_443");
    let of = |host: &str| {
        let named = |c: &&FilterChain| {
            c.filter_chain_match.as_ref().is_some_and(|m| m.server_names.iter().any(|n| n == host))
        };
        listener.filter_chains.iter().find(named).unwrap_or_else(|| panic!("no chain for {host}")).clone()
    };
    let context = |host: &str| -> DownstreamTlsContext {
        unpack(of(host).transport_socket.as_ref().unwrap_or_else(|| panic!("{host} is plain")))
    };
    let asks = |host: &str| {
        let context = context(host);
        let verifies =
            context.common_tls_context.as_ref().is_some_and(|c| c.validation_context_type.is_some());
        (verifies, context.require_client_certificate.is_some_and(|v| v.value))
    };
    assert_eq!(asks("simple.example"), (false, false));
    assert_eq!(asks("mutual.example"), (true, true));
    assert_eq!(asks("optional.example"), (true, false));
    assert_eq!(asks("istio.example"), (true, true));
    let simple = context("simple.example").common_tls_context.expect("a context");
    let sds: Vec<_> = simple.tls_certificate_sds_secret_configs.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(sds, ["kubernetes://simple", "kubernetes://second"]);
    assert_eq!(simple.tls_params.expect("parameters").tls_minimum_protocol_version, 4);
    for closed in ["missing.example", "bad.example", "roots.example"] {
        let chain = of(closed);
        assert!(chain.transport_socket.is_none(), "{closed}");
        assert_eq!(chain.filters.len(), 1, "{closed} leads nowhere");
        assert_eq!(chain.filters[0].name, "envoy.filters.network.tcp_proxy", "{closed}");
    }
    let auto = seen.listener("0.0.0.0_15443");
    let names: Vec<_> = auto
        .filter_chains
        .iter()
        .filter_map(|c| c.filter_chain_match.clone())
        .flat_map(|m| m.server_names)
        .collect();
    assert!(names.contains(&"outbound_.80_._.web.default.svc.cluster.local".to_owned()), "{names:?}");
    assert!(seen.names(TypeUrl::Cluster).contains(&names[0]));
}

#[test]
fn secrets_go_to_proxies_that_proved_who_they_are_and_only_those_that_are_named() {
    let mut cluster = gateways();
    assert_eq!(cluster.resources(&ingress("envoy")).names(TypeUrl::Secret), [""; 0]);
    let seen = cluster.resources(&trusted(ingress("envoy")));
    assert_eq!(
        seen.names(TypeUrl::Secret),
        ["kubernetes://mutual", "kubernetes://mutual-cacert", "kubernetes://second", "kubernetes://simple"]
    );
    let body = seen.0.get(TypeUrl::Secret, "kubernetes://mutual-cacert").expect("there").body.clone();
    let secret = Secret::decode(body).expect("well formed");
    assert!(matches!(secret.r#type, Some(secret::Type::ValidationContext(_))));
    let foreign = trusted(sidecar("x-0", &[("istio", "ingressgateway")], "envoy"));
    assert_eq!(cluster.resources(&foreign).names(TypeUrl::Secret), [""; 0]);
}
