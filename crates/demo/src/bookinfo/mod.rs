//! Bookinfo: the product page and the three services that it is made of.

pub mod details;
pub mod page;
pub mod productpage;
pub mod ratings;
pub mod reviews;

use crate::server::env;

/// The base URL of another of Bookinfo's services: `http://details:9080`, as the sample's environment variables say
/// (`DETAILS_HOSTNAME`, `DETAILS_SERVICE_PORT`, `SERVICES_DOMAIN`).
pub fn service_url(service: &str) -> String {
    let upper = service.to_uppercase();
    let host = env(&format!("{upper}_HOSTNAME")).unwrap_or_else(|| service.to_owned());
    // Kubernetes sets this variable too, to the service's port, which is the same.
    let port = env(&format!("{upper}_SERVICE_PORT")).unwrap_or_else(|| "9080".to_owned());
    let domain = env("SERVICES_DOMAIN").map(|domain| format!(".{domain}")).unwrap_or_default();
    format!("http://{host}{domain}:{port}")
}

/// A product's number, from the path.
pub fn product_id(text: &str) -> Option<u64> {
    text.parse().ok()
}
