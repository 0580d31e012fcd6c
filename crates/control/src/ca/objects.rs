//! Writing Kubernetes objects that are ours whole.

use std::fmt::Debug;

use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Makes an object have these fields, whether it is there or not.
pub(super) async fn keep<K>(api: &Api<K>, name: &str, object: &Value) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Serialize + Debug,
{
    match api.patch(name, &PatchParams::default(), &Patch::Merge(object)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => return other.map(drop),
    }
    let object = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &object).await {
        // Somebody else was faster, with the same or with what the next look will mend.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}
