use std::collections::BTreeSet;

use crate::TypeUrl;
use crate::client::subscription::Subscription;
use crate::client::{Received, Request, Update, resource_name};
use crate::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse, Resource};
use prost::{Message, Name};

/// What is due on a state-of-the-world stream: every request carries the whole subscription.
pub(super) fn requests(type_url: TypeUrl, subscription: &mut Subscription, out: &mut Vec<Request>) {
    if subscription.idle() {
        return;
    }
    let answers = std::mem::take(&mut subscription.answers);
    let changed = !subscription.started || subscription.wanted != subscription.asked;
    subscription.started = true;
    subscription.asked = subscription.wanted.clone();
    let request = |nonce: String, error_detail| DiscoveryRequest {
        version_info: subscription.accepted_version.clone(),
        resource_names: subscription.wanted.iter().cloned().collect(),
        type_url: type_url.as_str().to_owned(),
        response_nonce: nonce,
        error_detail,
        ..DiscoveryRequest::default()
    };
    if answers.is_empty() && changed {
        out.push(Request::StateOfTheWorld(Box::new(request(subscription.last_nonce.clone(), None))));
    }
    for (nonce, error_detail) in answers {
        subscription.last_nonce = nonce.clone();
        out.push(Request::StateOfTheWorld(Box::new(request(nonce, error_detail))));
    }
}

/// A response of the state of the world. What it no longer holds is gone for LDS and CDS alone: the other types may be
/// sent in part.
pub(super) fn update(type_url: TypeUrl, subscription: &Subscription, response: DiscoveryResponse) -> Update {
    let version = response.version_info;
    let resources: Vec<_> = response
        .resources
        .into_iter()
        .map(|resource| match wrapped(&resource.type_url, &resource.value) {
            Some(inner) => Received { name: inner.name, version: version.clone(), resource: inner.resource },
            None => Received {
                name: resource_name(&resource),
                version: version.clone(),
                resource: Some(resource),
            },
        })
        .collect();
    let removed = if matches!(type_url, TypeUrl::Listener | TypeUrl::Cluster) {
        let present: BTreeSet<_> = resources.iter().map(|resource| resource.name.as_str()).collect();
        subscription.versions.keys().filter(|name| !present.contains(name.as_str())).cloned().collect()
    } else {
        Vec::new()
    };
    Update { type_url, resources, removed, nonce: response.nonce, version }
}

/// A server may wrap each resource in `envoy.service.discovery.v3.Resource`.
fn wrapped(type_url: &str, body: &[u8]) -> Option<Resource> {
    let name = type_url.rsplit('/').next()?;
    if name != Resource::full_name() {
        return None;
    }
    Resource::decode(body).ok()
}
