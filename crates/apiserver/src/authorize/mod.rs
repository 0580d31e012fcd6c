//! Who may do what: Kubernetes' RBAC, by the roles and bindings that are stored.
//!
//! Source: Kubernetes, "Using RBAC Authorization". Members of `system:masters` may do everything.

pub mod attributes;
mod defaults;
mod escalation;
pub mod impersonate;
mod review;
mod rules;
#[cfg(test)]
mod tests;

pub use attributes::Attributes;
pub use defaults::{bindings as default_bindings, roles as default_roles};
pub use escalation::check as check_escalation;
pub use review::{access, own_rules};

use serde_json::Value;

use crate::context::Context;
use crate::object;
use crate::server::User;
use crate::status::{ApiError, Result};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether something is allowed, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// It is.
    pub allowed: bool,
    /// The binding that allows it, or roles that are missing.
    pub reason: String,
}

/// Refuses what no role of the user allows.
///
/// # Errors
/// 403 in Kubernetes' words.
pub fn check(context: &Context, user: &User, attributes: &Attributes) -> Result<()> {
    let decision = decide(context, user, attributes);
    if decision.allowed { Ok(()) } else { Err(attributes.forbidden(user, &decision.reason)) }
}

/// Whether a user may do something.
pub fn decide(context: &Context, user: &User, attributes: &Attributes) -> Decision {
    if user.groups.iter().any(|group| group == "system:masters") {
        return Decision { allowed: true, reason: String::new() };
    }
    let mut missing = Vec::new();
    for grant in grants(context, user, &attributes.namespace) {
        match role_rules(context, &grant) {
            None => missing.push(format!("{} \"{}\" not found", grant.role_resource(), grant.role)),
            Some(rules) if rules.iter().any(|rule| rules::allows(rule, attributes)) => {
                return Decision { allowed: true, reason: grant.reason() };
            }
            Some(_) => {}
        }
    }
    let reason = if missing.is_empty() { String::new() } else { format!("RBAC: {}", missing.join(", ")) };
    Decision { allowed: false, reason }
}

/// A role that a binding gives to a user.
#[derive(Debug)]
pub(crate) struct Grant {
    /// Name of the binding.
    binding: String,
    /// Namespace of the binding; empty: it counts everywhere.
    namespace: String,
    role_kind: String,
    role: String,
    /// The subject that is the user.
    subject: String,
}

impl Grant {
    /// A binding that is not stored yet.
    fn to(namespace: &str, role_kind: &str, role: &str) -> Self {
        Grant {
            binding: String::new(),
            namespace: namespace.to_owned(),
            role_kind: role_kind.to_owned(),
            role: role.to_owned(),
            subject: String::new(),
        }
    }

    fn role_resource(&self) -> String {
        format!("{}.{GROUP}", self.role_kind.to_lowercase())
    }

    fn reason(&self) -> String {
        let (kind, name) = match self.namespace.as_str() {
            "" => ("ClusterRoleBinding", self.binding.clone()),
            namespace => ("RoleBinding", format!("{}/{namespace}", self.binding)),
        };
        format!(
            "RBAC: allowed by {kind} \"{name}\" of {} \"{}\" to {}",
            self.role_kind, self.role, self.subject
        )
    }
}

/// The roles of a user: those that count everywhere, and those in a namespace.
pub(crate) fn grants(context: &Context, user: &User, namespace: &str) -> Vec<Grant> {
    let everywhere = context.all(&format!("{GROUP}/clusterrolebindings"));
    let here = match namespace {
        "" => Vec::new(),
        _ => context.all(&format!("{GROUP}/rolebindings")),
    };
    let here = here.iter().filter(|binding| object::namespace(binding) == namespace);
    everywhere.iter().chain(here).filter_map(|binding| grant(binding, user)).collect()
}

fn grant(binding: &Value, user: &User) -> Option<Grant> {
    let namespace = object::namespace(binding);
    let subjects = object::list(binding, &["subjects"]);
    let subject = subjects.iter().find(|subject| is_subject(subject, user, namespace))?;
    let (kind, name) = (object::text(subject, &["kind"]), object::text(subject, &["name"]));
    let subject = match kind {
        "ServiceAccount" => {
            let home = Some(object::text(subject, &["namespace"])).filter(|home| !home.is_empty());
            format!("{kind} \"{name}/{}\"", home.unwrap_or(namespace))
        }
        _ => format!("{kind} \"{name}\""),
    };
    Some(Grant {
        binding: object::name(binding).to_owned(),
        namespace: namespace.to_owned(),
        role_kind: object::text(binding, &["roleRef", "kind"]).to_owned(),
        role: object::text(binding, &["roleRef", "name"]).to_owned(),
        subject,
    })
}

fn is_subject(subject: &Value, user: &User, namespace: &str) -> bool {
    let text = |field| object::text(subject, &[field]);
    let name = text("name");
    match text("kind") {
        "User" => user.name == name,
        "Group" => user.groups.iter().any(|group| group == name),
        "ServiceAccount" => {
            let home = if text("namespace").is_empty() { namespace } else { text("namespace") };
            let account = user.name.strip_prefix("system:serviceaccount:").and_then(|a| a.split_once(':'));
            !home.is_empty() && account == Some((home, name))
        }
        _ => false,
    }
}

/// The rules of a grant's role; none: there is no such role.
pub(crate) fn role_rules(context: &Context, grant: &Grant) -> Option<Vec<Value>> {
    let role = match grant.role_kind.as_str() {
        "Role" => context.get(&format!("{GROUP}/roles"), &grant.namespace, &grant.role)?,
        _ => context.get(&format!("{GROUP}/clusterroles"), "", &grant.role)?,
    };
    Some(rules::of_role(context, &role))
}

/// 403 for what somebody may not do, with details as Kubernetes gives them.
fn denied(message: String, attributes: &Attributes) -> ApiError {
    ApiError::denied(&attributes.group, &attributes.resource, &attributes.name, message)
}
