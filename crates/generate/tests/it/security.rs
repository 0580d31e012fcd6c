//! Tokens and access control.

use lateen_api::mesh_config::providers::{ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider, Provider};
use lateen_mesh::Settings;
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, filter};
use lateen_xds::pb::envoy::config::rbac::v3::permission::Rule;
use lateen_xds::pb::envoy::config::rbac::v3::principal::Identifier;
use lateen_xds::pb::envoy::config::rbac::v3::{Policy, rbac::Action};
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::JwtAuthentication;
use lateen_xds::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use lateen_xds::pb::envoy::extensions::filters::network::rbac::v3::Rbac as TcpRbac;
use prost::Message;

use crate::kit::{Cluster0, Read, sidecar};
use crate::transport::{SERVICES, trusted};

const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow}
spec:
  selector: {matchLabels: {app: web}}
  rules:
  - from:
    - source: {principals: [cluster.local/ns/default/sa/client], notNamespaces: ['bad*'], ipBlocks: [10.0.0.0/8], remoteIpBlocks: [192.0.2.1]}
    - source: {serviceAccounts: [other/app, mine]}
    to:
    - operation: {hosts: ['*.example.com', a.example.com], notPaths: [/private*], methods: [GET, HEAD], paths: ['/api/{*}/items/{**}', '/x*', '*/y', '*']}
    - operation: {ports: ['8080'], notPorts: ['7000']}
    when:
    - {key: 'request.headers[X-Token]', values: ['abc*', '*']}
    - {key: source.ip, notValues: [10.9.0.0/16]}
    - {key: remote.ip, values: [0.0.0.0/0]}
    - {key: source.namespace, values: [default]}
    - {key: source.principal, values: ['*/sa/client']}
    - {key: destination.ip, values: [10.0.0.0/8]}
    - {key: destination.port, values: ['8080']}
    - {key: connection.sni, values: ['*.example.com']}
    - {key: request.auth.principal, values: ['https://issuer.example/*']}
    - {key: request.auth.audiences, values: [me]}
    - {key: request.auth.presenter, values: [app.example]}
    - {key: 'request.auth.claims[groups][inner]', values: [admin]}
    - {key: 'experimental.envoy.filters.network.mysql_proxy[db.table]', values: ['[update]']}
  - from: [{source: {requestPrincipals: ['https://issuer.example/me', '*']}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny}
spec: {action: DENY, rules: [{to: [{operation: {methods: [DELETE], ports: ['7000']}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: try, annotations: {istio.io/dry-run: 'true'}}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [foo]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: note}
spec: {action: AUDIT, rules: [{to: [{operation: {paths: [/noted]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask}
spec: {action: CUSTOM, provider: {name: over-http}, rules: [{to: [{operation: {paths: [/asked]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask-too}
spec: {action: CUSTOM, provider: {name: over-grpc}, rules: [{to: [{operation: {ports: ['7000']}}]}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  jwtRules:
  - {issuer: 'https://issuer.example', jwksUri: 'https://issuer.example/keys', audiences: [me], outputPayloadToHeader: x-payload, outputClaimToHeaders: [{header: x-group, claim: group}], fromHeaders: [{name: x-jwt, prefix: 'Bearer '}], fromParams: [token], fromCookies: [auth], forwardOriginalToken: true}
  - {issuer: second, jwks: '{\"keys\": []}'}
";

pub fn guarded() -> Cluster0 {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(POLICIES);
    let http = ExtAuthzHttp {
        service: "default/web.default.svc.cluster.local".into(),
        port: 80,
        include_request_headers_in_check: vec!["cookie".into(), "x-*".into()],
        headers_to_upstream_on_allow: vec!["x-user".into()],
        status_on_error: "503".into(),
        ..ExtAuthzHttp::default()
    };
    let grpc = ExtAuthzGrpc {
        service: "db.default.svc.cluster.local".into(),
        port: 5432,
        ..ExtAuthzGrpc::default()
    };
    let provider = |name: &str, p| ExtensionProvider { name: name.into(), provider: Some(p) };
    let providers = vec![
        provider("over-http", Provider::ExtAuthzHttp(http)),
        provider("over-grpc", Provider::ExtAuthzGrpc(grpc)),
    ];
    cluster.world.upsert(Settings { extension_providers: providers, ..Settings::default() }.into());
    cluster
}

pub fn web(cluster: &mut Cluster0) -> Read {
    cluster.resources(&trusted(sidecar("x-0", &[("app", "web")], "envoy")))
}

fn chain(seen: &Read, port: u32) -> FilterChain {
    let of_port = |c: &FilterChain| {
        c.filter_chain_match.as_ref().and_then(|m| m.destination_port).is_some_and(|p| p.value == port)
    };
    seen.listener("virtualInbound").filter_chains.into_iter().find(of_port).expect("a chain")
}

pub fn http_filters(seen: &Read) -> Vec<HttpFilter> {
    let chain = chain(seen, 8080);
    let Some(filter::ConfigType::TypedConfig(any)) = &chain.filters[0].config_type else { panic!() };
    HttpConnectionManager::decode(any.value.as_slice()).expect("well formed").http_filters
}

pub fn http_rbac(filters: &[HttpFilter]) -> Vec<HttpRbac> {
    let rbac = filters.iter().filter(|f| f.name == "envoy.filters.http.rbac");
    let one = |f: &HttpFilter| match &f.config_type {
        Some(http_filter::ConfigType::TypedConfig(any)) => {
            HttpRbac::decode(any.value.as_slice()).expect("well formed")
        }
        other => panic!("{other:?}"),
    };
    rbac.map(one).collect()
}

fn tcp_rbac(seen: &Read, port: u32) -> Vec<TcpRbac> {
    let chain = chain(seen, port);
    let rbac = chain.filters.iter().filter(|f| f.name == "envoy.filters.network.rbac");
    let one = |f: &lateen_xds::pb::envoy::config::listener::v3::Filter| match &f.config_type {
        Some(filter::ConfigType::TypedConfig(any)) => {
            TcpRbac::decode(any.value.as_slice()).expect("well formed")
        }
        other => panic!("{other:?}"),
    };
    rbac.map(one).collect()
}

#[test]
fn filters_stand_in_the_order_of_evaluation() {
    let mut cluster = guarded();
    let seen = web(&mut cluster);
    let names: Vec<String> = http_filters(&seen).into_iter().map(|f| f.name).collect();
    let (rbac, authz) = ("envoy.filters.http.rbac", "envoy.filters.http.ext_authz");
    assert_eq!(names[..8], [rbac, authz, rbac, authz, "envoy.filters.http.jwt_authn", rbac, rbac, rbac]);
    let all = http_rbac(&http_filters(&seen));
    let actions: Vec<Option<i32>> = all.iter().map(|r| r.rules.as_ref().map(|r| r.action)).collect();
    let of = |a: Action| Some(a as i32);
    assert_eq!(actions, [None, None, of(Action::Log), of(Action::Deny), of(Action::Allow)]);
    let deny = &all[3];
    assert_eq!(deny.shadow_rules_stat_prefix, "istio_dry_run_deny_");
    let shadow: Vec<_> = deny.shadow_rules.as_ref().expect("dry run").policies.keys().collect();
    assert_eq!(shadow, ["ns[default]-policy[try]-rule[0]"]);
}

fn allow(seen: &Read) -> Vec<(String, Policy)> {
    let last = http_rbac(&http_filters(seen)).pop().and_then(|r| r.rules).expect("ALLOW");
    let mut all: Vec<_> = last.policies.into_iter().collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn every_source_and_operation_is_an_alternative_and_every_field_counts() {
    let mut cluster = guarded();
    let seen = web(&mut cluster);
    let rules = allow(&seen);
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0].0, "ns[default]-policy[allow]-rule[0]");
    let policy = &rules[0].1;
    assert_eq!((policy.permissions.len(), policy.principals.len()), (2, 2));
    let Some(Rule::AndRules(first)) = &policy.permissions[0].rule else { panic!("{policy:?}") };
    // hosts, methods, paths, notPaths, and the conditions on the destination: ip, port, SNI, filter.
    assert_eq!(first.rules.len(), 8, "{first:?}");
    let Some(Identifier::AndIds(first)) = &policy.principals[0].identifier else { panic!("{policy:?}") };
    // ipBlocks, remoteIpBlocks, notNamespaces, principals, and nine conditions on the source and the request.
    assert_eq!(first.ids.len(), 4 + 9, "{first:?}");
    let text = format!("{policy:?}");
    for part in
        ["UriTemplate", "spiffe://[^/]+/ns/other/sa/app", "spiffe://[^/]+/ns/default/sa/mine", "X-Token"]
    {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn on_tcp_allow_rules_with_http_fields_are_dropped_and_deny_rules_go_without_them() {
    let mut cluster = guarded();
    let seen = web(&mut cluster);
    let all = tcp_rbac(&seen, 7000);
    let of = |action: Action| {
        let mut found = all.iter().filter_map(|r| r.rules.as_ref()).filter(|r| r.action == action as i32);
        found.next_back().unwrap_or_else(|| panic!("{action:?} in {all:?}")).clone()
    };
    assert!(of(Action::Allow).policies.is_empty(), "nothing is let pass");
    let deny = &of(Action::Deny).policies["ns[default]-policy[deny]-rule[0]"];
    let text = format!("{deny:?}");
    assert!(text.contains("DestinationPort(7000)") && !text.contains(":method"), "{text}");
}

#[test]
fn a_provider_that_is_not_there_lets_nothing_pass_that_it_should_judge() {
    let mut cluster = guarded();
    cluster.world.upsert(Settings::default().into());
    let seen = web(&mut cluster);
    let first = http_rbac(&http_filters(&seen)).remove(0).rules.expect("enforced");
    assert_eq!(first.action, Action::Deny as i32);
    assert!(first.policies.keys().all(|name| name.contains("bad-CUSTOM-action")), "{first:?}");
}

#[test]
fn a_policy_without_rules_allows_nothing() {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: none}\nspec: {}\n",
    );
    let seen = web(&mut cluster);
    let rules = allow(&seen);
    let text = format!("{rules:?}");
    assert_eq!(rules.len(), 1);
    assert!(text.contains("NotRule") && text.contains("NotId"), "{text}");
}

#[test]
fn names_of_the_trust_domain_hold_under_its_aliases() {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(POLICIES);
    let settings = Settings {
        trust_domain: "new".into(),
        trust_domain_aliases: vec!["cluster.local".into()],
        ..Settings::default()
    };
    cluster.world.upsert(settings.into());
    let seen = web(&mut cluster);
    let text = format!("{:?}", allow(&seen));
    for name in ["spiffe://new/ns/default/sa/client", "spiffe://cluster.local/ns/default/sa/client"] {
        assert!(text.contains(name), "{name}");
    }
}

#[test]
fn tokens_are_verified_by_keys_that_are_fetched_or_given() {
    let mut cluster = guarded();
    let seen = web(&mut cluster);
    let filters = http_filters(&seen);
    let found = filters.iter().find(|f| f.name == "envoy.filters.http.jwt_authn").expect("the filter");
    let Some(http_filter::ConfigType::TypedConfig(any)) = &found.config_type else { panic!() };
    let config = JwtAuthentication::decode(any.value.as_slice()).expect("well formed");
    let first = &config.providers["origins-0"];
    assert_eq!(first.issuer, "https://issuer.example");
    assert!(first.forward && first.payload_in_metadata == "payload");
    assert_eq!((first.from_params.len(), first.from_cookies.len(), first.claim_to_headers.len()), (1, 1, 1));
    assert!(seen.names(TypeUrl::Cluster).contains(&"outbound|443|jwks|issuer.example".to_owned()));
    assert_eq!(config.rules.len(), 1);
}

#[test]
fn the_old_origins_need_a_token_where_they_say_so() {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(
        "
apiVersion: authentication.istio.io/v1alpha1
kind: Policy
metadata: {name: web}
spec:
  targets: [{name: web}]
  origins:
  - jwt: {issuer: me, jwksUri: 'https://me.example/keys', triggerRules: [{excludedPaths: [{prefix: /open}]}]}
  principalBinding: USE_ORIGIN
",
    );
    let seen = web(&mut cluster);
    let filters = http_filters(&seen);
    let found = filters.iter().find(|f| f.name == "envoy.filters.http.jwt_authn").expect("the filter");
    let Some(http_filter::ConfigType::TypedConfig(any)) = &found.config_type else { panic!() };
    let config = JwtAuthentication::decode(any.value.as_slice()).expect("well formed");
    let text = format!("{:?}", config.rules);
    assert_eq!(config.rules.len(), 2, "{text}");
    assert!(format!("{:?}", config.rules[0]).contains("AllowMissing"));
    assert!(!format!("{:?}", config.rules[1]).contains("AllowMissing"), "{text}");
}

#[test]
fn the_same_policies_are_the_same_bytes() {
    let version = || web(&mut guarded()).0.get(TypeUrl::Listener, "virtualInbound").expect("there").version;
    let first = version();
    assert!((0..5).all(|_| version() == first));
}
