//! SDS: the Secrets that gateways and rules name, for proxies of the Secrets' own namespace.

use std::collections::BTreeSet;
use std::sync::Arc;

use lateen_api::networking::destination_rule::DestinationRuleSpec;
use lateen_api::networking::gateway::{ServerTlsMode, ServerTlsSettings};
use lateen_api::networking::traffic_policy::{ClientTlsSettings, TrafficPolicy};
use lateen_mesh::{Credential, Credentials};
use lateen_xds::pb::envoy::config::core::v3::{DataSource, data_source};
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use lateen_xds::{Encoded, TypeUrl};

use crate::proxy::ProxyKind;
use crate::view::View;

/// What stands before the names of Secrets.
const SCHEME: &str = "kubernetes://";

/// What stands behind the names of Secrets of which the authorities are meant.
const AUTHORITIES: &str = "-cacert";

/// The Secrets with a server's certificates.
pub(crate) fn names(wanted: &ServerTlsSettings) -> Vec<&str> {
    let all = std::iter::once(&wanted.credential_name).chain(&wanted.credential_names);
    all.filter(|name| !name.is_empty()).map(|name| name.strip_prefix(SCHEME).unwrap_or(name)).collect()
}

/// The Secret with the authorities that a server verifies clients by.
pub(crate) fn authority_name(wanted: &ServerTlsSettings) -> Option<&str> {
    let own = wanted.ca_cert_credential_name.as_str();
    let own = own.strip_prefix(SCHEME).unwrap_or(own);
    if own.is_empty() { names(wanted).first().copied() } else { Some(own) }
}

/// The name of the resource with a Secret's certificate.
pub(crate) fn resource(name: &str) -> String {
    format!("{SCHEME}{name}")
}

/// The name of the resource with a Secret's authorities.
pub(crate) fn authorities_resource(name: &str) -> String {
    format!("{SCHEME}{name}{AUTHORITIES}")
}

/// The Secret that has the authorities of a name: one of its own with `-cacert`, else the one with the certificate.
///
/// Source: Istio, Gateway `credentialName`.
pub(crate) fn authorities<'a>(
    name: &str,
    namespace: &str,
    credentials: &'a Credentials,
) -> Option<&'a Arc<Credential>> {
    let own = credentials.get(namespace, &format!("{name}{AUTHORITIES}"));
    let has = |c: &&Arc<Credential>| c.authorities.is_some();
    own.filter(has).or_else(|| credentials.get(namespace, name).filter(has))
}

/// The Secrets that these proxies' configuration names, of their own namespace; none for proxies that did not prove
/// who they are.
pub(crate) fn of_view(view: &View<'_>) -> Vec<Arc<Encoded>> {
    if !view.key.authenticated {
        return Vec::new();
    }
    let (mut pairs, mut roots) = (BTreeSet::new(), BTreeSet::new());
    if view.key.kind == ProxyKind::Gateway {
        let servers =
            view.mesh.gateways.of_workload(&view.key.labels).flat_map(|gateway| &gateway.spec.servers);
        for tls in servers.filter_map(|server| server.tls.as_ref()) {
            pairs.extend(names(tls).into_iter().map(str::to_owned));
            let mode = tls.mode.unwrap_or_default();
            if matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
                roots.extend(authority_name(tls).map(str::to_owned));
            }
        }
    }
    if view.mesh.destination_rules.all().any(|rule| client_names(&rule.spec).next().is_some()) {
        let rules = view.scope.services.values().filter_map(|service| view.rule(service));
        for name in rules.flat_map(|rule| client_names(&rule.spec)) {
            pairs.insert(name.to_owned());
            roots.insert(name.to_owned());
        }
    }
    let (namespace, credentials) = (&*view.key.namespace, &*view.mesh.credentials);
    let pairs = pairs.iter().filter_map(|name| pair(name, credentials.get(namespace, name)?));
    let roots = roots.iter().filter_map(|name| trusted(name, authorities(name, namespace, credentials)?));
    pairs.chain(roots).map(Arc::new).collect()
}

/// The Secrets that a rule names for its clients.
fn client_names(rule: &DestinationRuleSpec) -> impl Iterator<Item = &str> {
    fn of(policy: &TrafficPolicy) -> impl Iterator<Item = &ClientTlsSettings> {
        policy.tls.iter().chain(policy.port_level_settings.iter().filter_map(|p| p.tls.as_ref()))
    }
    let subsets = rule.subsets.iter().filter_map(|s| s.traffic_policy.as_ref());
    let policies = rule.traffic_policy.iter().chain(subsets);
    policies.flat_map(of).map(|tls| tls.credential_name.as_str()).filter(|name| !name.is_empty())
}

fn pair(name: &str, credential: &Credential) -> Option<Encoded> {
    let (certificate, key) = credential.pair.as_ref()?;
    let certificate = TlsCertificate {
        certificate_chain: Some(inline(certificate)),
        private_key: Some(inline(key)),
        ..TlsCertificate::default()
    };
    Some(encoded(resource(name), secret::Type::TlsCertificate(certificate)))
}

fn trusted(name: &str, credential: &Credential) -> Option<Encoded> {
    let context = CertificateValidationContext {
        trusted_ca: Some(inline(credential.authorities.as_ref()?)),
        crl: credential.revoked.as_deref().map(inline),
        ..CertificateValidationContext::default()
    };
    Some(encoded(authorities_resource(name), secret::Type::ValidationContext(context)))
}

fn encoded(name: String, content: secret::Type) -> Encoded {
    let message = Secret { name: name.clone(), r#type: Some(content) };
    Encoded::new(TypeUrl::Secret, name, &message)
}

fn inline(bytes: &[u8]) -> DataSource {
    DataSource {
        specifier: Some(data_source::Specifier::InlineBytes(bytes.to_vec())),
        ..DataSource::default()
    }
}
