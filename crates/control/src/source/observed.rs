use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;
use lateen_api::{FieldError, Kind, Object};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One of Istio's objects as the API delivered it. One that cannot be read does not spoil the list that it came in.
#[derive(Clone)]
pub(super) struct Observed<S> {
    pub metadata: ObjectMeta,
    pub object: Result<Object<S>, Vec<FieldError>>,
}

impl<S: Kind> fmt::Debug for Observed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("object", &self.object).finish_non_exhaustive()
    }
}

impl<'de, S: Kind> Deserialize<'de> for Observed<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let metadata = value.get("metadata").cloned().unwrap_or_default();
        let metadata = serde_json::from_value(metadata).map_err(serde::de::Error::custom)?;
        // Items of a list may come without the two.
        if let Some(fields) = value.as_object_mut() {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        let decoded = Object::<S>::decode(value);
        let object = match decoded.object {
            Some(object) if decoded.report.errors.is_empty() => Ok(object),
            _ => Err(decoded.report.errors),
        };
        Ok(Observed { metadata, object })
    }
}

impl<S: Kind> kube::Resource for Observed<S> {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }
    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }
    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }
    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        of.api_version.as_str().into()
    }
    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Where a version of a kind is served.
pub(crate) fn api_resource<S: Kind>(version: &str) -> ApiResource {
    ApiResource {
        group: S::GROUP.into(),
        version: version.into(),
        api_version: format!("{}/{version}", S::GROUP),
        kind: S::KIND.into(),
        plural: S::PLURAL.into(),
    }
}
