//! What looks at a write before it is stored: the built-in plugins that users see the work of, and webhooks.

mod allocate;
mod call;
mod pods;
pub mod quota;
pub mod webhooks;

use serde_json::Value;

pub use allocate::{allocate, allocation_guard};

use crate::authorize;
use crate::crd;
use crate::object;
use crate::registry::Resource;
use crate::status::{ApiError, Result};
use crate::verbs::{Call, prepare};

/// Namespaces that a cluster cannot be without (Kubernetes' NamespaceLifecycle plugin).
const PROTECTED: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is removed.
    Delete,
}

impl Operation {
    /// The word of webhook rules.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Lets plugins and mutating webhooks change an object.
///
/// # Errors
/// What a plugin or webhook refuses.
pub async fn admit(
    call: &mut Call,
    operation: Operation,
    old: Option<&Value>,
    mut object: Value,
) -> Result<Value> {
    if operation == Operation::Create {
        match &*call.resource().shard {
            "/pods" => {
                pods::inject_account(&call.context, &call.namespace, &mut object)?;
                pods::tolerate_short_outages(&mut object);
            }
            "/secrets" => pods::fill_token_secret(&call.context, &mut object),
            "certificates.k8s.io/certificatesigningrequests" => {
                let spec = object::map_mut(&mut object, &["spec"]);
                spec.insert("username".into(), call.user.name.clone().into());
                spec.insert("groups".into(), call.user.groups.clone().into());
            }
            _ => {}
        }
    }
    let mut object = webhooks::mutate(call, operation, old, object).await?;
    prepare::default(call, &mut object);
    Ok(object)
}

/// Asks validating webhooks.
///
/// # Errors
/// What a webhook refuses.
pub async fn validate(
    call: &mut Call,
    operation: Operation,
    old: Option<&Value>,
    object: Option<&Value>,
) -> Result<()> {
    if let Some(object) = object {
        authorize::check_escalation(call, old, object)?;
    }
    let protected = operation == Operation::Delete
        && &*call.resource().shard == "/namespaces"
        && old.is_some_and(|old| PROTECTED.contains(&object::name(old)));
    if protected {
        let name = old.map(object::name).unwrap_or_default();
        return Err(ApiError::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    webhooks::validate(call, operation, old, object).await
}

/// Follows up a write: some kinds change what is served.
pub fn after_write(call: &Call, stored: &Value) {
    refresh(call, call.resource(), Some(stored));
}

/// Follows up a deletion.
pub fn after_delete(call: &Call, object: &Value, gone: bool) {
    if gone {
        refresh(call, call.resource(), None);
        crd::removed(&call.context, call.resource(), object);
    } else {
        after_write(call, object);
    }
}

fn refresh(call: &Call, resource: &Resource, stored: Option<&Value>) {
    if &*resource.group == "admissionregistration.k8s.io" {
        call.context.webhooks.forget();
    }
    if let Some(definition) = stored.filter(|_| &*resource.kind == "CustomResourceDefinition") {
        if crate::verbs::delete::finished(resource, definition) {
            crd::removed(&call.context, resource, definition);
        } else if !object::terminating(definition) {
            // One that is being deleted is served already, and its clean-up may be quicker than this.
            crd::serve(&call.context, definition);
        }
    }
}
