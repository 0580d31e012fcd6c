//! External authorization of connections.

use super::{grpc, is_enabled, request};
use crate::config::{AuthzService, ExtAuthzFilter};
use crate::request_info::RequestInfo;
use crate::worker::Worker;
use lateen_xds::pb::envoy::service::auth::v3::CheckRequest;

/// Asks whether a connection may go on.
///
/// # Errors
/// Why it is closed.
pub async fn check(worker: &Worker, filter: &ExtAuthzFilter, info: &mut RequestInfo) -> Result<(), String> {
    let stats = filter.stats.of(worker.index);
    if !is_enabled(filter, &info.metadata, worker) {
        stats.disabled.inc();
        return Ok(());
    }
    let AuthzService::Grpc(service) = &filter.service else { return Err("ext_authz_error".to_owned()) };
    stats.total.inc();
    let message = CheckRequest { attributes: Some(request::connection(info, filter)) };
    match grpc::response(worker, service, message).await {
        Ok(response) => {
            let told = response.dynamic_metadata.as_ref().map(crate::convert::metadata::object);
            super::tell(&mut info.metadata, &told.unwrap_or_default());
            if grpc::is_ok(&response) {
                stats.ok.inc();
                return Ok(());
            }
            stats.denied.inc();
            stats.cx_closed.inc();
            Err("ext_authz_denied".to_owned())
        }
        Err(reason) => {
            stats.error.inc();
            tracing::debug!(connection = info.connection.id, reason, "authorization service failed");
            if filter.failure_mode_allow {
                stats.failure_mode_allowed.inc();
                return Ok(());
            }
            stats.cx_closed.inc();
            Err("ext_authz_error".to_owned())
        }
    }
}
