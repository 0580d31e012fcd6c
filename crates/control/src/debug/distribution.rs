use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};

use crate::Context;
use crate::status::Distribution;

/// `/debug/config_distribution?resource=KIND/NAMESPACE/NAME@GENERATION`: how many of the proxies that are connected here
/// have applied it.
pub(super) async fn distribution(
    State(context): State<Arc<Context>>,
    RawQuery(query): RawQuery,
) -> Json<Distribution> {
    let query = query.unwrap_or_default();
    Json(Distribution::answer(&query, &context.hub.ledger, &context.registry))
}
