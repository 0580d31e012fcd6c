//! The old API's policies, in terms of today's.

use std::sync::Arc;

use lateen_api::authentication::{
    LegacyJwt, LegacyMutualTlsMode, PathMatch, PeerMethod, PolicySpec, PrincipalBinding, TargetPort,
    TargetSelector,
};
use lateen_api::security::request_authentication::{JwtHeader, JwtRule};

use super::peer::{Mtls, PeerMode, ServedBy};
use super::request::JwtTrigger;
use crate::{ConfigKey, Kind, Meta, Origin, Recipient};

/// A Policy or MeshPolicy of `authentication.istio.io/v1alpha1`.
#[derive(Clone, Debug, PartialEq)]
pub struct LegacyPolicy {
    /// Name, namespace (empty for a MeshPolicy) and age.
    pub meta: Meta,
    /// What it says.
    pub spec: PolicySpec,
}

impl LegacyPolicy {
    /// Whether it is a MeshPolicy.
    pub fn for_mesh(&self) -> bool {
        self.meta.namespace.is_empty()
    }

    /// Its key.
    pub fn key(&self) -> ConfigKey {
        let kind = if self.for_mesh() { Kind::MeshPolicy } else { Kind::Policy };
        ConfigKey::new(kind, self.meta.namespace.clone(), self.meta.name.clone())
    }

    /// How peers are spoken to. Without a method connections are plain.
    ///
    /// Source: Istio 1.0, Policy `peers`, `peerIsOptional`, MutualTls `mode` and `allowTls`.
    pub fn mtls(&self) -> Mtls {
        let method = self.spec.peers.iter().find_map(|method| match method {
            PeerMethod::Mtls(settings) => Some(Some(settings)),
            PeerMethod::Unset => Some(None),
            PeerMethod::Jwt(_) => None,
        });
        match method {
            None => Mtls::Disable,
            Some(_) if self.spec.peer_is_optional => Mtls::Permissive,
            Some(Some(settings)) if settings.allow_tls => Mtls::Permissive,
            Some(Some(settings)) if settings.mode == Some(LegacyMutualTlsMode::Permissive) => {
                Mtls::Permissive
            }
            Some(_) => Mtls::Strict,
        }
    }

    pub(crate) fn peer_mode(&self) -> PeerMode {
        PeerMode { mode: self.mtls(), source: Some(self.key()) }
    }

    /// How closely it names one of the services that a port serves: 2 with the port, 1 with the service alone;
    /// `None` when it names none of them.
    pub(crate) fn specificity(&self, served: &[ServedBy<'_>]) -> Option<u8> {
        let one = |target: &TargetSelector| {
            let mut services = served.iter().filter(|(s, _)| {
                s.origin == Origin::Kubernetes
                    && s.id.namespace == self.meta.namespace
                    && *s.meta.name == *target.name
            });
            if target.ports.is_empty() {
                return services.next().map(|_| 1);
            }
            let named = |port: &crate::Port| {
                target.ports.iter().any(|wanted| match wanted {
                    TargetPort::Number(number) => *number == u32::from(port.number),
                    TargetPort::Name(name) => **name == *port.name,
                    TargetPort::Unset => false,
                })
            };
            services.find(|(_, port)| named(port)).map(|_| 2)
        };
        self.spec.targets.iter().filter_map(one).max()
    }

    /// Whether it is about the requests of a port: of all ports in its scope, or of the services that it names.
    pub(crate) fn concerns(&self, to: &Recipient<'_>, served: &[ServedBy<'_>]) -> bool {
        if self.for_mesh() {
            return true;
        }
        *self.meta.namespace == *to.namespace
            && (self.spec.targets.is_empty() || self.specificity(served).is_some())
    }

    /// The same with the keys of issuers that are named without keys, as far as `find` knows where they are.
    pub(crate) fn with_keys(self: &Arc<Self>, find: &impl Fn(&str) -> Option<String>) -> Arc<Self> {
        let found = |jwt: &LegacyJwt| {
            let open = jwt.jwks.is_empty() && jwt.jwks_uri.is_empty();
            open.then(|| find(&jwt.issuer)).flatten()
        };
        let methods = || self.spec.origins.iter().filter_map(|origin| origin.jwt.as_ref());
        if methods().all(|jwt| found(jwt).is_none()) {
            return self.clone();
        }
        let mut located = (**self).clone();
        for jwt in located.spec.origins.iter_mut().filter_map(|origin| origin.jwt.as_mut()) {
            if let Some(uri) = found(jwt) {
                jwt.jwks_uri = uri;
            }
        }
        Arc::new(located)
    }

    /// The tokens of `origins`, in today's terms, each with the requests that it is for.
    pub fn jwt_rules(&self) -> Vec<(JwtRule, Vec<JwtTrigger>)> {
        let methods = self.spec.origins.iter().filter_map(|origin| origin.jwt.as_ref());
        let one = |jwt: &LegacyJwt| {
            let rule = JwtRule {
                issuer: jwt.issuer.clone(),
                audiences: jwt.audiences.clone(),
                jwks_uri: jwt.jwks_uri.clone(),
                jwks: jwt.jwks.clone(),
                from_headers: jwt
                    .jwt_headers
                    .iter()
                    .map(|name| JwtHeader { name: name.clone(), ..JwtHeader::default() })
                    .collect(),
                from_params: jwt.jwt_params.clone(),
                // The old filter passed tokens on.
                forward_original_token: true,
                ..JwtRule::default()
            };
            let paths = |list: &[PathMatch]| list.to_vec();
            let triggers = jwt.trigger_rules.iter().map(|t| JwtTrigger {
                included: paths(&t.included_paths),
                excluded: paths(&t.excluded_paths),
            });
            (rule, triggers.collect())
        };
        methods.map(one).collect()
    }

    /// Whether a request without a token is refused. In the old API it was, unless `originIsOptional`.
    pub fn requires_token(&self) -> bool {
        !self.spec.origins.is_empty() && !self.spec.origin_is_optional
    }

    /// Whether the token's subject was to be the request's principal.
    pub fn binds_origin(&self) -> bool {
        self.spec.principal_binding == PrincipalBinding::UseOrigin
    }
}
