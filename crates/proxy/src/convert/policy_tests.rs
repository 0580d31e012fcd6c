//! Policies that cannot be used are refused by their path: never is one left out.

use lateen_xds::json::Pool;
use lateen_xds::pb::envoy::config::listener::v3::Listener as XdsListener;
use serde_json::{Value, json};

use super::listener;
use super::tests::context;

fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = Value::from(format!("type.googleapis.com/envoy.extensions.filters.{kind}"));
    json!({"name": name, "typed_config": config})
}

fn read(filters: Value) -> Result<(), String> {
    let message = json!({
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{ "filters": filters }],
    });
    let message: XdsListener = Pool::load().unwrap().read(&message.to_string()).unwrap();
    listener(&message, &context()).map(drop).map_err(|error| error.to_string())
}

/// What is wrong with an HTTP filter, without the path that leads to it.
fn http(kind: &str, config: Value) -> String {
    let router = filter("router", "http.router.v3.Router", json!({}));
    let manager =
        json!({"stat_prefix": "s", "route_config": {}, "http_filters": [filter("f", kind, config), router]});
    let manager = filter("hcm", "network.http_connection_manager.v3.HttpConnectionManager", manager);
    let error = read(json!([manager])).expect_err("is refused");
    let path = "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.";
    error.strip_prefix(path).unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn rbac(policy: Value) -> String {
    http("http.rbac.v3.RBAC", json!({"rules": {"action": "DENY", "policies": {"p": policy}}}))
}

#[test]
fn rules_that_cannot_be_compiled_are_refused_by_their_path() {
    let any = json!([{"any": true}]);
    let permission = |rule: Value| rbac(json!({"permissions": [rule], "principals": any}));
    let principal = |rule: Value| rbac(json!({"permissions": any, "principals": [rule]}));
    let starts = |error: String, wanted: &str| assert!(error.starts_with(wanted), "{error}");
    starts(rbac(json!({"principals": any})), "rules.policies.p.permissions: must hold at least one item");
    starts(rbac(json!({"permissions": any})), "rules.policies.p.principals: must hold at least one item");
    starts(permission(json!({})), "rules.policies.p.permissions[0].any: is required");
    starts(permission(json!({"any": false})), "rules.policies.p.permissions[0].any: can only be true");
    starts(
        permission(
            json!({"or_rules": {"rules": [{"any": true}, {"not_rule": {"url_path": {"path": {"safe_regex": {"regex": "("}}}}}]}}),
        ),
        "rules.policies.p.permissions[0].or_rules.rules[1].not_rule.url_path.path.safe_regex.regex: ",
    );
    starts(
        permission(json!({"destination_port": 65536})),
        "rules.policies.p.permissions[0].destination_port: ",
    );
    starts(
        permission(json!({"destination_port_range": {"start": 10, "end": 10}})),
        "rules.policies.p.permissions[0].destination_port_range: 10..10 is no range of ports",
    );
    let template = json!({"@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
        "path_template": "/**/*"});
    starts(
        permission(json!({"uri_template": {"name": "t", "typed_config": template}})),
        "rules.policies.p.permissions[0].uri_template.typed_config.path_template: no wildcard may follow `**`",
    );
    starts(
        principal(json!({"source_ip": {"address_prefix": "10.0.0", "prefix_len": 8}})),
        "rules.policies.p.principals[0].source_ip: `10.0.0` is not an IP address",
    );
    starts(
        principal(json!({"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 33}})),
        "rules.policies.p.principals[0].remote_ip.prefix_len: 33 is more than 32",
    );
    starts(
        principal(json!({"filter_state": {"key": "x", "string_match": {"exact": "a"}}})),
        "rules.policies.p.principals[0].filter_state.key: the key `x` is not supported",
    );
    starts(
        principal(json!({"metadata": {"filter": "f", "path": [], "value": {"bool_match": true}}})),
        "rules.policies.p.principals[0].metadata.path: is required",
    );
    starts(
        rbac(json!({"permissions": any, "principals": any, "condition": {}})),
        "rules.policies.p.condition: is not supported",
    );
    starts(http("http.rbac.v3.RBAC", json!({"matcher": {}})), "matcher: is not supported");
}

#[test]
fn tokens_and_services_that_cannot_be_used_are_refused_by_their_path() {
    let jwt = |config| http("http.jwt_authn.v3.JwtAuthentication", config);
    let keys = json!({"inline_string": "{}"});
    assert_eq!(jwt(json!({"providers": {"p": {"issuer": "i"}}})), "providers.p.local_jwks: is required");
    let unknown = json!({"providers": {"p": {"local_jwks": keys}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [{"provider_name": "q"}]}}}]});
    assert_eq!(
        jwt(unknown),
        "rules[0].requires.requires_any.requirements[0].provider_name: `q` is none of the providers"
    );
    let uri = json!({"http_uri": {"uri": "/keys", "cluster": "c", "timeout": "1s"}});
    assert_eq!(
        jwt(json!({"providers": {"p": {"remote_jwks": uri}}})),
        "providers.p.remote_jwks.http_uri.uri: `/keys` names no host"
    );
    let header = json!({"local_jwks": keys, "from_headers": [{"name": "a b"}]});
    assert_eq!(
        jwt(json!({"providers": {"p": header}})),
        "providers.p.from_headers[0].name: `a b` is no name of a header"
    );
    let authz = |config| http("http.ext_authz.v3.ExtAuthz", config);
    assert_eq!(authz(json!({})), "transport_api_version: must be V3");
    assert_eq!(authz(json!({"transport_api_version": "V3"})), "grpc_service: is required");
    let service = json!({"google_grpc": {"target_uri": "a", "stat_prefix": "b"}});
    assert_eq!(
        authz(json!({"transport_api_version": "V3", "grpc_service": service})),
        "grpc_service.google_grpc: is not supported"
    );
}

#[test]
fn filters_of_connections_are_refused_by_their_path() {
    let proxy = filter("tcp", "network.tcp_proxy.v3.TcpProxy", json!({"stat_prefix": "s", "cluster": "c"}));
    let rbac = |config| filter("f", "network.rbac.v3.RBAC", config);
    let error = read(json!([rbac(json!({"rules": {"policies": {"p": {}}}, "stat_prefix": "tcp."})), proxy]));
    let wanted =
        "filter_chains[0].filters[0].typed_config.rules.policies.p.permissions: must hold at least one item";
    assert_eq!(error.unwrap_err(), wanted);
    assert!(read(json!([rbac(json!({"rules": {}, "stat_prefix": "tcp."})), proxy])).is_ok());
    let header = json!({"not_id": {"header": {"name": "x", "present_match": true}}});
    let policy = json!({"permissions": [{"any": true}], "principals": [header]});
    let error =
        read(json!([rbac(json!({"rules": {"policies": {"p": policy}}, "stat_prefix": "tcp."})), proxy]));
    let wanted = "filter_chains[0].filters[0].typed_config.rules.policies.p: looks at headers, which a connection has not";
    assert_eq!(error.unwrap_err(), wanted);
    let error =
        read(json!([filter("f", "network.ext_authz.v3.ExtAuthz", json!({"stat_prefix": "s"})), proxy]));
    assert_eq!(
        error.unwrap_err(),
        "filter_chains[0].filters[0].typed_config.transport_api_version: must be V3"
    );
}
