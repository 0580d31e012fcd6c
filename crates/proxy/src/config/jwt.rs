//! JWT authentication: providers, where tokens stand, and what requests need.

use super::keys::RemoteKeys;
use super::matcher::StringMatcher;
use super::route::RouteMatch;
use crate::jose::KeySet;
use crate::upstream::stats::JwtStats;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A JWT filter.
#[derive(Debug)]
pub struct JwtFilter {
    /// Providers in order of their names.
    pub providers: Vec<JwtProvider>,
    /// The first rule that matches says what is required.
    pub rules: Vec<JwtRule>,
    /// Requirements that routes name.
    pub named: HashMap<Box<str>, JwtRequirement>,
    /// Let CORS preflight requests, which cannot bear tokens, pass.
    pub bypass_preflight: bool,
    /// Do not tell why a token is refused.
    pub quiet: bool,
    /// Prefix of counters after `jwt_authn.`.
    pub stat_prefix: Box<str>,
    /// Counters.
    pub stats: Arc<JwtStats>,
}

/// What requests of some kind need.
#[derive(Debug)]
pub struct JwtRule {
    /// Which requests.
    pub matches: RouteMatch,
    /// What they need.
    pub requires: JwtRequirement,
}

/// What a request needs. Providers are indices into [`JwtFilter::providers`].
#[derive(Clone, Debug)]
pub enum JwtRequirement {
    /// Nothing.
    None,
    /// Tokens of a provider, for one of these audiences instead of the provider's own where some are given.
    Provider(usize, Option<Vec<Box<str>>>),
    /// One of these.
    Any(Vec<JwtRequirement>),
    /// All of these.
    All(Vec<JwtRequirement>),
    /// No token of these providers, or good ones.
    AllowMissing(Vec<usize>),
    /// Anything; good tokens of these providers count.
    AllowFailed(Vec<usize>),
}

/// Who issues tokens, how they are checked, and what is done with them.
#[derive(Debug)]
pub struct JwtProvider {
    /// Name.
    pub name: Box<str>,
    /// `iss` of its tokens; none: any.
    pub issuer: Option<Box<str>>,
    /// `aud` must hold one; empty: any.
    pub audiences: Vec<Box<str>>,
    /// `sub` of its tokens.
    pub subjects: Option<StringMatcher>,
    /// Tokens without `exp` are refused.
    pub require_expiration: bool,
    /// Longest life of a token.
    pub max_lifetime: Option<Duration>,
    /// How far clocks may differ, in seconds; 60 by default.
    pub clock_skew: u64,
    /// Its keys.
    pub keys: KeySource,
    /// Headers that may hold tokens (lower-case name, prefix of the value).
    pub from_headers: Vec<(Box<str>, Box<str>)>,
    /// Query parameters that may hold tokens.
    pub from_params: Vec<Box<str>>,
    /// Cookies that may hold tokens.
    pub from_cookies: Vec<Box<str>>,
    /// Leave the token in the request.
    pub forward: bool,
    /// Put the payload into this header, in Base64, padded or not.
    pub payload_header: Option<(Box<str>, bool)>,
    /// Copy claims into headers.
    pub claim_headers: Vec<ClaimHeader>,
    /// Field of the metadata that gets the claims.
    pub payload_field: Option<Box<str>>,
    /// Field of the metadata that gets the token's header.
    pub header_field: Option<Box<str>>,
    /// Claims that hold words between spaces, which become lists in the metadata.
    pub spaced_claims: Vec<Box<str>>,
    /// The route is chosen anew once a token was accepted.
    pub clear_route_cache: bool,
}

/// The path of a claim, and the header (lower case) that it is copied into.
pub type ClaimHeader = (Box<[Box<str>]>, Box<str>);

/// Where a provider's keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The configuration.
    Local(Arc<KeySet>),
    /// The configuration, which holds no usable key: every token is refused.
    Unusable,
    /// A server.
    Remote(Arc<RemoteKeys>),
}

/// What a route says of a JWT filter.
#[derive(Clone, Debug)]
pub enum JwtOverride {
    /// It is off.
    Disabled,
    /// A requirement by name.
    Named(Box<str>),
}
