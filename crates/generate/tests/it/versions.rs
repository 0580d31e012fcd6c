//! Versions, suites and curves of MeshConfig: between workloads (`meshMTLS`), and with everybody else (`tlsDefaults`).

use lateen_api::mesh_config::{TlsConfig, TlsVersion};
use lateen_mesh::Settings;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    DownstreamTlsContext, TlsParameters, UpstreamTlsContext,
};

use crate::kit::{Cluster0, ingress, sidecar};
use crate::transport::{gateways, trusted, unpack};

const CLIENTS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec: {host: db, trafficPolicy: {tls: {mode: SIMPLE}}}
";

fn configured(cluster: &mut Cluster0, mesh: TlsConfig, others: TlsConfig) {
    cluster.world.upsert(Settings { mesh_tls: mesh, tls_defaults: others, ..Settings::default() }.into());
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// The parameters between workloads, as server and as client; at a gateway; to a server of the world.
fn parameters(cluster: &mut Cluster0) -> [TlsParameters; 4] {
    let seen = cluster.resources(&trusted(sidecar("x-0", &[("app", "web")], "envoy")));
    let inbound = seen.listener("virtualInbound");
    let of_mesh =
        inbound.filter_chains.iter().find_map(|chain| chain.transport_socket.as_ref()).expect("TLS");
    let server: DownstreamTlsContext = unpack(of_mesh);
    let matches = seen.cluster("outbound|80||web.default.svc.cluster.local").transport_socket_matches;
    let client: UpstreamTlsContext = unpack(matches[0].transport_socket.as_ref().expect("TLS"));
    let world = seen.cluster("outbound|5432||db.default.svc.cluster.local").transport_socket.expect("TLS");
    let world: UpstreamTlsContext = unpack(&world);
    let edge = cluster.resources(&trusted(ingress("envoy"))).listener("0.0.0.0_443");
    let mutual = edge.filter_chains.iter().find(|chain| {
        chain
            .filter_chain_match
            .as_ref()
            .is_some_and(|m| m.server_names.contains(&"mutual.example".to_owned()))
    });
    let gateway: DownstreamTlsContext =
        unpack(mutual.and_then(|c| c.transport_socket.as_ref()).expect("TLS"));
    [
        server.common_tls_context,
        client.common_tls_context,
        gateway.common_tls_context,
        world.common_tls_context,
    ]
    .map(|context| context.and_then(|c| c.tls_params).expect("parameters"))
}

#[test]
fn mesh_config_chooses_versions_suites_and_curves() {
    let mut cluster = gateways();
    cluster.apply(CLIENTS);
    let suites = names(&["ECDHE-ECDSA-AES128-GCM-SHA256"]);
    let mesh = TlsConfig {
        min_protocol_version: TlsVersion::TlsV1_3,
        cipher_suites: suites.clone(),
        ecdh_curves: names(&["P-384"]),
    };
    let others = TlsConfig { ecdh_curves: names(&["P-256"]), ..TlsConfig::default() };
    configured(&mut cluster, mesh, others.clone());
    let [server, client, gateway, world] = parameters(&mut cluster);
    for of_mesh in [&server, &client] {
        assert_eq!(of_mesh.tls_minimum_protocol_version, TlsProtocol::TlSv13 as i32);
        assert_eq!((&of_mesh.cipher_suites, &of_mesh.ecdh_curves), (&suites, &names(&["P-384"])));
    }
    for other in [&gateway, &world] {
        assert_eq!(other.tls_minimum_protocol_version, TlsProtocol::TlSv12 as i32);
        assert_eq!((&other.cipher_suites, &other.ecdh_curves), (&Vec::new(), &names(&["P-256"])));
    }
    // Without settings of their own, workloads take those curves too, and Istio's suites.
    configured(&mut cluster, TlsConfig::default(), others);
    let [server, client, ..] = parameters(&mut cluster);
    for of_mesh in [&server, &client] {
        assert_eq!(of_mesh.tls_minimum_protocol_version, TlsProtocol::TlSv12 as i32);
        assert_eq!((of_mesh.cipher_suites.len(), &of_mesh.ecdh_curves), (6, &names(&["P-256"])));
    }
}

const OLD: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: old, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8443, name: a, protocol: HTTPS}, hosts: [a.example], tls: {mode: SIMPLE, credentialName: simple, maxProtocolVersion: TLSV1_1}}
  - {port: {number: 8443, name: b, protocol: HTTPS}, hosts: [b.example], tls: {mode: SIMPLE, credentialName: simple, maxProtocolVersion: TLSV1_2, cipherSuites: [AES128-SHA, ECDHE-PSK-AES128-CBC-SHA]}}
  - {port: {number: 8443, name: c, protocol: HTTPS}, hosts: [c.example], tls: {mode: SIMPLE, credentialName: simple, maxProtocolVersion: TLSV1_2, cipherSuites: [AES128-SHA, ECDHE-RSA-AES128-GCM-SHA256]}}
  - {port: {number: 8443, name: d, protocol: HTTPS}, hosts: [d.example], tls: {mode: SIMPLE, credentialName: simple, cipherSuites: [AES128-SHA]}}
  - {port: {number: 8443, name: e, protocol: HTTPS}, hosts: [e.example], tls: {mode: SIMPLE, credentialName: simple, maxProtocolVersion: TLSV1_2, cipherSuites: [NONSENSE]}}
";

#[test]
fn servers_that_leave_our_proxy_nothing_to_agree_on_are_closed_and_no_others() {
    let mut cluster = gateways();
    cluster.apply(OLD);
    let open = |cluster: &mut Cluster0, program: &str| -> Vec<String> {
        let listener = cluster.resources(&trusted(ingress(program))).listener("0.0.0.0_8443");
        let secured = listener.filter_chains.iter().filter(|chain| chain.transport_socket.is_some());
        let mut names: Vec<String> =
            secured.flat_map(|c| c.filter_chain_match.clone().unwrap_or_default().server_names).collect();
        names.sort();
        names
    };
    assert_eq!(open(&mut cluster, "lateen"), ["c.example", "d.example", "e.example"]);
    // Envoy has weak suites too; 1.2 is the least by default, so that 1.1 at most is nothing.
    assert_eq!(open(&mut cluster, "envoy"), ["b.example", "c.example", "d.example", "e.example"]);
    // The mesh's least is above the most of these.
    let others = TlsConfig { min_protocol_version: TlsVersion::TlsV1_3, ..TlsConfig::default() };
    configured(&mut cluster, TlsConfig::default(), others);
    for program in ["lateen", "envoy"] {
        assert_eq!(open(&mut cluster, program), ["d.example"]);
    }
}
