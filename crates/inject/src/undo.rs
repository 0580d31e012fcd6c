//! Taking a sidecar out of a pod again, so that injecting twice is injecting once: a later webhook may have added
//! containers, and a manifest may have been injected by an older release.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::annotations::{self, OVERRIDES, REVISION, STATUS};
use crate::{InjectConfig, InjectError, PROXY_CONTAINER, is_injected};

const PROBERS: &str = "ISTIO_KUBE_APP_PROBERS";
const SCRAPED: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";

/// What injection wrote down of itself.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    init_containers: Option<Vec<String>>,
    containers: Option<Vec<String>>,
    volumes: Option<Vec<String>>,
    image_pull_secrets: Option<Vec<String>>,
    revision: String,
}

fn status(pod: &Pod) -> Option<Status> {
    let text = annotations::get(pod, STATUS).filter(|_| is_injected(pod))?;
    serde_json::from_str(text).ok()
}

/// Why a pod that has a sidecar is not injected again: it is another control plane's.
pub(crate) fn foreign(pod: &Pod, config: &InjectConfig) -> Option<String> {
    if !is_injected(pod) {
        return None;
    }
    let own = if config.revision.is_empty() { "default" } else { &config.revision };
    match status(pod) {
        Some(status) if status.revision == own => None,
        Some(status) if !status.revision.is_empty() => {
            Some(format!("the pod already has a sidecar, of revision {}", status.revision))
        }
        _ => Some("the pod already has a sidecar".to_owned()),
    }
}

/// The pod as it was before it was injected; one without a sidecar is returned as it is.
///
/// # Errors
/// The note of the user's own container is none.
pub(crate) fn undo(pod: &Pod) -> Result<Pod, InjectError> {
    let Some(status) = status(pod) else { return Ok(pod.clone()) };
    let mut bare = pod.clone();
    let proxy = take_proxy(&mut bare);
    let spec = bare.spec.get_or_insert_default();
    let named = |names: Option<Vec<String>>| move |name: &str| names.iter().flatten().any(|one| one == name);
    let (init, containers) = (named(status.init_containers), named(status.containers));
    let (volumes, secrets) = (named(status.volumes), named(status.image_pull_secrets));
    if let Some(list) = &mut spec.init_containers {
        list.retain(|container| !init(&container.name));
    }
    spec.containers.retain(|container| !containers(&container.name));
    if let Some(list) = &mut spec.volumes {
        list.retain(|volume| !volumes(&volume.name));
    }
    if let Some(list) = &mut spec.image_pull_secrets {
        list.retain(|secret| !secrets(&secret.name));
    }
    drop_empty(&mut spec.init_containers);
    drop_empty(&mut spec.volumes);
    drop_empty(&mut spec.image_pull_secrets);
    if let Some(proxy) = &proxy {
        probes(spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()), proxy)?;
    }
    if let Some(own) = annotations::get(pod, OVERRIDES).filter(|text| !text.is_empty()) {
        let kept: Kept = serde_json::from_str(own).map_err(|error| {
            InjectError::annotation(OVERRIDES, own, format!("is not what injection writes: {error}"))
        })?;
        spec.containers.extend(kept.containers);
        if !kept.init_containers.is_empty() {
            spec.init_containers.get_or_insert_default().extend(kept.init_containers);
        }
    }
    let notes = bare.metadata.annotations.get_or_insert_default();
    notes.remove(STATUS);
    notes.remove(OVERRIDES);
    if notes.get(REVISION) == Some(&status.revision) {
        notes.remove(REVISION);
    }
    scraping(notes, proxy.as_ref());
    Ok(bare)
}

/// The user's own containers as they were, in the annotation `proxy.istio.io/overrides`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

/// Keeps the user's own `istio-proxy` for the next time.
pub(crate) fn keep(own: Option<&Container>, notes: &mut BTreeMap<String, String>) -> Result<(), InjectError> {
    if let Some(own) = own {
        let list = if own.restart_policy.is_some() { "initContainers" } else { "containers" };
        notes.insert(OVERRIDES.to_owned(), json!({ list: [serde_json::to_value(own)?] }).to_string());
    }
    Ok(())
}

fn take_proxy(pod: &mut Pod) -> Option<Container> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(init).find(|container| container.name == PROXY_CONTAINER).cloned()
}

fn drop_empty<T>(list: &mut Option<Vec<T>>) {
    if list.as_ref().is_some_and(Vec::is_empty) {
        *list = None;
    }
}

fn variable<'a>(proxy: &'a Container, name: &str) -> Option<&'a str> {
    proxy.env.iter().flatten().find(|variable| variable.name == name)?.value.as_deref()
}

/// Gives the application its probes back, which the agent serves at `/app-health/CONTAINER/PROBE`.
fn probes<'a>(
    containers: impl Iterator<Item = &'a mut Container>,
    proxy: &Container,
) -> Result<(), InjectError> {
    let Some(text) = variable(proxy, PROBERS) else { return Ok(()) };
    let served: BTreeMap<String, Value> = serde_json::from_str(text)?;
    for container in containers {
        let name = container.name.clone();
        let slots = [
            ("readyz", &mut container.readiness_probe),
            ("livez", &mut container.liveness_probe),
            ("startupz", &mut container.startup_probe),
        ];
        for (suffix, slot) in slots {
            let path = format!("/app-health/{name}/{suffix}");
            let (Some(probe), Some(original)) = (slot.as_mut(), served.get(&path)) else { continue };
            if probe.http_get.as_ref().and_then(|http| http.path.as_deref()) == Some(&path) {
                let before: Probe = serde_json::from_value(original.clone())?;
                (probe.http_get, probe.tcp_socket, probe.grpc) =
                    (before.http_get, before.tcp_socket, before.grpc);
            }
        }
    }
    Ok(())
}

/// Gives the pod its scrape annotations back, which lead to the agent.
fn scraping(notes: &mut BTreeMap<String, String>, proxy: Option<&Container>) {
    const NAMES: [&str; 3] = ["prometheus.io/scrape", "prometheus.io/path", "prometheus.io/port"];
    if notes.get(NAMES[1]).map(String::as_str) != Some(crate::prometheus::MERGED_PATH) {
        return;
    }
    let text = proxy.and_then(|proxy| variable(proxy, SCRAPED)).unwrap_or_default();
    let original: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
    for name in NAMES {
        let short = name.rsplit('/').next().unwrap_or(name);
        match original.get(short).filter(|value| !value.is_empty()) {
            Some(value) => notes.insert(name.to_owned(), value.clone()),
            None => notes.remove(name),
        };
    }
}
