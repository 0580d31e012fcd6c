//! Watching a kind of object without compiling a watch for each kind.
//!
//! The watch carries [`Untyped`] objects; each is read as its type when it is handed over. The binary then has one
//! list-and-watch machine instead of forty, and an object that cannot be read is left out alone instead of making
//! the whole list fail for ever.

use std::borrow::Cow;

use futures::stream::BoxStream;
use futures::{StreamExt, future};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An object as the API delivered it.
#[derive(Clone, Debug)]
pub struct Untyped {
    /// Its metadata, which stands in `value` as well.
    pub metadata: ObjectMeta,
    /// All of it.
    pub value: Value,
}

impl Untyped {
    /// The object as its type; `None` for one that cannot be read, which is logged.
    pub fn read<K: DeserializeOwned>(self) -> Option<K> {
        let Untyped { metadata, value } = self;
        serde_json::from_value(value).inspect_err(|error| unreadable(&metadata, error)).ok()
    }
}

impl<'de> Deserialize<'de> for Untyped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let metadata = match value.get("metadata") {
            Some(metadata) => ObjectMeta::deserialize(metadata).map_err(serde::de::Error::custom)?,
            None => ObjectMeta::default(),
        };
        Ok(Untyped { metadata, value })
    }
}

impl Resource for Untyped {
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

/// All objects of one of Kubernetes' own kinds.
pub fn all<K: Resource<DynamicType = ()>>(client: Client) -> Api<Untyped> {
    Api::all_with(client, &ApiResource::erase::<K>(&()))
}

/// The objects of one of Kubernetes' own kinds in a namespace.
pub fn namespaced<K: Resource<DynamicType = ()>>(client: Client, namespace: &str) -> Api<Untyped> {
    Api::namespaced_with(client, namespace, &ApiResource::erase::<K>(&()))
}

/// The stream of [`watcher::watcher`], untyped.
pub fn untyped(
    api: Api<Untyped>,
    config: watcher::Config,
) -> BoxStream<'static, watcher::Result<Event<Untyped>>> {
    watcher::watcher(api, config).boxed()
}

/// The stream of [`watcher::watcher`]; objects that cannot be read as `K` are logged and left out.
pub fn typed<K>(api: Api<Untyped>, config: watcher::Config) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: DeserializeOwned + Send + 'static,
{
    untyped(api, config).filter_map(|event| future::ready(event.map(read_event).transpose())).boxed()
}

/// The stream of [`watcher::watch_object`]: the object of that name whenever it changes, `None` while there is none. It
/// pauses after errors, longer and longer.
pub fn object<K>(api: Api<Untyped>, name: &str) -> BoxStream<'static, watcher::Result<Option<K>>>
where
    K: DeserializeOwned + Send + 'static,
{
    let changes = watcher::watch_object(api, name).default_backoff().boxed();
    let read = |found: Option<Untyped>| match found {
        Some(object) => object.read().map(Some),
        None => Some(None),
    };
    changes.filter_map(move |found| future::ready(found.map(read).transpose())).boxed()
}

fn read_event<K: DeserializeOwned>(event: Event<Untyped>) -> Option<Event<K>> {
    Some(match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(object) => Event::InitApply(object.read()?),
        Event::Apply(object) => Event::Apply(object.read()?),
        Event::Delete(object) => Event::Delete(object.read()?),
    })
}

fn unreadable(metadata: &ObjectMeta, error: &serde_json::Error) {
    tracing::warn!(
        namespace = metadata.namespace.as_deref().unwrap_or_default(),
        name = metadata.name.as_deref().unwrap_or_default(),
        %error,
        "object cannot be read; it is left out"
    );
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use serde_json::json;

    use super::*;

    fn delivered(value: Value) -> Untyped {
        serde_json::from_value(value).expect("any object with metadata")
    }

    #[test]
    fn an_object_is_read_as_its_type_with_its_metadata() {
        let object =
            delivered(json!({"metadata": {"name": "a", "resourceVersion": "7"}, "data": {"k": "v"}}));
        assert_eq!(object.metadata.resource_version.as_deref(), Some("7"));
        let Some(Event::Apply(map)) = read_event::<ConfigMap>(Event::Apply(object)) else {
            panic!("no ConfigMap")
        };
        assert_eq!(map.metadata.name.as_deref(), Some("a"));
        assert_eq!(map.data.unwrap_or_default()["k"], "v");
    }

    #[test]
    fn one_that_cannot_be_read_is_left_out_of_its_list() {
        let object = delivered(json!({"metadata": {"name": "a"}, "spec": {"containers": "none"}}));
        assert!(read_event::<Pod>(Event::InitApply(object)).is_none());
        assert!(matches!(read_event::<Pod>(Event::InitDone), Some(Event::InitDone)));
    }
}
