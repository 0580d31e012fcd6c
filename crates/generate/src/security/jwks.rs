//! Where the keys that sign tokens are fetched.

use lateen_api::Duration;
use lateen_mesh::{Mesh, Settings};
use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use lateen_xds::pb::envoy::config::core::v3::{HttpUri, http_uri};
use lateen_xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::{JwksAsyncFetch, RemoteJwks};

use super::Guards;
use crate::families::Families;
use crate::proto::{address, duration, seconds};
use crate::{cluster, names, tls};

/// How long fetching may take, unless the rule says otherwise. Source: Istio, JWTRule `timeout`.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long keys are used before they are fetched again. Source: Istio, `PILOT_JWT_PUB_KEY_REFRESH_INTERVAL`.
const REFRESH_SECONDS: i64 = 20 * 60;

/// Keys at a URL: through the cluster of the service that has its host, so that rules for that service apply; through
/// a cluster of their own where the mesh has no such service.
pub(super) fn remote(
    uri: &str,
    timeout: Option<Duration>,
    mesh: &Mesh,
    namespace: &str,
    guards: &mut Guards,
) -> Option<JwksSourceSpecifier> {
    let (host, port, secure) = parts(uri)?;
    let service = mesh.service_for(host, namespace).filter(|s| s.port(port).is_some());
    let cluster = match service {
        Some(_) => names::outbound(port, "", host),
        None => {
            let own = own_cluster(host, port, secure, (&mesh.settings, guards.families));
            let name = own.name.clone();
            let encoded = cluster::finish(&own, None);
            if guards.clusters.iter().all(|known| *known.name != *name) {
                guards.clusters.push(encoded);
            }
            name
        }
    };
    Some(JwksSourceSpecifier::RemoteJwks(RemoteJwks {
        http_uri: Some(HttpUri {
            uri: uri.to_owned(),
            timeout: Some(duration(timeout.unwrap_or(TIMEOUT))),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(cluster)),
        }),
        cache_duration: seconds(REFRESH_SECONDS),
        // Fetched ahead; a listener does not wait for an issuer that does not answer.
        async_fetch: Some(JwksAsyncFetch { fast_listener: true, ..JwksAsyncFetch::default() }),
        ..RemoteJwks::default()
    }))
}

/// Host, port, and whether it is HTTPS.
fn parts(uri: &str) -> Option<(&str, u16, bool)> {
    let (secure, rest) = match uri.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, uri.strip_prefix("http://")?),
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let default = if secure { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port, secure))
}

#[expect(deprecated, reason = "the fields of STRICT_DNS, as Istio generates them")]
fn own_cluster(host: &str, port: u16, secure: bool, (settings, families): (&Settings, Families)) -> Cluster {
    let name = names::outbound(port, "jwks", host);
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: address(host, u32::from(port)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    let endpoints = LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..LocalityLbEndpoints::default() };
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns as i32)),
        connect_timeout: Some(duration(settings.connect_timeout)),
        dns_lookup_family: families.lookup() as i32,
        dns_refresh_rate: Some(duration(settings.dns_refresh_rate)),
        respect_dns_ttl: true,
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![endpoints],
            ..ClusterLoadAssignment::default()
        }),
        transport_socket: secure.then(|| tls::client::of_system(host, settings)),
        name,
        ..Cluster::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(parts("https://a.example/keys"), Some(("a.example", 443, true)));
        assert_eq!(parts("http://a.example:8080/keys"), Some(("a.example", 8080, false)));
        assert_eq!(parts("https://[::1]:8443/"), Some(("::1", 8443, true)));
        assert_eq!(parts("ftp://a.example"), None);
    }
}
