//! Counts the votes: `/analytics`. Version 1.0 says how many; later ones also of how many, and the share.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use super::Choices;
use super::store::Store;
use crate::server;

/// What the analytics service is made of.
#[derive(Clone, Debug)]
pub struct Analytics {
    /// Where the votes are.
    pub store: Store,
    /// What they are for.
    pub choices: Choices,
    /// Whether it tells the total and shares, as from version 1.1 on.
    pub shares: bool,
}

impl Analytics {
    /// As the version has it, and as the sample's environment variables say.
    ///
    /// # Errors
    /// Names the variable that is not what it must be.
    pub fn from_env(version: &str) -> anyhow::Result<Self> {
        Ok(Self { store: Store::from_env(version)?, choices: Choices::from_env(), shares: version != "1.0" })
    }
}

/// `/analytics`.
pub fn router(analytics: Analytics) -> Router {
    Router::new().route("/analytics", get(read)).with_state(Arc::new(analytics))
}

async fn read(State(analytics): State<Arc<Analytics>>) -> Response {
    let Choices { first, second } = &analytics.choices;
    match analytics.store.count(&analytics.choices).await {
        Ok(counts) => {
            let body = json!({
                "category1": {"name": first, "count": counts.0},
                "category2": {"name": second, "count": counts.1},
                "text": text(&analytics.choices, counts, analytics.shares),
            });
            server::json(StatusCode::OK, &body)
        }
        Err(error) => {
            println!("votes cannot be counted: {error:#}");
            let body = json!({"error": format!("votes cannot be counted: {error:#}")});
            server::json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

fn text(choices: &Choices, counts: (u64, u64), shares: bool) -> String {
    let total = counts.0.saturating_add(counts.1);
    let part = |name: &str, count: u64| match shares {
        true => format!("{name}: {count}/{total} ({}%)", percent(count, total)),
        false => format!("{name}: {count}"),
    };
    format!("{} | {}", part(&choices.first, counts.0), part(&choices.second, counts.1))
}

/// The share in percent, half up.
fn percent(count: u64, total: u64) -> u128 {
    let (count, total) = (u128::from(count), u128::from(total.max(1)));
    (200 * count + total) / (2 * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_tells_what_the_tutorial_shows() {
        let choices = Choices::default();
        assert_eq!(text(&choices, (2, 4), false), "Cats: 2 | Dogs: 4");
        assert_eq!(text(&choices, (2, 4), true), "Cats: 2/6 (33%) | Dogs: 4/6 (67%)");
        assert_eq!(text(&choices, (0, 0), true), "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
        assert_eq!(text(&choices, (1, 7), true), "Cats: 1/8 (13%) | Dogs: 7/8 (88%)");
    }
}
