//! Whether a request has the tokens that it needs.

use super::extract::{Found, Place, extract};
use crate::config::{JwtFilter, JwtProvider, JwtRequirement, KeySource, RemoteKeys};
use crate::http::RequestHead;
use crate::jose::{JwtError, KeySet, Token};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Why a requirement is not met.
#[derive(Debug)]
pub enum Unmet {
    /// A token is bad or missing.
    Refused(JwtError),
    /// Keys are to be fetched first.
    Keys(Arc<RemoteKeys>),
}

/// A token that is good.
#[derive(Debug)]
pub struct Accepted {
    /// The provider.
    pub provider: usize,
    /// Where the token stood.
    pub place: Place,
    /// Its header.
    pub header: Map<String, Value>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// Its payload as it was sent.
    pub payload: String,
}

/// One look at a request's tokens.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The filter.
    pub filter: &'a JwtFilter,
    /// The request.
    pub head: &'a RequestHead,
    /// Now, in seconds since 1970.
    pub now: u64,
    /// Sources that were asked in vain for this request.
    pub asked: &'a [Arc<RemoteKeys>],
    /// Tokens that are good.
    pub accepted: Vec<Accepted>,
}

impl Evaluation<'_> {
    /// Whether the request has what it needs.
    pub fn meets(&mut self, requirement: &JwtRequirement) -> Result<(), Unmet> {
        let before = self.accepted.len();
        let result = match requirement {
            JwtRequirement::None => Ok(()),
            JwtRequirement::Provider(provider, audiences) => {
                self.tokens(&[*provider], audiences.as_deref(), Policy::Required)
            }
            JwtRequirement::Any(all) => self.any(all),
            JwtRequirement::All(all) => all.iter().try_for_each(|one| self.meets(one)),
            JwtRequirement::AllowMissing(providers) => self.tokens(providers, None, Policy::MayMiss),
            JwtRequirement::AllowFailed(providers) => self.tokens(providers, None, Policy::MayFail),
        };
        if result.is_err() {
            self.accepted.truncate(before);
        }
        result
    }

    fn any(&mut self, all: &[JwtRequirement]) -> Result<(), Unmet> {
        let mut told = JwtError::Missing;
        for one in all {
            match self.meets(one) {
                Err(Unmet::Refused(error)) => {
                    // What was found wrong with a token tells more than that another was not there.
                    if !matches!(error, JwtError::Missing | JwtError::UnknownIssuer)
                        || matches!(told, JwtError::Missing)
                    {
                        told = error;
                    }
                }
                other => return other,
            }
        }
        Err(Unmet::Refused(told))
    }

    /// Checks all tokens that stand where these providers have them. All must be good: a bad one beside a good one
    /// could be the one that the application believes.
    fn tokens(
        &mut self,
        providers: &[usize],
        audiences: Option<&[Box<str>]>,
        policy: Policy,
    ) -> Result<(), Unmet> {
        let found = extract(&self.filter.providers, providers, self.head);
        if found.is_empty() && policy == Policy::Required {
            return Err(Unmet::Refused(JwtError::Missing));
        }
        for token in found {
            match self.check(token, audiences) {
                Ok(accepted) => self.accept(accepted),
                Err(Unmet::Refused(_)) if policy == Policy::MayFail => {}
                Err(unmet) => return Err(unmet),
            }
        }
        Ok(())
    }

    fn accept(&mut self, new: Accepted) {
        let same = |old: &Accepted| old.provider == new.provider && old.place == new.place;
        if !self.accepted.iter().any(same) {
            self.accepted.push(new);
        }
    }

    /// Checks one token: form, issuer, time, audience, signature, in Envoy's order.
    fn check(&self, found: Found, audiences: Option<&[Box<str>]>) -> Result<Accepted, Unmet> {
        let token = Token::parse(&found.text).map_err(Unmet::Refused)?;
        let index =
            self.issued_by(&token, &found.providers).ok_or(Unmet::Refused(JwtError::UnknownIssuer))?;
        let provider = &self.filter.providers[index];
        check_claims(&token, provider, audiences, self.now).map_err(Unmet::Refused)?;
        self.keys(provider)?.verify(&token).map_err(Unmet::Refused)?;
        Ok(Accepted {
            provider: index,
            place: found.place,
            payload: token.payload_base64.to_owned(),
            header: token.header,
            claims: token.claims,
        })
    }

    /// The provider that issued it, among those whose tokens may stand there: the one of its issuer, else one of any.
    fn issued_by(&self, token: &Token<'_>, providers: &[usize]) -> Option<usize> {
        let issuer = token.text("iss");
        let of = |wanted: Option<&str>| {
            let mut fitting =
                providers.iter().filter(|index| self.filter.providers[**index].issuer.as_deref() == wanted);
            fitting.next().copied()
        };
        issuer.and_then(|issuer| of(Some(issuer))).or_else(|| of(None))
    }

    fn keys(&self, provider: &JwtProvider) -> Result<Arc<KeySet>, Unmet> {
        match &provider.keys {
            KeySource::Local(keys) => Ok(keys.clone()),
            KeySource::Unusable => Err(Unmet::Refused(JwtError::NoValidKeys)),
            KeySource::Remote(remote) => match remote.load() {
                Some(keys) => Ok(keys),
                None if self.asked.iter().any(|asked| Arc::ptr_eq(asked, remote)) => {
                    Err(Unmet::Refused(JwtError::Fetch))
                }
                None => Err(Unmet::Keys(remote.clone())),
            },
        }
    }
}

/// What it means that there is no token, or a bad one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Required,
    MayMiss,
    MayFail,
}

fn check_claims(
    token: &Token<'_>,
    provider: &JwtProvider,
    audiences: Option<&[Box<str>]>,
    now: u64,
) -> Result<(), JwtError> {
    token.check_time(now, provider.clock_skew)?;
    let allowed = audiences.unwrap_or(&provider.audiences);
    if !allowed.is_empty() && !token.audiences().any(|one| allowed.iter().any(|own| same(own, one))) {
        return Err(JwtError::Audience);
    }
    let subject = provider.subjects.as_ref();
    if subject.is_some_and(|wanted| !wanted.matches(token.text("sub").unwrap_or_default().as_bytes())) {
        return Err(JwtError::Verification);
    }
    let lifetime = token.lifetime(now);
    let endless = lifetime.is_none() && (provider.require_expiration || provider.max_lifetime.is_some());
    let too_long = |most: std::time::Duration| lifetime.is_some_and(|lifetime| lifetime > most.as_secs());
    if endless || provider.max_lifetime.is_some_and(too_long) {
        return Err(JwtError::Verification);
    }
    Ok(())
}

/// Audiences are equal but for scheme and slash at the end, as in Envoy (`https://a.com/` is `a.com`).
fn same(own: &str, other: &str) -> bool {
    fn bare(text: &str) -> &str {
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        text.strip_suffix('/').unwrap_or(text)
    }
    bare(own) == bare(other)
}
