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
