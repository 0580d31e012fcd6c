use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ca::Authorities;

/// Time between attempts when the API does not answer.
const WAIT: Duration = Duration::from_secs(1);

/// The Service by which the API server calls this control plane.
#[derive(Clone, Debug)]
pub struct OwnService {
    /// Its name: `istiod`, or `istiod-<revision>`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

impl OwnService {
    fn is(&self, config: &WebhookClientConfig) -> bool {
        let service = config.service.as_ref();
        service.is_some_and(|service| service.name == self.name && service.namespace == self.namespace)
    }
}

/// A hook of a webhook configuration.
struct Hook<'a> {
    name: &'a str,
    config: &'a WebhookClientConfig,
    /// Whether it lets everything pass while nobody answers, which ends once we do.
    open: bool,
}

/// Keeps the hooks that lead to us in order, whoever writes them, for ever: the mesh's roots stand in them, and
/// validation, which the charts install open so that the control plane can start, is closed.
pub async fn keep_patched(client: Client, own: OwnService, authorities: Authorities) {
    let mutating =
        follow::<MutatingWebhookConfiguration>(client.clone(), &own, authorities.clone(), |configuration| {
            let hooks = configuration.webhooks.iter().flatten();
            hooks.map(|hook| Hook { name: &hook.name, config: &hook.client_config, open: false }).collect()
        });
    let validating = follow::<ValidatingWebhookConfiguration>(client, &own, authorities, |configuration| {
        let open = |policy: &Option<String>| policy.as_deref() == Some("Ignore");
        let hooks = configuration.webhooks.iter().flatten();
        hooks
            .map(|hook| Hook {
                name: &hook.name,
                config: &hook.client_config,
                open: open(&hook.failure_policy),
            })
            .collect()
    });
    tokio::join!(mutating, validating);
}

async fn follow<K>(
    client: Client,
    own: &OwnService,
    mut authorities: Authorities,
    hooks: fn(&K) -> Vec<Hook<'_>>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let api = Api::<K>::all(client.clone());
    let config = watcher::Config::default().any_semantic();
    let mut events = lateen_watch::typed::<K>(lateen_watch::all::<K>(client), config);
    let mut known: BTreeMap<String, K> = BTreeMap::new();
    loop {
        let due: Vec<String> = tokio::select! {
            Some(event) = events.next() => match event {
                Ok(Event::Apply(configuration) | Event::InitApply(configuration)) => {
                    let name = configuration.name_any();
                    if !hooks(&configuration).iter().any(|hook| own.is(hook.config)) {
                        known.remove(&name);
                        continue;
                    }
                    known.insert(name.clone(), configuration);
                    vec![name]
                }
                Ok(Event::Delete(configuration)) => {
                    known.remove(&configuration.name_any());
                    continue;
                }
                Ok(_) => continue,
                Err(error) => {
                    tracing::debug!(kind = %K::kind(&()), %error, "cannot watch webhook configurations");
                    tokio::time::sleep(WAIT).await;
                    continue;
                }
            },
            () = authorities.changed() => known.keys().cloned().collect(),
        };
        let Some(standing) = authorities.standing() else { continue };
        let ca = STANDARD.encode(&*standing.trust_pem);
        for name in due {
            let Some(configuration) = known.get(&name) else { continue };
            let Some(steps) = patch(&hooks(configuration), own, &ca) else { continue };
            let Ok(patch) = serde_json::from_value(steps) else { continue };
            match api.patch(&name, &PatchParams::default(), &Patch::Json::<()>(patch)).await {
                Ok(_) => tracing::info!(kind = %K::kind(&()), name, "webhook configuration patched"),
                // The next event, or the next list after the watch fails, tries again.
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), name, %error, "cannot patch the webhook configuration");
                }
            }
        }
    }
}

/// The patch that brings our hooks in order; `None` when they are. Each step tests the hook's name, so that a list which
/// changed meanwhile is not patched at the wrong place.
fn patch(hooks: &[Hook<'_>], own: &OwnService, ca: &str) -> Option<Value> {
    let mut steps = Vec::new();
    for (at, hook) in hooks.iter().enumerate().filter(|(_, hook)| own.is(hook.config)) {
        let same = hook.config.ca_bundle.as_ref().is_some_and(|bundle| STANDARD.encode(&bundle.0) == ca);
        if !same || hook.open {
            steps.push(json!({"op": "test", "path": format!("/webhooks/{at}/name"), "value": hook.name}));
        }
        if !same {
            steps.push(
                json!({"op": "add", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": ca}),
            );
        }
        if hook.open {
            steps.push(
                json!({"op": "replace", "path": format!("/webhooks/{at}/failurePolicy"), "value": "Fail"}),
            );
        }
    }
    if steps.is_empty() { None } else { Some(Value::Array(steps)) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::admissionregistration::v1::ServiceReference;

    use super::*;

    fn config(service: &str, ca: Option<&str>) -> WebhookClientConfig {
        WebhookClientConfig {
            ca_bundle: ca.map(|ca| ByteString(ca.into())),
            service: Some(ServiceReference {
                name: service.into(),
                namespace: "istio-system".into(),
                ..ServiceReference::default()
            }),
            ..WebhookClientConfig::default()
        }
    }

    #[test]
    fn only_our_own_hooks_are_patched_and_only_where_something_is_amiss() {
        let own = OwnService { name: "istiod".into(), namespace: "istio-system".into() };
        let (good, fresh, other) =
            (config("istiod", Some("ca")), config("istiod", None), config("istiod-canary", None));
        let hook = |name, config, open| Hook { name, config, open };
        let ca = STANDARD.encode("ca");
        assert!(patch(&[hook("a", &good, false), hook("b", &other, true)], &own, &ca).is_none());
        let steps = patch(&[hook("a", &good, true), hook("b", &fresh, false)], &own, &ca).unwrap();
        assert_eq!(
            steps,
            json!([
                {"op": "test", "path": "/webhooks/0/name", "value": "a"},
                {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"},
                {"op": "test", "path": "/webhooks/1/name", "value": "b"},
                {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": ca},
            ])
        );
    }
}
