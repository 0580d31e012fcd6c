use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lateen_api::security::authorization_policy::{Action, ActionDetail, AuthorizationPolicySpec, Rule};

use super::target::{Recipient, Target};
use crate::Meta;

/// The annotation that makes a policy only report what it would do.
const DRY_RUN: &str = "istio.io/dry-run";

/// An AuthorizationPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorizationPolicy {
    /// Name, namespace and age.
    pub meta: Meta,
    /// What it applies to.
    pub target: Target,
    /// What becomes of requests that match.
    pub action: Action,
    /// With CUSTOM, the name of the provider that decides.
    pub provider: String,
    /// Whether it only reports what it would do.
    pub dry_run: bool,
    /// The rules.
    pub rules: Vec<Rule>,
}

impl AuthorizationPolicy {
    pub(crate) fn new(metadata: &ObjectMeta, spec: AuthorizationPolicySpec) -> Self {
        let annotation = metadata.annotations.as_ref().and_then(|a| a.get(DRY_RUN));
        let provider = match spec.action_detail {
            Some(ActionDetail::Provider(provider)) => provider.name,
            None => String::new(),
        };
        AuthorizationPolicy {
            meta: Meta::of(metadata),
            target: Target::new(spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs),
            action: spec.action.unwrap_or_default(),
            provider,
            dry_run: annotation
                .is_some_and(|v| matches!(v.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True")),
            rules: spec.rules,
        }
    }
}

/// The policies for a port, by their actions; each list has the root namespace's first, and the older first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthorizationRules {
    /// Decided by an external authorizer.
    pub custom: Vec<Arc<AuthorizationPolicy>>,
    /// What is noted.
    pub audit: Vec<Arc<AuthorizationPolicy>>,
    /// What is refused.
    pub deny: Vec<Arc<AuthorizationPolicy>>,
    /// What alone is let pass.
    pub allow: Vec<Arc<AuthorizationPolicy>>,
}

impl AuthorizationRules {
    /// Whether everything is let pass.
    pub fn is_empty(&self) -> bool {
        [&self.custom, &self.audit, &self.deny, &self.allow].iter().all(|list| list.is_empty())
    }
}

impl super::Policies {
    /// The policies that apply to a port of a workload.
    pub fn authorization(&self, to: &Recipient<'_>) -> AuthorizationRules {
        let mut rules = AuthorizationRules::default();
        for of_root in [true, false] {
            let mine = self.authorization.iter().filter(|p| {
                (*p.meta.namespace == *self.root_namespace) == of_root
                    && p.target.applies(&p.meta.namespace, &self.root_namespace, to)
            });
            for policy in mine {
                let list = match policy.action {
                    Action::Custom => &mut rules.custom,
                    Action::Audit => &mut rules.audit,
                    Action::Deny => &mut rules.deny,
                    Action::Allow => &mut rules.allow,
                };
                list.push(policy.clone());
            }
        }
        rules
    }
}
