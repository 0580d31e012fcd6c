use crate::TypeUrl;
use crate::client::subscription::Subscription;
use crate::client::{Received, Request, Update};
use crate::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// What is due on a delta stream: answers, then changes of the subscription.
pub(super) fn requests(type_url: TypeUrl, subscription: &mut Subscription, out: &mut Vec<Request>) {
    for (nonce, error_detail) in std::mem::take(&mut subscription.answers) {
        out.push(Request::Delta(Box::new(DeltaDiscoveryRequest {
            type_url: type_url.as_str().to_owned(),
            response_nonce: nonce,
            error_detail,
            ..DeltaDiscoveryRequest::default()
        })));
    }
    if subscription.idle() {
        return;
    }
    let subscribe: Vec<_> = subscription.wanted.difference(&subscription.asked).cloned().collect();
    let unsubscribe: Vec<_> = subscription.asked.difference(&subscription.wanted).cloned().collect();
    if subscription.started && subscribe.is_empty() && unsubscribe.is_empty() {
        return;
    }
    let mut request = DeltaDiscoveryRequest {
        type_url: type_url.as_str().to_owned(),
        resource_names_subscribe: subscribe,
        resource_names_unsubscribe: unsubscribe,
        ..DeltaDiscoveryRequest::default()
    };
    if !subscription.started {
        request.initial_resource_versions = subscription.versions.clone().into_iter().collect();
    }
    subscription.started = true;
    subscription.asked = subscription.wanted.clone();
    out.push(Request::Delta(Box::new(request)));
}

pub(super) fn update(type_url: TypeUrl, response: DeltaDiscoveryResponse) -> Update {
    let resources = response.resources.into_iter();
    let resources = resources.map(|resource| Received {
        name: resource.name,
        version: resource.version,
        resource: resource.resource,
    });
    Update {
        type_url,
        resources: resources.collect(),
        removed: response.removed_resources,
        nonce: response.nonce,
        version: response.system_version_info,
    }
}
