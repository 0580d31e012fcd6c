//! Policies, secrets, and whether clients and servers agree.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use lateen_analysis::{Code, Severity, TlsStatus, analyze, tls_check};
use lateen_mesh::{Credential, Kind, Mesh, Meta, Resource, World};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn put<T: DeserializeOwned + Into<Resource>>(world: &mut World, kind: &str, name: &str, spec: Value) {
    let object = json!({
        "kind": kind, "metadata": {"name": name, "namespace": "voting"}, "spec": spec,
    });
    world.upsert(serde_json::from_value::<T>(object).unwrap().into());
}

/// A service with a pod that has a sidecar, and what `more` adds.
fn mesh(more: impl FnOnce(&mut World)) -> std::sync::Arc<Mesh> {
    let mut world = World::new();
    put::<Service>(
        &mut world,
        "Service",
        "app",
        json!({"selector": {"app": "app"}, "ports": [{"name": "http", "port": 8080}]}),
    );
    let pod = json!({
        "metadata": {"name": "app-0", "namespace": "voting", "labels": {"app": "app", "security.istio.io/tlsMode": "istio"}},
        "spec": {"containers": []}, "status": {"phase": "Running", "podIP": "10.244.0.1"},
    });
    world.upsert(serde_json::from_value::<Pod>(pod).unwrap().into());
    let slice = json!({
        "metadata": {"name": "app-x", "namespace": "voting", "labels": {"kubernetes.io/service-name": "app"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.244.0.1"], "targetRef": {"kind": "Pod", "name": "app-0"}}],
    });
    world.upsert(serde_json::from_value::<EndpointSlice>(slice).unwrap().into());
    more(&mut world);
    world.snapshot().0
}

fn status(more: impl FnOnce(&mut World)) -> TlsStatus {
    tls_check(&mesh(more), None).remove(0)
}

fn strict(world: &mut World) {
    put::<lateen_api::Policy>(world, "Policy", "default", json!({"peers": [{"mtls": {"mode": "STRICT"}}]}));
}

fn rule(world: &mut World, mode: &str) {
    let spec = json!({"host": "app", "trafficPolicy": {"tls": {"mode": mode}}});
    put::<lateen_api::DestinationRule>(world, "DestinationRule", "app", spec);
}

#[test]
fn the_tutorials_policy_and_rule_agree() {
    let found = status(|world| {
        strict(world);
        rule(world, "ISTIO_MUTUAL");
    });
    assert_eq!(
        (found.ok, found.server, found.client, &*found.policy, &*found.rule),
        (true, "mTLS", "mTLS", "default/voting", "app/voting")
    );
}

#[test]
fn a_plain_client_of_a_strict_server_is_a_conflict_and_so_is_the_reverse() {
    let found = status(|world| {
        strict(world);
        rule(world, "DISABLE");
    });
    assert_eq!((found.ok, found.server, found.client), (false, "mTLS", "HTTP"));
    let found = status(|world| {
        put::<lateen_api::Policy>(world, "Policy", "default", json!({}));
        rule(world, "ISTIO_MUTUAL");
    });
    assert_eq!((found.ok, found.server, found.client), (false, "HTTP", "mTLS"));
}

#[test]
fn without_rule_clients_do_what_servers_take() {
    let found = status(|_| {});
    assert_eq!((found.ok, found.server, found.client, &*found.policy), (true, "HTTP/mTLS", "mTLS", "-"));
    let found = status(strict);
    assert_eq!((found.ok, found.server, found.client, &*found.rule), (true, "mTLS", "mTLS", "-"));
}

#[test]
fn policies_that_count_for_nothing_are_found() {
    let mesh = mesh(|world| {
        let select = |app: &str| json!({"selector": {"matchLabels": {"app": app}}});
        put::<lateen_api::PeerAuthentication>(world, "PeerAuthentication", "a", json!({}));
        put::<lateen_api::PeerAuthentication>(world, "PeerAuthentication", "b", json!({}));
        put::<lateen_api::PeerAuthentication>(world, "PeerAuthentication", "c", select("nosuch"));
        put::<lateen_api::AuthorizationPolicy>(world, "AuthorizationPolicy", "d", select("nosuch"));
        let custom = json!({"action": "CUSTOM", "provider": {"name": "nosuch"}, "rules": [{}]});
        put::<lateen_api::AuthorizationPolicy>(world, "AuthorizationPolicy", "e", custom);
        let tokens = json!({"jwtRules": [{"issuer": "me"}]});
        put::<lateen_api::RequestAuthentication>(world, "RequestAuthentication", "f", tokens);
        strict(world);
    });
    let mut found: Vec<(Code, String)> =
        analyze(&mesh).into_iter().map(|f| (f.code, f.resource.name.to_string())).collect();
    found.sort();
    assert_eq!(
        found,
        [
            (Code::Deprecated, "default".to_owned()),
            (Code::ConflictingPolicies, "b".into()),
            (Code::NoMatchingWorkloadsFound, "c".into()),
            (Code::NoMatchingWorkloadsFound, "d".into()),
            (Code::PolicyDependencyNotUsable, "e".into()),
            (Code::PolicyDependencyNotUsable, "f".into()),
        ]
    );
}

#[test]
fn secrets_that_a_gateway_cannot_use_are_found() {
    let mesh = mesh(|world| {
        let server = |name: &str, tls: Value| json!({"port": {"number": 8080, "name": name, "protocol": "HTTPS"}, "hosts": [format!("{name}.example")], "tls": tls});
        let servers = json!([
            server("missing", json!({"mode": "SIMPLE", "credentialName": "nosuch"})),
            server("roots", json!({"mode": "MUTUAL", "credentialName": "nosuch"})),
        ]);
        let spec = json!({"selector": {"app": "app"}, "servers": servers});
        put::<lateen_api::Gateway>(world, "Gateway", "edge", spec);
    });
    let found = analyze(&mesh);
    let places: Vec<&str> =
        found.iter().filter(|f| f.code == Code::CredentialNotUsable).map(|f| f.field.as_str()).collect();
    assert_eq!(
        places,
        [
            "spec.servers[0].tls.credentialName",
            "spec.servers[1].tls.credentialName",
            "spec.servers[1].tls.credentialName",
        ]
    );
    assert!(
        found
            .iter()
            .all(|f| f.code != Code::CredentialNotUsable || f.message.contains(".example are closed"))
    );
}

#[test]
fn secrets_that_a_rule_cannot_use_are_found() {
    let mesh = mesh(|world| {
        // Rules for one host are one.
        let mut rule = |name: &str, policy: Value| {
            let spec = json!({"host": format!("{name}.example"), "trafficPolicy": policy});
            put::<lateen_api::DestinationRule>(world, "DestinationRule", name, spec);
        };
        let tls = |tls: Value| json!({"tls": tls});
        rule("a", tls(json!({"mode": "SIMPLE", "credentialName": "nosuch"})));
        rule("b", tls(json!({"mode": "MUTUAL", "credentialName": "mismatch"})));
        rule("c", tls(json!({"mode": "SIMPLE", "credentialName": "configmap://voting/nosuch"})));
        rule("d", tls(json!({"mode": "SIMPLE", "credentialName": "configmap://voting/roots"})));
        rule("e", tls(json!({"mode": "ISTIO_MUTUAL"})));
        let unverified = json!({"mode": "SIMPLE", "credentialName": "nosuch", "insecureSkipVerify": true});
        rule("f", tls(unverified));
        let port = json!([{"port": {"number": 80}, "tls": {"mode": "SIMPLE", "credentialName": "good"}}]);
        rule("g", json!({"portLevelSettings": port}));
        let roots: std::sync::Arc<[u8]> = b"PEM".as_slice().into();
        for (kind, name, problem) in [
            (Kind::ConfigMap, "roots", None),
            (Kind::Secret, "good", None),
            (Kind::Secret, "mismatch", Some("the key does not belong to the certificate")),
        ] {
            let meta = Meta { name: name.into(), namespace: "voting".into(), created: 0 };
            let (authorities, problem) = (Some(roots.clone()), problem.map(str::to_owned));
            world.upsert(Credential { kind, meta, pair: None, authorities, revoked: None, problem }.into());
        }
    });
    let found = analyze(&mesh);
    let found = found.iter().filter(|f| f.code == Code::CredentialNotUsable);
    let told: Vec<_> =
        found.map(|f| (&*f.resource.name, f.severity, f.field.as_str(), f.message.as_str())).collect();
    let field = "spec.trafficPolicy.tls.credentialName";
    let bad = "the Secret voting/mismatch cannot be used: the key does not belong to the certificate";
    assert_eq!(
        told,
        [
            (
                "a",
                Severity::Error,
                field,
                "neither voting/nosuch-cacert nor voting/nosuch has ca.crt (or cacert); a.example is not reached"
            ),
            ("b", Severity::Error, field, &*format!("{bad}; b.example is not reached")),
            (
                "c",
                Severity::Error,
                field,
                "there is no ConfigMap voting/nosuch with ca.crt (or cacert); c.example is not reached"
            ),
            ("b", Severity::Warning, field, &*format!("{bad}; the last good one stays")),
        ]
    );
}

#[test]
fn servers_that_leave_nothing_to_agree_on_are_found() {
    let mesh = mesh(|world| {
        let server = |name: &str, tls: Value| json!({"port": {"number": 8080, "name": name, "protocol": "HTTPS"}, "hosts": [format!("{name}.example")], "tls": tls});
        let servers = json!([
            server("old", json!({"mode": "SIMPLE", "credentialName": "a", "maxProtocolVersion": "TLSV1_1"})),
            server(
                "weak",
                json!({"mode": "SIMPLE", "credentialName": "a", "maxProtocolVersion": "TLSV1_2", "cipherSuites": ["AES128-SHA"]})
            ),
            server("good", json!({"mode": "SIMPLE", "credentialName": "a", "cipherSuites": ["AES128-SHA"]})),
            server("mesh", json!({"mode": "ISTIO_MUTUAL", "maxProtocolVersion": "TLSV1_1"})),
        ]);
        let spec = json!({"selector": {"app": "app"}, "servers": servers});
        put::<lateen_api::Gateway>(world, "Gateway", "edge", spec);
    });
    let found = analyze(&mesh);
    let closed =
        found.iter().filter(|f| f.message.contains("are closed") && f.code == Code::SchemaValidationError);
    let places: Vec<&str> = closed.map(|f| f.field.as_str()).collect();
    assert_eq!(places, ["spec.servers[0].tls.maxProtocolVersion", "spec.servers[1].tls.cipherSuites"]);
}
