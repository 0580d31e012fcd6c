//! External authorization (Envoy's `envoy.filters.http.ext_authz` and `envoy.filters.network.ext_authz`).

mod body;
mod grpc;
mod http_service;
pub mod network;
mod request;
mod verdict;

use crate::config::{
    AuthzBody, AuthzService, AuthzSettings, ExtAuthzFilter, ExtAuthzOverride, Metadata, PolicyOverride,
};
use crate::error::{Failure, LocalReply};
use crate::http::downstream::Downstream;
use crate::http::exchange::Exchange;
use crate::request_info::ResponseFlags;
use crate::worker::Worker;
use std::sync::{Arc, LazyLock};
pub use verdict::ResponseEdits;
use verdict::{Denied, Verdict};

/// Where the service's metadata are told.
static NAMESPACE: LazyLock<Arc<str>> = LazyLock::new(|| "envoy.filters.http.ext_authz".into());
/// Longest answer that is read.
const MAX_ANSWER: usize = 256 << 10;

/// What counts for one request: the filter's settings and the route's.
struct Settings {
    service: AuthzService,
    body: Option<AuthzBody>,
    extensions: Vec<(Box<str>, Box<str>)>,
}

/// Asks whether a request may go on; a reply refuses it.
///
/// # Errors
/// The client went away, or broke off its request.
pub async fn check<D: Downstream>(
    exchange: &mut Exchange<'_>,
    name: &str,
    filter: &Arc<ExtAuthzFilter>,
    down: &mut D,
) -> Result<Option<LocalReply>, Failure> {
    // As Envoy: without a route the answer is 404 whoever asks.
    if exchange.matched.route.is_none() || exchange.matched.is_disabled(name) {
        return Ok(None);
    }
    let Some(settings) = settings(exchange, name, filter) else { return Ok(None) };
    let stats = filter.stats.of(exchange.connection.worker.index);
    if !is_enabled(filter, &exchange.info.metadata, &exchange.connection.worker) {
        stats.disabled.inc();
        return Ok(filter.deny_at_disable.then(|| error_reply(filter)));
    }
    let body = match settings.body.filter(|_| exchange.upgrade.is_none()) {
        Some(limit) => match body::read(exchange, limit, down).await? {
            Ok(body) => Some(body),
            Err(reply) => return Ok(Some(*reply)),
        },
        None => None,
    };
    let worker = exchange.connection.worker.clone();
    let verdict = match &settings.service {
        AuthzService::Grpc(service) => {
            let message = request::check(exchange, filter, &settings.extensions, body.as_ref());
            super::wait(exchange, down, grpc::ask(&worker, service, message)).await?
        }
        AuthzService::Http(service) => {
            let asked = http_service::request(exchange, filter, service, body.as_ref());
            super::wait(exchange, down, http_service::ask(&worker, service, asked)).await?
        }
    };
    Ok(finish(exchange, filter, verdict))
}

/// The settings of the request's route; none: the filter is off there.
fn settings(exchange: &Exchange<'_>, name: &str, filter: &ExtAuthzFilter) -> Option<Settings> {
    let own: Option<&AuthzSettings> = match exchange.matched.policy(name) {
        Some(PolicyOverride::ExtAuthz(ExtAuthzOverride::Disabled)) => return None,
        Some(PolicyOverride::ExtAuthz(ExtAuthzOverride::Settings(own))) => Some(own),
        _ => None,
    };
    let body = match own {
        Some(own) if own.no_body => None,
        Some(own) => own.body.or(filter.body),
        None => filter.body,
    };
    let service = own.and_then(|own| own.service.clone()).unwrap_or_else(|| filter.service.clone());
    // Extensions add up over the levels; the most specific counts.
    let mut extensions: Vec<(Box<str>, Box<str>)> = Vec::new();
    for level in exchange.matched.overrides() {
        if let Some(PolicyOverride::ExtAuthz(ExtAuthzOverride::Settings(own))) = level.policy(name) {
            for (key, value) in &own.extensions {
                if !extensions.iter().any(|(known, _)| known == key) {
                    extensions.push((key.clone(), value.clone()));
                }
            }
        }
    }
    Some(Settings { service, body, extensions })
}

fn is_enabled(filter: &ExtAuthzFilter, metadata: &Metadata, worker: &Worker) -> bool {
    filter.share.is_none_or(|share| share.hits(worker.random()))
        && filter.enabled.as_ref().is_none_or(|matcher| matcher.matches(metadata))
}

/// Does what the answer says.
fn finish(exchange: &mut Exchange<'_>, filter: &ExtAuthzFilter, verdict: Verdict) -> Option<LocalReply> {
    let stats = filter.stats.of(exchange.connection.worker.index);
    match verdict {
        Verdict::Ok(ok) => {
            tell(&mut exchange.info.metadata, &ok.metadata);
            if !ok.is_valid() {
                stats.invalid.inc();
                return Some(LocalReply::new(500, "", ResponseFlags::default(), "ext_authz_invalid"));
            }
            stats.ok.inc();
            let changed = ok.edit(&mut exchange.head);
            exchange.response_edits.extend(ok.response);
            if changed && filter.clear_route_cache {
                exchange.choose_route();
            }
            None
        }
        Verdict::Denied(denied) => {
            stats.denied.inc();
            tell(&mut exchange.info.metadata, &denied.metadata);
            Some(denied_reply(exchange, filter, *denied))
        }
        Verdict::Error(reason) => {
            stats.error.inc();
            if reason == verdict::TIMED_OUT {
                stats.timeout.inc();
            }
            tracing::debug!(connection = exchange.info.connection.id, reason, "authorization service failed");
            if !filter.failure_mode_allow {
                return Some(error_reply(filter));
            }
            stats.failure_mode_allowed.inc();
            if filter.failure_mode_header {
                exchange.head.headers.set_static("x-envoy-auth-failure-mode-allowed", "true");
            }
            None
        }
    }
}

fn tell(metadata: &mut Metadata, told: &serde_json::Map<String, serde_json::Value>) {
    for (key, value) in told {
        metadata.set(&NAMESPACE, key, value.clone());
    }
}

fn error_reply(filter: &ExtAuthzFilter) -> LocalReply {
    LocalReply::new(filter.status_on_error, "", ResponseFlags::UAEX, "ext_authz_error")
}

fn denied_reply(exchange: &mut Exchange<'_>, filter: &ExtAuthzFilter, denied: Denied) -> LocalReply {
    let mut body = denied.body;
    if filter.max_denied_body > 0 {
        body.truncate(filter.max_denied_body);
    }
    exchange.response_edits.extend(denied.headers);
    let reply = LocalReply::new(denied.status, "", ResponseFlags::UAEX, "ext_authz_denied");
    LocalReply { body, ..reply }
}
