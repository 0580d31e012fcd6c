//! Puts manifests into the API.

use anyhow::{Context, Result};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{DynamicObject, GroupVersionKind, TypeMeta};
use kube::discovery::ApiResource;
use kube::{Api, Client};

/// What to do with an object that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it: a user may have changed it.
    Keep,
    /// Bring it to what this version of Lateen and this `up` ask for.
    Update,
}

const FIELD_MANAGER: &str = "lateen";

/// Kinds that belong to no namespace, of those that our manifests hold.
const CLUSTER_SCOPED: [&str; 6] = [
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Creates one object, in `default` where it names no namespace.
pub async fn apply(client: &Client, object: &DynamicObject, existing: Existing) -> Result<()> {
    let types = object.types.as_ref().context("an object without apiVersion and kind")?;
    let name = object.metadata.name.as_deref().context("an object without a name")?;
    let api = api_of(client, types, object.metadata.namespace.as_deref())?;
    let what = || format!("{} {name}", types.kind);
    match api
        .create(&PostParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() }, object)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => match existing {
            Existing::Keep => Ok(()),
            Existing::Update => {
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                api.patch(name, &parameters, &Patch::Apply(object)).await.with_context(what)?;
                Ok(())
            }
        },
        Err(error) => Err(error).with_context(what),
    }
}

fn api_of(client: &Client, types: &TypeMeta, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
    let kind = GroupVersionKind::try_from(types)?;
    let resource = ApiResource::from_gvk(&kind);
    Ok(match CLUSTER_SCOPED.contains(&types.kind.as_str()) {
        true => Api::all_with(client.clone(), &resource),
        false => Api::namespaced_with(client.clone(), namespace.unwrap_or("default"), &resource),
    })
}
