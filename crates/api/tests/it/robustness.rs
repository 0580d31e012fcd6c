//! Bad input of every shape at every place gets an answer, never a panic.

use lateen_api::{MeshConfig, validate_value};
use serde_json::{Value, json};

/// Every place within a value, as a JSON pointer.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), out));
        }
        Value::Object(map) => {
            for (key, item) in map {
                places(item, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        _ => {}
    }
}

fn shapes() -> Vec<Value> {
    let long = "\u{e4}*".repeat(5_000);
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("%"),
        json!("\u{0}\r\n"),
        json!("-9223372036854775808ns"),
        json!("999999999999h"),
        json!(long),
        json!([]),
        json!([null]),
        json!([{}]),
        json!({}),
        json!({"": {"": null}}),
    ]
}

fn samples() -> Vec<Value> {
    let of = |api: &str, kind: &str, spec: Value| {
        json!({"apiVersion": api, "kind": kind, "metadata": {"name": "a", "annotations": {"istio.io/dry-run": "true"}},
               "spec": spec})
    };
    let to = json!([{"destination": {"host": "a", "subset": "b", "port": {"number": 1}}, "weight": 1,
                     "headers": {"request": {"set": {"a": "%B%"}, "remove": ["c"]}}}]);
    vec![
        of(
            "networking.istio.io/v1",
            "VirtualService",
            json!({"hosts": ["a"], "gateways": ["b/c"], "exportTo": ["."],
            "http": [{"match": [{"uri": {"prefix": "/"}, "headers": {"a": {"regex": "b"}}, "sourceLabels": {"a": "b"}}],
                      "route": to, "timeout": "1s", "retries": {"attempts": 1, "retryOn": "5xx", "perTryTimeout": "1s"},
                      "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 1}}, "abort": {"httpStatus": 500}},
                      "rewrite": {"uriRegexRewrite": {"match": "a", "rewrite": "b"}}, "mirrors": [{"percentage": {"value": 1}}],
                      "corsPolicy": {"allowOrigins": [{"exact": "a"}], "maxAge": "1s"}},
                     {"redirect": {"uri": "/", "port": 1}}, {"directResponse": {"status": 200, "body": {"string": "a"}}}],
            "tls": [{"match": [{"sniHosts": ["a"]}], "route": to}], "tcp": [{"match": [{"port": 1}], "route": to}]}),
        ),
        of(
            "networking.istio.io/v1",
            "DestinationRule",
            json!({"host": "a", "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"httpCookie": {"name": "a", "ttl": "0s"}, "maglev": {"tableSize": 65537}},
                             "localityLbSetting": {"distribute": [{"from": "a/*", "to": {"b/*": 100}}]}},
            "connectionPool": {"tcp": {"connectTimeout": "1s"}, "http": {"h2UpgradePolicy": "UPGRADE"}},
            "tls": {"mode": "MUTUAL"}, "portLevelSettings": [{"port": {"number": 1}}]}, "subsets": [{"name": "a", "labels": {"a": "b"}}]}),
        ),
        of(
            "networking.istio.io/v1",
            "Gateway",
            json!({"selector": {"a": "b"}, "servers": [{"port": {"number": 1,
            "name": "a", "protocol": "TLS"}, "hosts": ["a/b"], "tls": {"mode": "SIMPLE", "cipherSuites": ["a"]}}]}),
        ),
        of(
            "networking.istio.io/v1",
            "ServiceEntry",
            json!({"hosts": ["a"], "addresses": ["1.1.1.1/8"], "resolution": "STATIC",
            "ports": [{"number": 1, "name": "a"}], "endpoints": [{"address": "unix:///a", "ports": {"a": 1}}]}),
        ),
        of(
            "networking.istio.io/v1",
            "Sidecar",
            json!({"egress": [{"hosts": ["a/b"], "port": {"number": 1}}],
            "ingress": [{"port": {"number": 1}, "defaultEndpoint": "127.0.0.1:1", "tls": {}}]}),
        ),
        of(
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            json!({"configPatches": [{"applyTo": "CLUSTER",
            "match": {"proxy": {"proxyVersion": "a"}, "cluster": {}}, "patch": {"operation": "MERGE", "value": {"a": 1}}}]}),
        ),
        of(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            json!({"action": "DENY", "rules": [{
            "from": [{"source": {"ipBlocks": ["1.1.1.1"], "serviceAccounts": ["a/b"]}}], "to": [{"operation": {"paths": ["/{*}"], "ports": ["1"]}}],
            "when": [{"key": "request.headers[a]", "values": ["b"]}]}]}),
        ),
        of(
            "security.istio.io/v1",
            "RequestAuthentication",
            json!({"jwtRules": [{"issuer": "a", "jwksUri": "http://[::1]:1/"}]}),
        ),
        of(
            "security.istio.io/v1",
            "PeerAuthentication",
            json!({"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {"1": {}}}),
        ),
        of(
            "telemetry.istio.io/v1",
            "Telemetry",
            json!({"tracing": [{"customTags": {"a": {"header": {"name": "b"}}}}]}),
        ),
        of(
            "authentication.istio.io/v1alpha1",
            "Policy",
            json!({"peers": [{"mtls": {}}], "targets": [{"name": "a", "ports": [{"number": 1}]}]}),
        ),
    ]
}

#[test]
fn no_shape_at_no_place_ends_in_a_panic() {
    let mut judged = 0;
    for sample in samples() {
        let mut all = Vec::new();
        places(&sample, "", &mut all);
        for place in all {
            for shape in shapes() {
                let mut broken = sample.clone();
                *broken.pointer_mut(&place).unwrap() = shape;
                let verdict = validate_value(&broken);
                for finding in verdict.iter().flat_map(|v| v.errors.iter().chain(&v.warnings)) {
                    assert!(!finding.message.is_empty() && finding.message.len() < 3_000);
                }
                judged += 1;
            }
        }
    }
    assert!(judged > 4_000, "only {judged} cases");
}

#[test]
fn the_meshs_configuration_survives_every_shape_too() {
    let sample = json!({"defaultConfig": {"tracing": {"zipkin": {"address": "a"}}, "concurrency": 2},
                        "extensionProviders": [{"name": "a", "zipkin": {"port": 1}}], "trustDomain": "a"});
    let mut all = Vec::new();
    places(&sample, "", &mut all);
    for place in all {
        for shape in shapes() {
            let mut broken = sample.clone();
            *broken.pointer_mut(&place).unwrap() = shape;
            let (config, _) = MeshConfig::over_defaults(broken);
            assert_eq!(config.root_namespace, "istio-system");
        }
    }
}
