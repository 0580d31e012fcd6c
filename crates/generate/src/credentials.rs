//! SDS: the Secrets that gateways and rules name, for proxies of the Secrets' own namespace; ConfigMaps with authorities.

use std::collections::{BTreeMap, BTreeSet};
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

/// What stands before namespaces and names of ConfigMaps.
const MAP_SCHEME: &str = "configmap://";

/// What stands behind the names of Secrets of which the authorities are meant.
const AUTHORITIES: &str = "-cacert";

/// The Secrets with a server's certificates.
pub(crate) fn names(wanted: &ServerTlsSettings) -> Vec<&str> {
    let all = std::iter::once(&wanted.credential_name).chain(&wanted.credential_names);
    all.filter(|name| !name.is_empty()).map(|name| bare(name)).collect()
}

/// The name of the resource with a Secret's certificate.
pub(crate) fn resource(name: &str) -> String {
    format!("{SCHEME}{}", bare(name))
}

/// A Secret's name, with or without scheme.
fn bare(name: &str) -> &str {
    name.strip_prefix(SCHEME).unwrap_or(name)
}

/// Where the authorities are that a server verifies clients by, and the name of the resource with them. `Ok(None)` when none
/// are named, an error when what is named is not there.
///
/// Source: Istio, Gateway `caCertCredentialName`: a Secret or a ConfigMap, before what is in the Secret of `credentialName`.
pub(crate) fn of_clients<'a>(
    wanted: &ServerTlsSettings,
    namespace: &str,
    credentials: &'a Credentials,
) -> Result<Option<Trusted<'a>>, NotThere> {
    let own = wanted.ca_cert_credential_name.as_str();
    let name = match bare(own) {
        "" => names(wanted).first().copied(),
        own => Some(own),
    };
    let Some(name) = name else { return Ok(None) };
    let found = trusted(name, namespace, credentials).or_else(|| {
        let map = credentials.config_map(namespace, name).filter(|_| !own.is_empty())?;
        trusted(&format!("{MAP_SCHEME}{namespace}/{}", map.meta.name), namespace, credentials)
    });
    found.map(Some).ok_or(NotThere)
}

/// Nothing of that name has authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotThere;

/// Authorities, and the resource that they are.
#[derive(Clone, Debug)]
pub(crate) struct Trusted<'a> {
    /// The resource's name.
    pub resource: String,
    credential: &'a Arc<Credential>,
}

/// The name of the resource with the authorities of a name.
pub(crate) fn authorities_resource(name: &str) -> String {
    match name.starts_with(MAP_SCHEME) {
        true => name.to_owned(),
        false => format!("{SCHEME}{}{AUTHORITIES}", bare(name)),
    }
}

/// The authorities of a name: `configmap://NAMESPACE/NAME`, or a Secret's: one of its own with `-cacert`, else the one with
/// the certificate.
///
/// Source: Istio, Gateway `credentialName`.
fn trusted<'a>(name: &str, namespace: &str, credentials: &'a Credentials) -> Option<Trusted<'a>> {
    let has = |c: &&Arc<Credential>| c.authorities.is_some();
    let credential = match name.strip_prefix(MAP_SCHEME) {
        Some(map) => {
            let (namespace, map) = map.split_once('/')?;
            credentials.config_map(namespace, map).filter(has)?
        }
        None => {
            let own = credentials.get(namespace, &format!("{name}{AUTHORITIES}"));
            own.filter(has).or_else(|| credentials.get(namespace, name).filter(has))?
        }
    };
    Some(Trusted { resource: authorities_resource(name), credential })
}

/// The Secrets that these proxies' configuration names, of their own namespace; none for proxies that did not prove
/// who they are.
pub(crate) fn of_view<'a>(view: &'a View<'_>) -> Vec<Arc<Encoded>> {
    if !view.key.authenticated {
        return Vec::new();
    }
    let (namespace, credentials) = (&*view.key.namespace, &*view.mesh.credentials);
    let (mut pairs, mut roots) = (BTreeSet::new(), BTreeMap::new());
    let mut root = |found: Option<Trusted<'a>>| roots.extend(found.map(|t| (t.resource, t.credential)));
    if view.key.kind == ProxyKind::Gateway {
        let servers =
            view.mesh.gateways.of_workload(&view.key.labels).flat_map(|gateway| &gateway.spec.servers);
        for tls in servers.filter_map(|server| server.tls.as_ref()) {
            pairs.extend(names(tls).into_iter().map(str::to_owned));
            let mode = tls.mode.unwrap_or_default();
            if matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
                root(of_clients(tls, namespace, credentials).ok().flatten());
            }
        }
    }
    if view.mesh.destination_rules.all().any(|rule| client_names(&rule.spec).next().is_some()) {
        let rules = view.scope.services.values().filter_map(|service| view.rule(service));
        for name in rules.flat_map(|rule| client_names(&rule.spec)) {
            pairs.insert(name.to_owned());
            root(trusted(name, namespace, credentials));
        }
    }
    let pairs = pairs.iter().filter_map(|name| pair(name, credentials.get(namespace, name)?));
    let roots = roots.into_iter().filter_map(|(name, credential)| authorities(name, credential));
    pairs.chain(roots).map(Arc::new).collect()
}

/// The Secrets that a rule names for its clients.
fn client_names(rule: &DestinationRuleSpec) -> impl Iterator<Item = &str> {
    fn of(policy: &TrafficPolicy) -> impl Iterator<Item = &ClientTlsSettings> {
        policy.tls.iter().chain(policy.port_level_settings.iter().filter_map(|p| p.tls.as_ref()))
    }
    let subsets = rule.subsets.iter().filter_map(|s| s.traffic_policy.as_ref());
    let policies = rule.traffic_policy.iter().chain(subsets);
    policies.flat_map(of).map(|tls| bare(&tls.credential_name)).filter(|name| !name.is_empty())
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

fn authorities(name: String, credential: &Credential) -> Option<Encoded> {
    let context = CertificateValidationContext {
        trusted_ca: Some(inline(credential.authorities.as_ref()?)),
        crl: credential.revoked.as_deref().map(inline),
        ..CertificateValidationContext::default()
    };
    Some(encoded(name, secret::Type::ValidationContext(context)))
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
