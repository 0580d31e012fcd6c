use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use lateen_identity::SpiffeId;
use lateen_identity::jose::{JwtError, KeySet, Token};
use serde::Deserialize;

use super::{AuthError, Caller, Proof};
use crate::ca::TrustDomains;
use crate::issuers;

/// Clocks may differ by so many seconds.
const SKEW: u64 = 60;
/// Keys are fetched anew after this time, or when a token names one that is not there.
const FRESH: Duration = Duration::from_secs(300);
/// But no more often: tokens that name keys of their own invention must not make us hammer the issuer.
const PAUSE: Duration = Duration::from_secs(10);

/// An issuer of tokens (`JWT_RULE`, Istio's `JWTRule` as JSON).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcOptions {
    /// `iss` of its tokens.
    pub issuer: String,
    /// `aud` of tokens that are meant for us.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Where its keys are; found by OIDC discovery if neither this nor `jwks` is given.
    #[serde(default, alias = "jwks_uri")]
    pub jwks_uri: Option<String>,
    /// Its keys.
    #[serde(default)]
    pub jwks: Option<String>,
    /// A file of roots (PEM) for the connection to it.
    #[serde(default)]
    pub ca_file: Option<std::path::PathBuf>,
}

/// Tokens of an issuer outside of Kubernetes.
pub struct Oidc {
    options: OidcOptions,
    trust_domains: TrustDomains,
    keys: Mutex<Keys>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Keys {
    set: Option<Arc<KeySet>>,
    tried: Option<Instant>,
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.options.issuer).finish_non_exhaustive()
    }
}

impl Oidc {
    /// An issuer, whose keys are fetched when its first token comes.
    pub fn new(options: OidcOptions, trust_domains: TrustDomains) -> Self {
        Oidc { options, trust_domains, keys: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// Whether a token says that it is of this issuer.
    pub fn is_issuer_of(&self, token: &str) -> bool {
        Token::parse(token).is_ok_and(|token| token.text("iss") == Some(&self.options.issuer))
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// When the issuer did not sign it, it has ended, is meant for somebody else, or names no service account.
    pub async fn review(&self, token: &str) -> Result<Caller, AuthError> {
        let refused = |reason: &dyn std::fmt::Display| AuthError::Token(reason.to_string());
        let token = Token::parse(token).map_err(|e| refused(&e))?;
        if token.text("iss") != Some(&self.options.issuer) {
            return Err(refused(&JwtError::UnknownIssuer));
        }
        if token.expires.is_none() {
            return Err(refused(&"it has no end ([exp])"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        token.check_time(now, SKEW).map_err(|e| refused(&e))?;
        if !token.audiences().any(|audience| self.options.audiences.iter().any(|own| own == audience)) {
            return Err(refused(&JwtError::Audience));
        }
        let unavailable = |error: anyhow::Error| AuthError::Unavailable(format!("{error:#}"));
        let keys = self.keys(FRESH).await.map_err(unavailable)?;
        match keys.verify(&token) {
            // The issuer may have a new key.
            Err(JwtError::NoKey) => {
                let keys = self.keys(PAUSE).await.map_err(unavailable)?;
                keys.verify(&token).map_err(|e| refused(&e))?;
            }
            other => other.map_err(|e| refused(&e))?,
        }
        let subject = token.text("sub").unwrap_or_default();
        let parts: Vec<&str> = subject.split(':').collect();
        let ["system", "serviceaccount", namespace, account] = parts[..] else {
            return Err(refused(&format!("its [sub] {subject:?} is not a service account")));
        };
        let identity = SpiffeId::new(&self.trust_domains.own(), namespace, account);
        Ok(Caller { identities: vec![identity.map_err(|e| refused(&e))?], proof: Proof::Oidc, pod: None })
    }

    /// The issuer's keys, no older than `age`. The last good ones stay when new ones cannot be had.
    async fn keys(&self, age: Duration) -> Result<Arc<KeySet>> {
        let _one = self.fetching.lock().await;
        let (known, tried) = {
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            (keys.set.clone(), keys.tried)
        };
        let recent = tried.is_some_and(|tried| tried.elapsed() < age.max(PAUSE));
        match known {
            Some(set) if recent => return Ok(set),
            None if tried.is_some_and(|tried| tried.elapsed() < Duration::from_secs(1)) => {
                bail!("the issuer's keys could not be had a moment ago")
            }
            _ => {}
        }
        let fetched = self.fetch().await;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.tried = Some(Instant::now());
        match (fetched, &keys.set) {
            (Ok(set), _) => {
                let set = Arc::new(set);
                keys.set = Some(Arc::clone(&set));
                Ok(set)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(issuer = self.options.issuer, error = %format_args!("{error:#}"), "keys not refreshed");
                Ok(Arc::clone(old))
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn fetch(&self) -> Result<KeySet> {
        if let Some(jwks) = &self.options.jwks {
            return Ok(KeySet::parse(jwks.as_bytes())?);
        }
        let roots = self.options.ca_file.as_deref();
        let uri = match &self.options.jwks_uri {
            Some(uri) => uri.clone(),
            None => issuers::discover(&self.options.issuer, roots).await?,
        };
        KeySet::parse(&issuers::get(&uri, roots).await?).with_context(|| uri)
    }
}
