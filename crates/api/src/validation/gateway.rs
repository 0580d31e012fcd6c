//! Rules of Gateway.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common::{ProtocolClass, is_dns_label, port, protocol, unix_address};
use super::{host, traffic_policy};
use crate::networking::gateway::{
    GatewayPort, GatewaySpec, Server, ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsProtocol,
};
use crate::wire::report::Report;

const UNIX: &str = "unix://";

/// Reports every error of the spec.
pub fn validate(spec: &GatewaySpec, metadata: &ObjectMeta, report: &mut Report) {
    let name = metadata.name.as_deref().unwrap_or_default();
    if !name.is_empty() && !is_dns_label(name) {
        report.error(format!("invalid gateway name: {name:?}; it must be a DNS label, without dots"));
    }
    if spec.servers.is_empty() {
        report.error_at("servers", "gateway must have at least one server");
    }
    report.each("servers", &spec.servers, server);
    let mut names = BTreeSet::new();
    report.each("servers", &spec.servers, |r, server| {
        let Some(port) = &server.port else { return };
        if !names.insert(&port.name) {
            r.field("port", |r| {
                r.error_at("name", format!("port names must be unique: duplicate name {}", port.name))
            });
        }
        let redirects = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
        if redirects && protocol(&port.protocol) != Some(ProtocolClass::Http) {
            r.warn_at("tls", "httpsRedirect should only be used with http servers");
        }
    });
}

fn server(report: &mut Report, server: &Server) {
    if server.hosts.is_empty() {
        report.error_at("hosts", "server config must contain at least one host");
    }
    report.each("hosts", &server.hosts, |r, name| r.check(host::namespaced_host(name, true)));
    match &server.port {
        Some(port) => report.field("port", |r| server_port(r, port, &server.bind)),
        None => report.error_at("port", "port is required"),
    }
    bind(report, server);
    if let Some(tls) = &server.tls {
        report.field("tls", |r| server_tls(r, tls));
    }
    let Some(class) = server.port.as_ref().and_then(|port| protocol(&port.protocol)) else { return };
    match (class, &server.tls) {
        (ProtocolClass::Tls, None) => {
            report.error_at("tls", "server must have TLS settings for HTTPS/TLS protocols");
        }
        (ProtocolClass::Tls, Some(_)) | (_, None) => {}
        (ProtocolClass::Http, Some(tls)) => {
            let mode = tls.mode.unwrap_or_default();
            let terminates = !matches!(mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough);
            let files = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
            if terminates || files.iter().any(|file| !file.is_empty()) {
                report.error_at("tls", "server cannot have TLS settings for plain text HTTP ports");
            }
        }
        (_, Some(_)) => report.error_at("tls", "server cannot have TLS settings for non HTTPS/TLS ports"),
    }
}

fn server_port(report: &mut Report, to: &GatewayPort, bind: &str) {
    if protocol(&to.protocol).is_none() {
        report.error_with(
            format!("invalid protocol {:?}", to.protocol),
            "use HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, TCP or TLS",
        );
    }
    if to.number > 0 || !bind.starts_with(UNIX) {
        report.check_at("number", port(to.number));
    }
    if to.target_port > 0 {
        report.error_at("targetPort", "targetPort has no impact on Gateways");
    }
    if to.name.is_empty() {
        report.error_at("name", "port name must be set");
    }
}

fn bind(report: &mut Report, server: &Server) {
    if let Some(path) = server.bind.strip_prefix(UNIX) {
        report.check_at("bind", unix_address(path));
        if server.port.as_ref().is_some_and(|port| port.number != 0) {
            report.field("port", |r| r.error_at("number", "port number must be 0 for unix domain socket"));
        }
    } else if !server.bind.is_empty() {
        report.check_at("bind", host::ip(&server.bind));
    }
}

