//! Consistent hashing: the DestinationRule of a destination says what a route hashes.

use lateen_api::networking::traffic_policy::{ConsistentHashLb, HashKey};
use lateen_api::networking::virtual_service::Destination;
use lateen_xds::pb::envoy::config::route::v3::route_action::HashPolicy;
use lateen_xds::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};

use super::rule::Target;
use crate::cluster::policy::Policy;
use crate::proto::duration;

/// What requests to these destinations are hashed by.
pub(crate) fn policies<'a>(
    destinations: impl Iterator<Item = &'a Destination>,
    target: &Target<'_>,
) -> Vec<HashPolicy> {
    let mut policies: Vec<HashPolicy> = Vec::new();
    for destination in destinations {
        let policy = of_destination(destination, target);
        policies.extend(policy.filter(|p| !policies.contains(p)));
    }
    policies
}

fn of_destination(destination: &Destination, target: &Target<'_>) -> Option<HashPolicy> {
    let service = target.view.scope.service(&destination.host)?;
    let rule = target.view.rule(service)?;
    let subset = rule.spec.subsets.iter().find(|s| s.name == destination.subset);
    let policy = Policy::of(Some(&rule.spec), subset, target.port(Some(destination)));
    policy.consistent_hash().and_then(of_settings)
}

fn of_settings(settings: &ConsistentHashLb) -> Option<HashPolicy> {
    let specifier = match settings.hash_key.as_ref()? {
        HashKey::HttpHeaderName(name) => {
            PolicySpecifier::Header(Header { header_name: name.clone(), ..Header::default() })
        }
        HashKey::HttpCookie(cookie) => PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone(),
            ttl: cookie.ttl.map(duration),
            ..Cookie::default()
        }),
        HashKey::UseSourceIp(true) => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashKey::UseSourceIp(false) => return None,
        HashKey::HttpQueryParameterName(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
        }
    };
    Some(HashPolicy { terminal: false, policy_specifier: Some(specifier) })
}
