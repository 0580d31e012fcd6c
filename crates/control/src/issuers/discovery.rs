//! Rules for tokens that name an issuer and no keys: where the keys are is asked of the issuer.
//!
//! Source: Istio, RequestAuthentication `jwksUri`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lateen_api::security::request_authentication::JwtRule;
use lateen_mesh::{Issuer, Policies, Resource};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::discover;
use crate::hub::Hub;
use crate::source::Update;

/// Time until an issuer is asked again: after an answer (Istio's `PILOT_JWT_PUB_KEY_REFRESH_INTERVAL`), and after none.
const FRESH: Duration = Duration::from_secs(20 * 60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Issuers that are asked; more are left without keys.
const MAX_ISSUERS: usize = 256;

/// Authorities of issuers besides the system's, as Istio's chart mounts them (`pilot.jwksResolverExtraRootCA`).
const EXTRA_ROOTS: &str = "/cacerts/extra.pem";

/// What is known of an issuer.
struct Known {
    /// Where its keys are.
    uri: Option<String>,
    /// When it is asked (again).
    due: Instant,
    /// The wait after the next failure.
    wait: Duration,
}

/// Asks the issuers that rules name without keys, until the hub is gone.
pub(crate) async fn keep(hub: Arc<Hub>, updates: mpsc::WeakSender<Update>) {
    let mut published = hub.subscribe();
    let mut issuers: BTreeMap<String, Known> = BTreeMap::new();
    let extra = PathBuf::from(EXTRA_ROOTS);
    loop {
        let wanted = wanted(&hub.mesh().policies, &issuers);
        issuers.retain(|name, _| wanted.contains(name));
        for name in wanted.into_iter().take(MAX_ISSUERS) {
            let new = || Known { uri: None, due: Instant::now(), wait: FIRST_RETRY };
            issuers.entry(name).or_insert_with(new);
        }
        let now = Instant::now();
        let due = issuers.iter_mut().filter(|(_, known)| known.due <= now);
        let found =
            join_all(due.map(|(name, known)| ask(name, known, extra.exists().then_some(&*extra)))).await;
        for issuer in found.into_iter().flatten() {
            // Nobody waits for the keys of a control plane that ends.
            let Some(updates) = updates.upgrade() else { return };
            if updates.send(Update::Upsert(Resource::from(issuer))).await.is_err() {
                return;
            }
        }
        let next = issuers.values().map(|known| known.due).min();
        let next = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            () = next => {}
        }
    }
}

/// The issuers that rules leave it to, those that have answered already among them.
fn wanted(policies: &Policies, known: &BTreeMap<String, Known>) -> BTreeSet<String> {
    let ours = |rule: &JwtRule| {
        let found = known.get(&rule.issuer).and_then(|known| known.uri.as_deref());
        Issuer::is_needed(rule) || (rule.jwks.is_empty() && found == Some(&rule.jwks_uri))
    };
    let modern = policies.request_authentications().iter().flat_map(|policy| policy.rules.iter().cloned());
    let legacy = policies.legacy().iter().flat_map(|policy| policy.jwt_rules()).map(|(rule, _)| rule);
    modern.chain(legacy).filter(ours).map(|rule| rule.issuer).collect()
}

/// Asks one issuer; where its keys are, if that is new.
async fn ask(name: &str, known: &mut Known, roots: Option<&Path>) -> Option<Issuer> {
    match discover(name, roots).await {
        Ok(uri) => {
            (known.due, known.wait) = (Instant::now() + FRESH, FIRST_RETRY);
            if known.uri.as_ref() == Some(&uri) {
                return None;
            }
            tracing::info!(issuer = name, jwks_uri = uri, "issuer's keys found");
            let issuer = Issuer { name: name.into(), jwks_uri: uri.as_str().into() };
            known.uri = Some(uri);
            Some(issuer)
        }
        Err(error) => {
            let error = format_args!("{error:#}");
            if known.wait == FIRST_RETRY {
                tracing::warn!(issuer = name, %error, "issuer's keys not found; it is asked again");
            } else {
                tracing::debug!(issuer = name, %error, "issuer's keys still not found");
            }
            known.due = Instant::now() + known.wait;
            known.wait = (known.wait * 2).min(LONGEST_RETRY);
            None
        }
    }
}
