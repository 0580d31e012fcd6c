use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
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

/// Keeps the mesh's roots in the webhook configurations that lead to us, whoever writes them, for ever.
pub async fn keep_patched(client: Client, authorities: Authorities) {
    let mutating = follow::<MutatingWebhookConfiguration>(
        client.clone(),
        authorities.clone(),
        "istio-sidecar-injector",
        |c| {
            let hooks = c.webhooks.iter().flatten();
            hooks.map(|hook| (hook.name.as_str(), &hook.client_config)).collect()
        },
    );
    let validating = follow::<ValidatingWebhookConfiguration>(client, authorities, "istio-validator", |c| {
        let hooks = c.webhooks.iter().flatten();
        hooks.map(|hook| (hook.name.as_str(), &hook.client_config)).collect()
    });
    tokio::join!(mutating, validating);
}

async fn follow<K>(
    client: Client,
    mut authorities: Authorities,
    prefix: &str,
    hooks: fn(&K) -> Vec<(&str, &WebhookClientConfig)>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let api = Api::<K>::all(client);
    let mut events = pin!(watcher::watcher(api.clone(), watcher::Config::default().any_semantic()));
    let mut known: BTreeMap<String, K> = BTreeMap::new();
    loop {
        let due: Vec<String> = tokio::select! {
            Some(event) = events.next() => match event {
                Ok(Event::Apply(configuration) | Event::InitApply(configuration)) => {
                    let name = configuration.name_any();
                    if !name.starts_with(prefix) {
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
            let Some(steps) = patch(&hooks(configuration), &ca) else { continue };
            let Ok(patch) = serde_json::from_value(steps) else { continue };
            match api.patch(&name, &PatchParams::default(), &Patch::Json::<()>(patch)).await {
                Ok(_) => tracing::info!(kind = %K::kind(&()), name, "CA bundle patched"),
                // The next event, or the next list after the watch fails, tries again.
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), name, %error, "cannot patch the CA bundle")
                }
            }
        }
    }
}

/// The patch that puts the CA where it is missing; `None` when it stands everywhere. Each step tests the hook's
/// name, so that a list which changed meanwhile is not patched at the wrong place.
fn patch(hooks: &[(&str, &WebhookClientConfig)], ca: &str) -> Option<Value> {
    let mut steps = Vec::new();
    for (at, (name, config)) in hooks.iter().enumerate() {
        let same = config.ca_bundle.as_ref().is_some_and(|bundle| STANDARD.encode(&bundle.0) == ca);
        if !same {
            steps.push(json!({"op": "test", "path": format!("/webhooks/{at}/name"), "value": name}));
            steps.push(
                json!({"op": "add", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": ca}),
            );
        }
    }
    if steps.is_empty() { None } else { Some(Value::Array(steps)) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn only_hooks_without_our_ca_are_patched() {
        let ours = WebhookClientConfig { ca_bundle: Some(ByteString(b"ca".to_vec())), ..Default::default() };
        let other = WebhookClientConfig::default();
        let ca = STANDARD.encode("ca");
        assert!(patch(&[("a", &ours)], &ca).is_none());
        let steps = patch(&[("a", &ours), ("b", &other)], &ca).unwrap();
        assert_eq!(
            steps,
            json!([
                {"op": "test", "path": "/webhooks/1/name", "value": "b"},
                {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": ca},
            ])
        );
    }
}
