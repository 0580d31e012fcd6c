//! Validation: every error, each with its path.

use lateen_api::validate_value;
use serde_json::{Value, json};

/// The findings on a resource as lines.
fn errors(kind: &str, spec: Value) -> Vec<String> {
    let value = json!({"apiVersion": "networking.istio.io/v1", "kind": kind,
                       "metadata": {"name": "a", "namespace": "default"}, "spec": spec});
    validate_value(&value).unwrap().errors.iter().map(ToString::to_string).collect()
}

/// Asserts that there is exactly one finding, with this path and these words.
fn refused(kind: &str, spec: Value, path: &str, words: &str) {
    let found = errors(kind, spec);
    let fits = |line: &String| line.starts_with(&format!("{path}: ")) && line.contains(words);
    assert!(found.len() == 1 && fits(&found[0]), "wanted {path}: ...{words}..., found {found:#?}");
}

fn to(host: &str) -> Value {
    json!([{"destination": {"host": host}}])
}

#[test]
fn all_errors_of_a_resource_come_together() {
    let found = errors(
        "VirtualService",
        json!({"hosts": ["rev iews"], "http": [
            {"route": [{"destination": {"host": "reviews"}, "weight": "x"},
                       {"destination": {"host": "reviews", "subset": "v_2"}, "weight": -1}], "timeuot": "3s"},
            {"match": [{"uri": {"regex": "("}}], "fault": {"abort": {"httpStatus": 1000, "percentage": {"value": 101}}},
             "route": to("reviews")},
        ]}),
    );
    let paths: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    for path in [
        "spec.http[0].route[0].weight",
        "spec.http[0].timeuot",
        "spec.hosts[0]",
        "spec.http[0].route[1].destination.subset",
        "spec.http[0].route[1].weight",
        "spec.http[1].match[0].uri.regex",
        "spec.http[1].fault.abort.httpStatus",
        "spec.http[1].fault.abort.percentage.value",
    ] {
        assert!(paths.contains(&path), "{path} is missing in {found:#?}");
    }
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn virtual_service_hosts() {
    let route = json!([{"route": to("reviews")}]);
    refused("VirtualService", json!({"hosts": ["*"], "http": route}), "spec.hosts[0]", "wildcard host *");
    refused(
        "VirtualService",
        json!({"hosts": ["a.b", "*.b"], "http": route}),
        "spec.hosts[1]",
        "duplicate hosts",
    );
    assert_eq!(errors("VirtualService", json!({"hosts": ["*"], "gateways": ["g"], "http": route})), [""; 0]);
    refused("VirtualService", json!({"hosts": ["a"]}), "spec", "http, tcp or tls must be provided");
    refused(
        "VirtualService",
        json!({"hosts": ["a"], "gateways": ["ns/"], "http": route}),
        "spec.gateways[0]",
        "gateway",
    );
}

#[test]
fn virtual_service_actions_exclude_each_other() {
    let vs = |http: Value| json!({"hosts": ["a"], "http": [http]});
    refused("VirtualService", vs(json!({})), "spec.http[0]", "is required");
    let both = json!({"route": to("a"), "redirect": {"uri": "/"}});
    refused("VirtualService", vs(both), "spec.http[0]", "both route and redirect");
    let fault = json!({"redirect": {"uri": "/"}, "fault": {"delay": {"fixedDelay": "1s"}}});
    refused("VirtualService", vs(fault), "spec.http[0].fault", "both fault and redirect");
    let two = json!({"hosts": ["a"], "http": [{"route": to("a"), "redirect": {"uri": "/"},
                                                "directResponse": {"status": 200}}]});
    assert_eq!(errors("VirtualService", two).len(), 1);
    let delegates = json!({"delegate": {"name": "x"}, "route": to("a")});
    refused("VirtualService", vs(delegates), "spec.http[0].route", "delegate");
}

#[test]
fn virtual_service_http_fields() {
    let cases = [
        (json!({"timeout": "0.1ms"}), "timeout", "at least 1ms"),
        (json!({"timeout": "-1s"}), "timeout", "at least 1ms"),
        (json!({"timeout": "1.0005s"}), "timeout", "whole milliseconds"),
        (json!({"timeout": 5}), "timeout", "must be a duration"),
        (json!({"retries": {"attempts": -1}}), "retries.attempts", "negative"),
        (json!({"retries": {"attempts": 1, "retryOn": "5xx,nonsense"}}), "retries.retryOn", "nonsense"),
        (json!({"retries": {"retryOn": "5xx"}}), "retries.attempts", "disabled"),
        (json!({"fault": {}}), "fault", "abort and/or a delay"),
        (json!({"fault": {"delay": {"fixedDelay": "0s"}}}), "fault.delay.fixedDelay", "at least 1ms"),
        (json!({"fault": {"abort": {"grpcStatus": "NOPE"}}}), "fault.abort.grpcStatus", "NOPE"),
        (json!({"rewrite": {}}), "rewrite", "at least one"),
        (json!({"mirror": {"host": "*"}}), "mirror.host", "invalid destination host"),
        (json!({"mirrorPercentage": {"value": -1}}), "mirrorPercentage.value", "in range"),
        (
            json!({"match": [{"headers": {"a b": {"exact": "x"}}}]}),
            "match[0].headers[\"a b\"]",
            "header name",
        ),
        (json!({"match": [{"uri": {"exact": "a", "prefix": "b"}}]}), "match[0].uri.prefix", "only one of"),
        (json!({"match": [{"port": 65536}]}), "match[0].port", "1..65535"),
        (
            json!({"headers": {"request": {"set": {":path": "/"}}}}),
            "headers.request.set[\":path\"]",
            "prefix",
        ),
        (
            json!({"headers": {"response": {"add": {"x": "%bad"}}}}),
            "headers.response.add[\"x\"]",
            "closing %",
        ),
        (json!({"headers": {"response": {"remove": ["Host"]}}}), "headers.response.remove[0]", "Host"),
        (json!({"corsPolicy": {"allowMethods": ["FETCH"]}}), "corsPolicy.allowMethods[0]", "FETCH"),
    ];
    for (part, path, words) in cases {
        let mut route = json!({"route": to("a")});
        route.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        refused(
            "VirtualService",
            json!({"hosts": ["a"], "http": [route]}),
            &format!("spec.http[0].{path}"),
            words,
        );
    }
}

#[test]
fn weights_of_several_destinations_must_not_all_be_zero() {
    let route = json!([{"destination": {"host": "a"}}, {"destination": {"host": "b"}, "weight": 0}]);
    refused(
        "VirtualService",
        json!({"hosts": ["a"], "http": [{"route": route}]}),
        "spec.http[0].route",
        "weight = 0",
    );
}

#[test]
fn tls_routes_need_server_names_within_the_hosts() {
    let spec = json!({"hosts": ["*.a.com"], "tls": [{"match": [{"sniHosts": ["b.com"]}], "route": to("a")}]});
    refused("VirtualService", spec, "spec.tls[0].match[0].sniHosts[0]", "compatible subset");
}

#[test]
fn destination_rules() {
    let with = |policy: Value| json!({"host": "a", "trafficPolicy": policy});
    refused("DestinationRule", json!({"host": ""}), "spec.host", "empty domain name");
    refused("DestinationRule", with(json!({})), "spec.trafficPolicy", "at least one field");
    let twice = json!({"host": "a", "subsets": [{"name": "v1"}, {"name": "v1"}]});
    refused("DestinationRule", twice, "spec.subsets[1].name", "duplicate subset name");
    let cases = [
        (json!({"tls": {"mode": "MUTUAL", "clientCertificate": "/c"}}), "tls.privateKey", "required"),
        (
            json!({"tls": {"mode": "MUTUAL", "credentialName": "configmap://a/b"}}),
            "tls.credentialName",
            "a ConfigMap has no key",
        ),
        (
            json!({"tls": {"mode": "SIMPLE", "credentialName": "configmap:///b"}}),
            "tls.credentialName",
            "configmap://NAMESPACE/NAME",
        ),
        (
            json!({"connectionPool": {"tcp": {"maxConnections": -1}}}),
            "connectionPool.tcp.maxConnections",
            "negative",
        ),
        (
            json!({"outlierDetection": {"maxEjectionPercent": 101}}),
            "outlierDetection.maxEjectionPercent",
            "0..100",
        ),
        (
            json!({"loadBalancer": {"consistentHash": {"maglev": {"tableSize": 100}, "useSourceIp": true}}}),
            "loadBalancer.consistentHash.maglev.tableSize",
            "prime",
        ),
        (
            json!({"loadBalancer": {"localityLbSetting": {"distribute": [{"from": "a/*", "to": {"a/*": 99}}]}}}),
            "loadBalancer.localityLbSetting.distribute[0].to",
            "99 != 100",
        ),
        (
            json!({"portLevelSettings": [{"tls": {"mode": "SIMPLE"}}]}),
            "portLevelSettings[0].port",
            "must have a port",
        ),
    ];
    for (policy, path, words) in cases {
        refused("DestinationRule", with(policy), &format!("spec.trafficPolicy.{path}"), words);
    }
}

#[test]
fn gateways() {
    let with = |server: Value| json!({"selector": {"istio": "ingressgateway"}, "servers": [server]});
    let http = json!({"number": 80, "name": "http", "protocol": "HTTP"});
    let https = json!({"number": 443, "name": "https", "protocol": "HTTPS"});
    refused("Gateway", json!({}), "spec.servers", "at least one server");
    refused("Gateway", with(json!({"port": http})), "spec.servers[0].hosts", "at least one host");
    refused(
        "Gateway",
        with(json!({"port": https, "hosts": ["*"]})),
        "spec.servers[0].tls",
        "must have TLS settings",
    );
    let plain = json!({"port": http, "hosts": ["*"], "tls": {"mode": "SIMPLE", "credentialName": "c"}});
    refused("Gateway", with(plain), "spec.servers[0].tls", "plain text HTTP");
    let tls = |tls: Value| with(json!({"port": https, "hosts": ["*"], "tls": tls}));
    let pair = json!({"mode": "SIMPLE", "credentialName": "configmap://a/b"});
    refused("Gateway", tls(pair), "spec.servers[0].tls.credentialName", "a ConfigMap has no key");
    let map = |name: &str| json!({"mode": "MUTUAL", "credentialName": "c", "caCertCredentialName": name});
    let field = "spec.servers[0].tls.caCertCredentialName";
    refused("Gateway", tls(map("configmap://b")), field, "configmap://NAMESPACE/NAME");
    assert_eq!(errors("Gateway", tls(map("configmap://a/b"))), [""; 0]);
    assert_eq!(errors("Gateway", tls(map("b"))), [""; 0]);
    let ports = json!({"port": {"number": 0, "name": "x", "protocol": "HTTP"}, "hosts": ["*"]});
    refused("Gateway", with(ports), "spec.servers[0].port.number", "1..65535");
    let protocol = json!({"port": {"number": 1, "name": "x", "protocol": "SPDY"}, "hosts": ["*"]});
    refused("Gateway", with(protocol), "spec.servers[0].port", "SPDY");
    let redirect = json!({"port": http, "hosts": ["*"], "tls": {"httpsRedirect": true}});
    assert_eq!(errors("Gateway", with(redirect)), [""; 0]);
}

#[test]
fn service_entries() {
    let with = |part: Value| {
        let mut spec =
            json!({"hosts": ["a.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]});
        spec.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        spec
    };
    assert_eq!(errors("ServiceEntry", with(json!({"resolution": "DNS"}))), [""; 0]);
    refused("ServiceEntry", with(json!({"hosts": ["*"]})), "spec.hosts[0]", "invalid host *");
    let wildcard = json!({"hosts": ["*.a.com"], "resolution": "DNS"});
    refused("ServiceEntry", with(wildcard), "spec.hosts[0]", "FQDN");
    let range = json!({"addresses": ["10.0.0.0/8"], "resolution": "DNS"});
    refused("ServiceEntry", with(range), "spec.addresses[0]", "CIDR");
    refused("ServiceEntry", with(json!({"endpoints": [{"address": "1.1.1.1"}]})), "spec.endpoints", "NONE");
    let name = json!({"resolution": "STATIC", "endpoints": [{"address": "b.com"}]});
    refused("ServiceEntry", with(name), "spec.endpoints[0].address", "not a valid IP");
    let port = json!({"resolution": "STATIC", "endpoints": [{"address": "1.1.1.1", "ports": {"https": 1}}]});
    refused("ServiceEntry", with(port), "spec.endpoints[0].ports[\"https\"]", "not defined");
    refused("ServiceEntry", with(json!({"resolution": "MAGIC"})), "spec.resolution", "DYNAMIC_DNS");
}

#[test]
fn sidecars() {
    refused("Sidecar", json!({}), "spec", "empty configuration");
    refused(
        "Sidecar",
        json!({"egress": [{"hosts": ["reviews"]}]}),
        "spec.egress[0].hosts[0]",
        "namespace/dnsName",
    );
    let order = json!({"egress": [{"hosts": ["./*"]}, {"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["./*"]}]});
    refused("Sidecar", order, "spec.egress[0]", "last listener");
    let endpoint =
        json!({"ingress": [{"port": {"number": 80, "protocol": "HTTP"}, "defaultEndpoint": "10.0.0.1:80"}]});
    refused("Sidecar", endpoint, "spec.ingress[0].defaultEndpoint", "127.0.0.1");
}

#[test]
fn rules_that_no_request_reaches_are_warned_of() {
    let value = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "a"}, "spec": {"hosts": ["a"], "http": [
            {"match": [{"uri": {"prefix": "/a"}}], "route": to("a")},
            {"match": [{"uri": {"prefix": "/abc"}}], "route": to("b")},
            {"match": [{"uri": {"prefix": "/a"}}], "route": to("c")},
            {"route": to("d")}, {"route": to("e")}]}});
    let verdict = validate_value(&value).unwrap();
    assert_eq!(verdict.errors, []);
    let paths: Vec<&str> = verdict.warnings.iter().map(|w| w.path.as_str()).collect();
    assert_eq!(paths, ["spec.http[2].match[0]", "spec.http[2]", "spec.http[4]", "spec.http[1].match[0]"]);
}

#[test]
fn other_groups_are_none_of_our_business_but_unknown_kinds_of_ours_are() {
    assert_eq!(validate_value(&json!({"apiVersion": "apps/v1", "kind": "Deployment"})), None);
    let verdict = validate_value(&json!({"apiVersion": "networking.istio.io/v1", "kind": "Router"})).unwrap();
    assert_eq!(verdict.errors[0].path, "kind");
    assert!(validate_value(&json!("text")).is_none());
}
