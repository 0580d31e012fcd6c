//! RequestAuthentication: which tokens requests may carry.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::{CATEGORIES, GROUP, PolicyTargetReference, VERSIONS};
use crate::networking::destination_rule::LabelSelector;
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::duration::Duration;
use crate::wire::message::message;
use crate::wire::report::Report;

/// Which tokens requests may carry.
pub type RequestAuthentication = Object<RequestAuthenticationSpec>;

message! {
    /// Requests with a token that is not valid are refused; those without one are let pass.
    pub struct RequestAuthenticationSpec {
        /// The workloads to which it applies; all of the namespace by default.
        selector: Option<LabelSelector>,
        /// Deprecated: use targetRefs.
        target_ref: Option<PolicyTargetReference>,
        /// The gateways or services to which it applies.
        target_refs: Vec<PolicyTargetReference>,
        /// The tokens that are accepted.
        jwt_rules: Vec<JwtRule>,
    }
}

impl Kind for RequestAuthenticationSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "RequestAuthentication";
    const PLURAL: &'static str = "requestauthentications";
    const SHORT_NAMES: &'static [&'static str] = &["ra"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, _metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::authentication::request(self, report);
    }
}

message! {
    /// A kind of token that is accepted.
    pub struct JwtRule {
        /// Who issued it (`iss`).
        issuer: String,
        /// For whom it must be (`aud`); the service itself by default.
        audiences: Vec<String>,
        /// Where the keys are that sign it.
        jwks_uri: String,
        /// The keys themselves, as a JSON Web Key Set.
        jwks: String,
        /// Headers in which it is looked for; `Authorization: Bearer` by default.
        from_headers: Vec<JwtHeader>,
        /// Query parameters in which it is looked for; `access_token` by default.
        from_params: Vec<String>,
        /// Cookies in which it is looked for.
        from_cookies: Vec<String>,
        /// The header in which its payload is forwarded, in base64.
        output_payload_to_header: String,
        /// Whether it is itself forwarded.
        forward_original_token: bool,
        /// Headers in which single claims are forwarded.
        output_claim_to_headers: Vec<ClaimToHeader>,
        /// How long fetching keys may take; 5 s by default.
        timeout: Option<Duration>,
        /// Claims that are lists separated by spaces, besides `scope` and `permission`.
        space_delimited_claims: Vec<String>,
    }
}

message! {
    /// A header that carries a token.
    pub struct JwtHeader {
        /// Its name.
        name: String,
        /// What stands before the token, such as `Bearer `.
        prefix: String,
    }
}

message! {
    /// A claim that is forwarded in a header.
    pub struct ClaimToHeader {
        /// The header.
        header: String,
        /// The claim.
        claim: String,
    }
}
