use std::sync::Arc;

use lateen_api::authentication::PathMatch;
use lateen_api::security::request_authentication::{JwtRule, RequestAuthenticationSpec};

use super::legacy::LegacyPolicy;
use super::peer::ServedBy;
use super::target::{Recipient, Target};
use crate::Meta;

/// A RequestAuthentication.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestAuthentication {
    /// Name, namespace and age.
    pub meta: Meta,
    /// What it applies to.
    pub target: Target,
    /// The tokens that are accepted.
    pub rules: Vec<JwtRule>,
}

impl RequestAuthentication {
    pub(crate) fn new(meta: Meta, spec: RequestAuthenticationSpec) -> Self {
        let target = Target::new(spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
        RequestAuthentication { meta, target, rules: spec.jwt_rules }
    }

    /// The same with the keys of issuers that are named without keys, as far as `find` knows where they are.
    ///
    /// Source: Istio, JWTRule `jwksUri`: optional where it can be found by OpenID discovery.
    pub(crate) fn with_keys(self: &Arc<Self>, find: &impl Fn(&str) -> Option<String>) -> Arc<Self> {
        let found = |rule: &JwtRule| Issuer::is_needed(rule).then(|| find(&rule.issuer)).flatten();
        if self.rules.iter().all(|rule| found(rule).is_none()) {
            return self.clone();
        }
        let mut located = (**self).clone();
        for rule in &mut located.rules {
            if let Some(uri) = found(rule) {
                rule.jwks_uri = uri;
            }
        }
        Arc::new(located)
    }
}

/// Where an issuer of tokens has its keys, as the document says that OpenID Connect Discovery finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The issuer, as rules name it.
    pub name: Arc<str>,
    /// The URL of its keys.
    pub jwks_uri: Arc<str>,
}

impl Issuer {
    /// Whether a rule leaves it to the issuer to say where its keys are.
    pub fn is_needed(rule: &JwtRule) -> bool {
        rule.jwks.is_empty() && rule.jwks_uri.is_empty() && Self::has_document(&rule.issuer)
    }

    /// Whether an issuer is an URL, so that it can be asked.
    pub fn has_document(issuer: &str) -> bool {
        issuer.starts_with("https://") || issuer.starts_with("http://")
    }
}

/// Which requests need a token of the old API: those of an included path (all, if none is named) and no excluded one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JwtTrigger {
    /// Paths that need one.
    pub included: Vec<PathMatch>,
    /// Paths that need none.
    pub excluded: Vec<PathMatch>,
}

/// The tokens that requests to a port may carry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestRules {
    /// Tokens that are verified where they are there, by issuer.
    pub rules: Vec<JwtRule>,
    /// The old API's policy, whose tokens requests may have to carry.
    pub legacy: Option<Arc<LegacyPolicy>>,
}

impl RequestRules {
    /// Whether nothing is verified.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.legacy.is_none()
    }
}

impl super::Policies {
    /// The tokens that requests to a port of a workload may carry: those of all policies that apply.
    pub fn requests(&self, to: &Recipient<'_>, served: &[ServedBy<'_>]) -> RequestRules {
        let applying =
            self.requests.iter().filter(|p| p.target.applies(&p.meta.namespace, &self.root_namespace, to));
        let mut rules: Vec<JwtRule> = applying.flat_map(|p| p.rules.iter().cloned()).collect();
        rules.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        let width = |p: &LegacyPolicy| match p.specificity(served) {
            Some(closeness) => 2 + closeness,
            None if p.for_mesh() => 1,
            None => 2,
        };
        let legacy = self.legacy.iter().filter(|p| p.concerns(to, served));
        let narrowest = legacy.reduce(|best, next| if width(next) > width(best) { next } else { best });
        let legacy = narrowest.filter(|p| p.spec.origins.iter().any(|o| o.jwt.is_some())).cloned();
        RequestRules { rules, legacy }
    }
}