/// TLS towards clients: what each mode needs and forbids.
pub fn server_tls(report: &mut Report, tls: &ServerTlsSettings) {
    ciphers(report, tls);
    let mode = tls.mode.unwrap_or_default();
    let secret = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    let sources = [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("caCertCredentialName", !tls.ca_cert_credential_name.is_empty()),
    ];
    match mode {
        ServerTlsMode::IstioMutual => {
            for (field, _) in sources.iter().filter(|(_, set)| *set) {
                report.error_at(field, format!("ISTIO_MUTUAL TLS cannot have {field}"));
            }
            return;
        }
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            if sources.iter().any(|(_, set)| *set) || !tls.ca_crl.is_empty() {
                report.warn(format!("{mode} mode does not use certificates, they will be ignored"));
            }
            return;
        }
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {}
    }
    one_source(report, tls);
    traffic_policy::config_map(report, "caCertCredentialName", &tls.ca_cert_credential_name);
    for (field, name) in std::iter::once(("credentialName", &tls.credential_name))
        .chain(tls.credential_names.iter().map(|name| ("credentialNames", name)))
    {
        if name.starts_with("configmap://") {
            report.error_at(field, "a ConfigMap has no key; name a Secret");
        }
    }
    revocation(report, tls, mode);
    if secret {
        return;
    }
    let mutual = mode != ServerTlsMode::Simple;
    if tls.tls_certificates.is_empty() {
        let files = [("serverCertificate", &tls.server_certificate), ("privateKey", &tls.private_key)];
        for (field, _) in files.iter().filter(|(_, file)| file.is_empty()) {
            report.error_with_at(
                field,
                format!("{mode} TLS requires {field}"),
                "or name a secret in credentialName",
            );
        }
    }
    let has_ca = !tls.ca_certificates.is_empty() || !tls.ca_cert_credential_name.is_empty();
    if mutual && !has_ca && tls.tls_certificates.iter().all(|c| c.ca_certificates.is_empty()) {
        report.error_at("caCertificates", format!("{mode} TLS requires a client CA bundle"));
    }
    report.each("tlsCertificates", &tls.tls_certificates, certificate);
}

fn certificate(report: &mut Report, files: &TlsCertificate) {
    for (field, file) in
        [("serverCertificate", &files.server_certificate), ("privateKey", &files.private_key)]
    {
        if file.is_empty() {
            report.error_at(field, format!("{field} is required"));
        }
    }
}

/// Certificates come from one place, and there are at most two of them (one RSA, one ECDSA).
fn one_source(report: &mut Report, tls: &ServerTlsSettings) {
    let files = !tls.server_certificate.is_empty() || !tls.private_key.is_empty();
    let sources = [
        ("serverCertificate and privateKey", files),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
    ];
    let set: Vec<&str> = sources.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    // A secret beside files has always been let pass: the secret wins.
    if set.len() > 1 && set != ["serverCertificate and privateKey", "credentialName"] {
        report.error(format!("only one of {} can be specified", set.join(", ")));
    }
    for (field, count) in
        [("tlsCertificates", tls.tls_certificates.len()), ("credentialNames", tls.credential_names.len())]
    {
        if count > 2 {
            report.error_at(
                field,
                format!("at most 2 certificates (RSA and ECDSA) are supported, not {count}"),
            );
        }
    }
}

fn revocation(report: &mut Report, tls: &ServerTlsSettings, mode: ServerTlsMode) {
    if tls.ca_crl.is_empty() {
        return;
    }
    if !tls.credential_name.is_empty() {
        report.error_at("caCrl", "CRL is not supported with credentialName; it has to be in the secret");
    }
    if mode == ServerTlsMode::Simple {
        report.error_at("caCrl", "CRL is not supported with SIMPLE TLS");
    }
}

fn ciphers(report: &mut Report, tls: &ServerTlsSettings) {
    let old = matches!(tls.min_protocol_version, TlsProtocol::TlsV1_0 | TlsProtocol::TlsV1_1);
    if old && tls.cipher_suites.is_empty() {
        report.warn_at("minProtocolVersion", "versions of TLS below 1.2 need cipherSuites that go with them");
    }
    if tls.max_protocol_version != TlsProtocol::TlsAuto && tls.max_protocol_version < tls.min_protocol_version
    {
        report.error_at("maxProtocolVersion", "must not be below minProtocolVersion");
    }
    let mut seen = BTreeSet::new();
    report.each("cipherSuites", &tls.cipher_suites, |r, suite| {
        if !CIPHER_SUITES.contains(&suite.as_str()) {
            r.warn(format!("ignoring invalid cipher suite: {suite}"));
        } else if !seen.insert(suite) {
            r.warn(format!("ignoring duplicate cipher suite: {suite}"));
        }
    });
}

/// Curves by the names that Envoy (BoringSSL) knows.
pub const CURVES: &[&str] =
    &["X25519MLKEM768", "X25519", "P-256", "P-384", "P-521", "prime256v1", "secp384r1", "secp521r1"];

/// Suites of TLS 1.3, which are always on.
pub const TLS13_SUITES: &[&str] =
    &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Further names of suites up to TLS 1.2 that Envoy knows: IANA's.
pub const IANA_SUITES: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

/// Cipher suites for TLS up to 1.2, by the names that Envoy (BoringSSL) knows.
pub const CIPHER_SUITES: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "PSK-AES128-CBC-SHA",
    "AES256-SHA",
    "PSK-AES256-CBC-SHA",
    "DES-CBC3-SHA",
];
