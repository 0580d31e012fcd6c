//! Why a token is refused, in Envoy's words, which Istio's users know.

use thiserror::Error;

/// Why a token is refused; the text is the body of the answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum JwtError {
    #[error("Jwt is missing")]
    Missing,
    #[error("Jwt not yet valid")]
    NotYetValid,
    #[error("Jwt is expired")]
    Expired,
    #[error("Jwt is too large")]
    TooLarge,
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Format,
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    #[error("Jwt header [alg] field is required and must be a string")]
    HeaderAlg,
    #[error("Jwt header [alg] is not supported")]
    UnknownAlg,
    #[error("Jwt header [kid] field is not a string")]
    HeaderKid,
    #[error("Jwt header [crit] names an extension that is not supported")]
    HeaderCrit,
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    #[error("Jwt payload [iss] field is not a string")]
    Iss,
    #[error("Jwt payload [sub] field is not a string")]
    Sub,
    #[error("Jwt payload [jti] field is not a string")]
    Jti,
    #[error("Jwt payload [iat] field is not an integer")]
    Iat,
    #[error("Jwt payload [nbf] field is not an integer")]
    Nbf,
    #[error("Jwt payload [exp] field is not an integer")]
    Exp,
    #[error("Jwt payload [iat] field is not a positive 64 bit integer")]
    IatRange,
    #[error("Jwt payload [nbf] field is not a positive 64 bit integer")]
    NbfRange,
    #[error("Jwt payload [exp] field is not a positive 64 bit integer")]
    ExpRange,
    #[error("Jwt payload [aud] field is not a string or string list")]
    Aud,
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    #[error("Jwt verification fails")]
    Verification,
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKey,
    #[error("Jwks doesn't have any valid public key")]
    NoValidKeys,
    #[error("Jwks remote fetch is failed")]
    Fetch,
}

impl JwtError {
    /// The status of the answer: 403 for a token that is good, but for others; else 401.
    pub fn status(self) -> u16 {
        if self == JwtError::Audience { 403 } else { 401 }
    }
}
