//! Validation of the security, telemetry, extension and old authentication kinds, and of EnvoyFilter.

use lateen_api::{MeshPolicy, validate_value};
use serde_json::{Value, json};

fn errors(api_version: &str, kind: &str, name: &str, spec: Value) -> Vec<String> {
    let value = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"},
                       "spec": spec});
    validate_value(&value).unwrap().errors.iter().map(ToString::to_string).collect()
}

/// Asserts that there is exactly one finding, with this path and these words.
fn refused(found: &[String], path: &str, words: &str) {
    let fits = |line: &String| line.starts_with(&format!("{path}: ")) && line.contains(words);
    assert!(found.len() == 1 && fits(&found[0]), "wanted {path}: ...{words}..., found {found:#?}");
}

fn security(kind: &str, spec: Value) -> Vec<String> {
    errors("security.istio.io/v1", kind, "a", spec)
}

#[test]
fn peer_authentications() {
    let select = json!({"matchLabels": {"app": "a"}});
    let valid = json!({"selector": select, "mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}});
    assert_eq!(security("PeerAuthentication", valid), [""; 0]);
    let ports = security("PeerAuthentication", json!({"portLevelMtls": {"8080": {"mode": "DISABLE"}}}));
    refused(&ports, "spec.portLevelMtls", "cannot have port level");
    let port = security("PeerAuthentication", json!({"selector": select, "portLevelMtls": {"http": {}}}));
    refused(&port, "spec.portLevelMtls[\"http\"]", "no port number");
    let mode = security("PeerAuthentication", json!({"mtls": {"mode": "MAYBE"}}));
    refused(&mode, "spec.mtls.mode", "PERMISSIVE");
    let wildcard = security("PeerAuthentication", json!({"selector": {"matchLabels": {"app": "*"}}}));
    refused(&wildcard, "spec.selector.matchLabels", "wildcard");
}

#[test]
fn request_authentications() {
    let rule = |rule: Value| security("RequestAuthentication", json!({"jwtRules": [rule]}));
    assert_eq!(
        rule(json!({"issuer": "i", "jwksUri": "https://a:8443/keys", "forwardOriginalToken": true})),
        [""; 0]
    );
    refused(&rule(json!({})), "spec.jwtRules[0].issuer", "must be set");
    refused(&rule(json!({"issuer": "i", "jwksUri": "ftp://a"})), "spec.jwtRules[0].jwksUri", "http://");
    refused(&rule(json!({"issuer": "i", "jwks": "{}"})), "spec.jwtRules[0].jwks", "keys");
    refused(
        &rule(json!({"issuer": "i", "fromHeaders": [{}]})),
        "spec.jwtRules[0].fromHeaders[0].name",
        "non-empty",
    );
}

#[test]
fn authorization_policies() {
    let policy = |spec: Value| security("AuthorizationPolicy", spec);
    assert_eq!(policy(json!({})), [""; 0], "an empty policy denies everything and is valid");
    let valid = json!({"action": "ALLOW", "rules": [{
        "from": [{"source": {"principals": ["cluster.local/ns/default/sa/a"], "ipBlocks": ["10.0.0.0/8"]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": ["/a/{*}/b", "/static/*"], "ports": ["80"]}}],
        "when": [{"key": "request.headers[x]", "values": ["y"]}]}]});
    assert_eq!(policy(valid), [""; 0]);
    refused(&policy(json!({"action": "DENY"})), "spec.rules", "never be triggered");
    let custom = json!({"action": "CUSTOM", "rules": [{}]});
    refused(&policy(custom), "spec.provider.name", "CUSTOM");
    refused(&policy(json!({"rules": [{}], "provider": {"name": "x"}})), "spec.provider", "only with CUSTOM");
    let rule = |rule: Value| policy(json!({"rules": [rule]}));
    refused(&rule(json!({"from": [{}]})), "spec.rules[0].from[0].source", "must be set");
    refused(&rule(json!({"to": [{"operation": {}}]})), "spec.rules[0].to[0].operation", "must not be empty");
    let block = rule(json!({"from": [{"source": {"ipBlocks": ["x"]}}]}));
    refused(&block, "spec.rules[0].from[0].source.ipBlocks[0]", "not a valid IP");
    let path = rule(json!({"to": [{"operation": {"paths": ["/{**}/{*}"]}}]}));
    refused(&path, "spec.rules[0].to[0].operation.paths[0]", "not the last operator");
    refused(
        &rule(json!({"when": [{"key": "nope", "values": ["a"]}]})),
        "spec.rules[0].when[0].key",
        "unknown",
    );
    refused(&rule(json!({"when": [{"key": "source.ip"}]})), "spec.rules[0].when[0]", "at least one");
    let both =
        json!({"selector": {"matchLabels": {"a": "b"}}, "targetRefs": [{"kind": "Service", "name": "s"}]});
    refused(&policy(both), "spec", "only one of");
}

#[test]
fn an_empty_rule_is_not_the_same_as_no_rule() {
    let value = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {},
                       "spec": {"rules": [{}]}});
    let policy: lateen_api::AuthorizationPolicy = serde_json::from_value(value).unwrap();
    assert_eq!(policy.spec.rules.len(), 1);
    assert_eq!(serde_json::to_value(policy).unwrap()["spec"], json!({"rules": [{}]}));
}

#[test]
fn telemetries_and_plugins() {
    let telemetry = |spec: Value| errors("telemetry.istio.io/v1", "Telemetry", "a", spec);
    let valid = json!({"accessLogging": [{"providers": [{"name": "envoy"}], "filter": {"expression": "response.code >= 400"}}],
        "metrics": [{"overrides": [{"match": {"metric": "REQUEST_COUNT"}, "tagOverrides": {"x": {"value": "'y'"}}}]}],
        "tracing": [{"randomSamplingPercentage": 10.5, "customTags": {"a": {"literal": {"value": "b"}}}}]});
    assert_eq!(telemetry(valid), [""; 0]);
    let sampling = telemetry(json!({"tracing": [{"randomSamplingPercentage": 101}]}));
    refused(&sampling, "spec.tracing[0].randomSamplingPercentage", "100");
    let tag = telemetry(
        json!({"metrics": [{"overrides": [{"tagOverrides": {"x": {"operation": "REMOVE", "value": "y"}}}]}]}),
    );
    refused(&tag, "spec.metrics[0].overrides[0].tagOverrides[\"x\"].value", "UPSERT");
    let plugin = |spec: Value| errors("extensions.istio.io/v1alpha1", "WasmPlugin", "a", spec);
    assert_eq!(plugin(json!({"url": "oci://a/b:1", "pluginConfig": {"any": ["thing"]}})), [""; 0]);
    refused(&plugin(json!({})), "spec.url", "must be set");
    refused(&plugin(json!({"url": "s3://a"})), "spec.url", "s3");
}

#[test]
fn envoy_filters_keep_their_values_and_say_what_does_not_go_together() {
    let filter = |patch: Value| {
        errors("networking.istio.io/v1alpha3", "EnvoyFilter", "a", json!({"configPatches": [patch]}))
    };
    let valid = json!({"applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": {"name": "f", "subFilter": {"name": "g"}}}}},
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": "lua", "typed_config": {"@type": "t", "snake_case": 1}}}});
    assert_eq!(filter(valid), [""; 0]);
    refused(&filter(json!({"applyTo": "CLUSTER"})), "spec.configPatches[0].patch", "required");
    let insert = json!({"applyTo": "CLUSTER", "patch": {"operation": "INSERT_BEFORE", "value": {"a": 1}}});
    refused(&filter(insert), "spec.configPatches[0].patch.operation", "not possible for CLUSTER");
    let wrong = json!({"applyTo": "CLUSTER", "match": {"listener": {}}, "patch": {"operation": "REMOVE"}});
    refused(&filter(wrong), "spec.configPatches[0].match.listener", "does not go with");
}

#[test]
fn old_policies() {
    let policy = |name: &str, spec: Value| errors("authentication.istio.io/v1alpha1", "Policy", name, spec);
    assert_eq!(policy("default", json!({"peers": [{"mtls": {}}]})), [""; 0]);
    assert_eq!(policy("default", json!({"peers": [{"mtls": {"mode": "PERMISSIVE"}}]})), [""; 0]);
    refused(&policy("a", json!({"peers": [{"mtls": {}}]})), "spec.targets", "must be named default");
    let target = json!({"targets": [{"name": "reviews.default"}]});
    refused(&policy("a", target), "spec.targets[0].name", "short name");
    let mesh =
        errors("authentication.istio.io/v1alpha1", "MeshPolicy", "other", json!({"peers": [{"mtls": {}}]}));
    refused(&mesh, "spec", "must be named default");
    let crd = lateen_api::crds().into_iter().find(|crd| crd.spec.names.kind == "MeshPolicy").unwrap();
    assert_eq!(crd.spec.scope, "Cluster");
    assert_eq!(MeshPolicy::api_version(), "authentication.istio.io/v1alpha1");
}

#[test]
fn workload_groups() {
    let group = |spec: Value| errors("networking.istio.io/v1beta1", "WorkloadGroup", "a", spec);
    assert_eq!(
        group(json!({"template": {"serviceAccount": "a"}, "probe": {"httpGet": {"port": 80}}})),
        [""; 0]
    );
    refused(&group(json!({})), "spec.template", "required");
    refused(
        &group(json!({"template": {}, "probe": {"periodSeconds": -1, "exec": {"command": ["a"]}}})),
        "spec.probe.periodSeconds",
        "negative",
    );
}
