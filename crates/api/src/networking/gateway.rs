//! Gateway: the ports and hosts that a load balancer at the edge of the mesh serves.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::{CATEGORIES, GROUP, VERSIONS};
use crate::object::{AGE, Kind, Object};
use crate::wire::message::{enumeration, message};
use crate::wire::report::Report;

/// The ports and hosts that a load balancer at the edge of the mesh serves.
pub type Gateway = Object<GatewaySpec>;

message! {
    /// Configuration of a load balancer at the edge of the mesh.
    pub struct GatewaySpec {
        /// What is served.
        servers: Vec<Server>,
        /// The labels of the pods that serve it; of every namespace unless the mesh is told otherwise.
        selector: BTreeMap<String, String>,
    }
}

impl Kind for GatewaySpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "Gateway";
    const PLURAL: &'static str = "gateways";
    const SHORT_NAMES: &'static [&'static str] = &["gw"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [crate::object::Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::gateway::validate(self, metadata, report);
    }
}

message! {
    /// A port and the hosts that are served on it.
    pub struct Server {
        /// The port.
        port: Option<GatewayPort>,
        /// The address or `unix://` path to listen on, instead of all addresses.
        bind: String,
        /// The hosts: `namespace/dnsName`, with or without wildcards; the namespace is that of virtual services.
        hosts: Vec<String>,
        /// How connections are secured.
        tls: Option<ServerTlsSettings>,
        /// Not implemented by Istio.
        default_endpoint: String,
        /// The server's name, which must be its own within the mesh.
        name: String,
    }
}

message! {
    /// A port of a gateway.
    pub struct GatewayPort {
        /// Its number.
        number: u32,
        /// HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS.
        protocol: String,
        /// Its name.
        name: String,
        /// Deprecated: has no effect.
        target_port: u32,
    }
}

message! {
    /// How connections of clients are secured.
    pub struct ServerTlsSettings {
        /// Answer every request over plain HTTP with a redirect to HTTPS.
        https_redirect: bool,
        /// Whether and how TLS is used.
        mode: Option<ServerTlsMode>,
        /// The file with the server's certificate.
        server_certificate: String,
        /// The file with the server's key.
        private_key: String,
        /// The file with the authorities that sign clients' certificates.
        ca_certificates: String,
        /// The file with revoked certificates.
        ca_crl: String,
        /// The secret with certificate and key, instead of files.
        credential_name: String,
        /// Up to two secrets (an RSA and an ECDSA certificate).
        credential_names: Vec<String>,
        /// The secret or ConfigMap with the authorities that sign clients' certificates.
        ca_cert_credential_name: String,
        /// Up to two certificates from files (an RSA and an ECDSA certificate).
        tls_certificates: Vec<TlsCertificate>,
        /// Names of which a client's certificate must have one.
        subject_alt_names: Vec<String>,
        /// SHA-256 of the public keys that are accepted, in base64.
        verify_certificate_spki: Vec<String>,
        /// SHA-256 of the certificates that are accepted, in hexadecimal.
        verify_certificate_hash: Vec<String>,
        /// The oldest version of TLS that is accepted; 1.2 by default.
        min_protocol_version: TlsProtocol,
        /// The newest version of TLS that is accepted.
        max_protocol_version: TlsProtocol,
        /// The cipher suites that are accepted, by OpenSSL's names.
        cipher_suites: Vec<String>,
    }
}

message! {
    /// A certificate from files.
    pub struct TlsCertificate {
        /// The file with the certificate.
        server_certificate: String,
        /// The file with the key.
        private_key: String,
        /// The file with the authorities that sign clients' certificates.
        ca_certificates: String,
    }
}

enumeration! {
    /// Whether and how TLS is used towards clients.
    pub enum ServerTlsMode {
        /// The server name chooses the destination; TLS ends there.
        Passthrough = 0 "PASSTHROUGH",
        /// TLS.
        Simple = 1 "SIMPLE",
        /// TLS with a client certificate.
        Mutual = 2 "MUTUAL",
        /// As PASSTHROUGH, and the server name itself names service, port and subset.
        AutoPassthrough = 3 "AUTO_PASSTHROUGH",
        /// TLS with the mesh's own certificates on both sides.
        IstioMutual = 4 "ISTIO_MUTUAL",
        /// TLS; a client certificate is verified when there is one.
        OptionalMutual = 5 "OPTIONAL_MUTUAL",
    }
}

enumeration! {
    /// Versions of TLS.
    pub enum TlsProtocol {
        /// As the proxy has it.
        TlsAuto = 0 "TLS_AUTO",
        /// TLS 1.0.
        TlsV1_0 = 1 "TLSV1_0",
        /// TLS 1.1.
        TlsV1_1 = 2 "TLSV1_1",
        /// TLS 1.2.
        TlsV1_2 = 3 "TLSV1_2",
        /// TLS 1.3.
        TlsV1_3 = 4 "TLSV1_3",
    }
}
