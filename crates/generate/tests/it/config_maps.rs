//! Authorities that ConfigMaps hold: of gateways' clients, and of servers of the world.

use std::sync::Arc;

use lateen_mesh::{Credential, Kind, Meta};
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use prost::Message;

use crate::kit::{Cluster0, Read, ingress, sidecar};
use crate::transport::{SERVICES, trusted};

const RESOURCES: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: mapped, protocol: HTTPS}, hosts: [mapped.example], tls: {mode: MUTUAL, credentialName: pair, caCertCredentialName: partners}}
  - {port: {number: 443, name: named, protocol: HTTPS}, hosts: [named.example], tls: {mode: MUTUAL, credentialName: pair, caCertCredentialName: 'configmap://default/world'}}
  - {port: {number: 443, name: own, protocol: HTTPS}, hosts: [own.example], tls: {mode: MUTUAL, credentialName: only-a-map}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec: {host: db, trafficPolicy: {tls: {mode: SIMPLE, credentialName: 'configmap://default/world'}}}
";

fn cluster() -> Cluster0 {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(RESOURCES);
    for (kind, namespace, name) in [
        (Kind::Secret, "istio-system", "pair"),
        (Kind::Secret, "istio-system", "only-a-map"),
        (Kind::ConfigMap, "istio-system", "only-a-map"),
        (Kind::ConfigMap, "istio-system", "partners"),
        (Kind::ConfigMap, "default", "world"),
    ] {
        put(&mut cluster, kind, namespace, name, "PEM");
    }
    cluster
}

fn put(cluster: &mut Cluster0, kind: Kind, namespace: &str, name: &str, text: &str) {
    let text: Arc<[u8]> = text.as_bytes().into();
    let secret = kind == Kind::Secret;
    let meta = Meta { name: name.into(), namespace: namespace.into(), created: 0 };
    let pair = secret.then(|| (text.clone(), text.clone()));
    let authorities = (!secret).then_some(text);
    cluster.world.upsert(Credential { kind, meta, pair, authorities, revoked: None, problem: None }.into());
}

fn authorities(seen: &Read, name: &str) -> Vec<u8> {
    let body = seen.0.get(TypeUrl::Secret, name).unwrap_or_else(|| panic!("no {name}")).body.clone();
    match Secret::decode(body).expect("well formed").r#type {
        Some(secret::Type::ValidationContext(context)) => {
            assert!(context.crl.is_none());
            let source = context.trusted_ca.and_then(|ca| ca.specifier).expect("authorities");
            let lateen_xds::pb::envoy::config::core::v3::data_source::Specifier::InlineBytes(bytes) = source
            else {
                panic!("{source:?}")
            };
            bytes
        }
        other => panic!("{other:?}"),
    }
}

fn text_of(seen: &Read, kind: TypeUrl, name: &str) -> String {
    String::from_utf8_lossy(&seen.0.get(kind, name).expect("there").body).into_owned()
}

#[test]
fn gateways_verify_clients_by_config_maps_that_they_name() {
    let mut cluster = cluster();
    let seen = cluster.resources(&trusted(ingress("envoy")));
    let maps = ["configmap://default/world", "configmap://istio-system/partners"];
    assert_eq!(
        seen.names(TypeUrl::Secret),
        [&maps[..], &["kubernetes://only-a-map", "kubernetes://pair"]].concat()
    );
    let listener = text_of(&seen, TypeUrl::Listener, "0.0.0.0_443");
    assert!(maps.iter().all(|name| listener.contains(name)), "{listener}");
    // Of `credentialName` only Secrets are meant: the host is closed.
    assert!(!listener.contains("kubernetes://only-a-map"), "{listener}");
    put(&mut cluster, Kind::ConfigMap, "istio-system", "partners", "OTHER");
    let seen = cluster.resources(&trusted(ingress("envoy")));
    assert_eq!(authorities(&seen, maps[1]), b"OTHER");
}

#[test]
fn rules_name_config_maps_with_their_namespace() {
    let seen = cluster().resources(&trusted(sidecar("x-0", &[("app", "client")], "envoy")));
    assert_eq!(seen.names(TypeUrl::Secret), ["configmap://default/world"]);
    assert_eq!(authorities(&seen, "configmap://default/world"), b"PEM");
    let cluster = text_of(&seen, TypeUrl::Cluster, "outbound|5432||db.default.svc.cluster.local");
    assert!(cluster.contains("configmap://default/world") && !cluster.contains("kubernetes://"), "{cluster}");
}
