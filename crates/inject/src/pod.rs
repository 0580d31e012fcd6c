//! The whole injection of one pod, top down.

use k8s_openapi::api::core::v1::{Container, LocalObjectReference, Pod, PodSpec, Volume};

use crate::annotations::STATUS;
use crate::environment::Contributions;
use crate::metadata::Added;
use crate::settings::{Interception, Settings, Template};
use crate::workload::Workload;
use crate::{
    Decision, INIT_CONTAINER, InjectConfig, InjectError, PROXY_CONTAINER, Target, VALIDATION_CONTAINER,
    annotations, capture, decide, metadata, probes, prometheus, proxy, templates, undo, volumes,
};

/// A pod after injection, and why it looks as it does.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The pod with its sidecar, or the pod as it was.
    pub pod: Pod,
    /// Whether the pod was changed, and why.
    pub decision: Decision,
}

/// Whether the pod has been injected before.
pub fn is_injected(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_ref());
    let mut all = spec.into_iter().flat_map(|spec| &spec.containers).chain(init.into_iter().flatten());
    annotations::get(pod, STATUS).is_some() && all.any(|container| container.name == PROXY_CONTAINER)
}

/// Injects the sidecar if [`decide`] says so; otherwise returns the pod as it is.
///
/// # Errors
/// An annotation that steers injection has a value that cannot be used, or the pod's own `istio-proxy` container or
/// probes cannot be joined with the sidecar's.
pub fn inject(pod: &Pod, target: &Target<'_>, config: &InjectConfig) -> Result<Injection, InjectError> {
    inject_as(pod, target, Workload::of_pod(pod), config)
}

/// As [`inject`], for the pod template of a workload that is known by name.
pub(crate) fn inject_as(
    pod: &Pod,
    target: &Target<'_>,
    workload: Workload,
    config: &InjectConfig,
) -> Result<Injection, InjectError> {
    let decision = decide(pod, target, config);
    if !decision.inject {
        return Ok(Injection { pod: pod.clone(), decision });
    }
    // What was injected before goes first: injecting again is injecting anew, with the settings of now.
    let bare = undo::undo(pod)?;
    let pod = &bare;
    let settings = Settings::new(pod, target.namespace, workload, config)?;
    let mut injected = pod.clone();
    let labels = injected.metadata.labels.get_or_insert_default();
    if settings.template != Template::None {
        metadata::labels(&settings, labels);
    }
    let notes = injected.metadata.annotations.get_or_insert_default();
    let spec = injected.spec.get_or_insert_default();
    let mut added = Added::default();
    let own = own_proxy(spec);
    if settings.template != Template::None {
        let prometheus = prometheus::merge(&settings, notes)?;
        let probers = probes::rewrite(&settings, spec)?;
        capture::annotate(&settings, notes);
        add_init_container(&settings, spec, &mut added)?;
        add_proxy(&settings, spec, &Contributions { probers, prometheus }, &mut added)?;
        add_volumes(&settings, spec, &mut added)?;
    }
    add_pull_secrets(&settings, spec, &mut added);
    let mut injected = templates::apply(&settings, injected, own.as_ref(), &mut added)?;
    let notes = injected.metadata.annotations.get_or_insert_default();
    undo::keep(own.as_ref(), notes)?;
    metadata::annotations(&settings, &added, notes);
    Ok(Injection { pod: injected, decision })
}

/// The user's own `istio-proxy` container, as it stands in the pod.
fn own_proxy(spec: &PodSpec) -> Option<Container> {
    let init = spec.init_containers.iter().flatten();
    spec.containers.iter().chain(init).find(|container| container.name == PROXY_CONTAINER).cloned()
}

/// Redirection comes last among the init containers: those before it still reach the network directly. Before a native
/// sidecar it comes first, as in Istio: then the application's init containers are in the mesh already.
fn add_init_container(
    settings: &Settings<'_>,
    spec: &mut PodSpec,
    added: &mut Added,
) -> Result<(), InjectError> {
    if settings.interception == Interception::None {
        return Ok(());
    }
    let containers = spec.init_containers.get_or_insert_default();
    containers.retain(|container| ![INIT_CONTAINER, VALIDATION_CONTAINER].contains(&&*container.name));
    let position = if settings.native { 0 } else { containers.len() };
    containers.insert(position, capture::container(settings)?);
    added.init_containers.push(capture::name(settings.config).to_owned());
    Ok(())
}

/// The sidecar comes last, so that tools still pick the application first; but first if the application has to wait
/// for it, since containers start in order.
fn add_proxy(
    settings: &Settings<'_>,
    spec: &mut PodSpec,
    contributed: &Contributions,
    added: &mut Added,
) -> Result<(), InjectError> {
    let own = take_own(spec);
    if own.is_none() && settings.template == Template::Gateway {
        return Err(InjectError::Pod {
            field: "spec.containers".to_owned(),
            reason: format!(
                "the gateway template needs a container named {PROXY_CONTAINER} with image: auto"
            ),
        });
    }
    let container = proxy::container(settings, spec, own.as_ref(), contributed)?;
    if settings.native {
        added.init_containers.push(PROXY_CONTAINER.to_owned());
        let containers = spec.init_containers.get_or_insert_default();
        let name = capture::name(settings.config);
        let capture = containers.iter().position(|container| container.name == name);
        containers.insert(capture.map_or(0, |position| position + 1), container);
        return Ok(());
    }
    added.containers.push(PROXY_CONTAINER.to_owned());
    if settings.holds_application {
        spec.containers.insert(0, container);
    } else {
        spec.containers.push(container);
    }
    Ok(())
}

/// The user's own `istio-proxy` container, which overrides the injector's field by field.
fn take_own(spec: &mut PodSpec) -> Option<Container> {
    let take = |list: &mut Vec<Container>| {
        let position = list.iter().position(|container| container.name == PROXY_CONTAINER)?;
        Some(list.remove(position))
    };
    take(&mut spec.containers).or_else(|| spec.init_containers.as_mut().and_then(take))
}

fn add_pull_secrets(settings: &Settings<'_>, spec: &mut PodSpec, added: &mut Added) {
    if settings.config.image_pull_secrets.is_empty() {
        return;
    }
    let secrets = spec.image_pull_secrets.get_or_insert_default();
    for name in &settings.config.image_pull_secrets {
        if !secrets.iter().any(|secret| secret.name == *name) {
            secrets.push(LocalObjectReference { name: name.clone() });
            added.image_pull_secrets.push(name.clone());
        }
    }
}

fn add_volumes(settings: &Settings<'_>, spec: &mut PodSpec, added: &mut Added) -> Result<(), InjectError> {
    let existing = spec.volumes.get_or_insert_default();
    for volume in volumes::volumes(settings)? {
        // The pod's own volume of that name stays: it may hold other certificates or a larger directory.
        if !existing.iter().any(|other: &Volume| other.name == volume.name) {
            added.volumes.push(volume.name.clone());
            existing.push(volume);
        }
    }
    Ok(())
}
