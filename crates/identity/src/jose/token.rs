//! A token taken apart, before anything in it is believed.

use super::{JwtError, decode};
use serde_json::{Map, Value};

/// Longest token that is looked at, in bytes: no honest one is longer, and reading costs.
const MAX_LENGTH: usize = 32 << 10;

/// A token. Nothing in it is true until its signature was checked.
#[derive(Debug)]
pub struct Token<'a> {
    /// What the signature is over: header and payload as they were sent.
    pub signed: &'a str,
    /// The payload as it was sent.
    pub payload_base64: &'a str,
    /// The header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// The signature.
    pub signature: Vec<u8>,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
    not_before: Option<u64>,
    issued: Option<u64>,
}

impl<'a> Token<'a> {
    /// Reads a token (JWS compact serialization, RFC 7515 section 7.1).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'a str) -> Result<Self, JwtError> {
        if text.len() > MAX_LENGTH {
            return Err(JwtError::TooLarge);
        }
        let mut parts = text.split('.');
        let (Some(header64), Some(payload64), Some(signature64), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::Format);
        };
        if header64.is_empty() || payload64.is_empty() || signature64.is_empty() {
            return Err(JwtError::Format);
        }
        let header = decode(header64).ok_or(JwtError::HeaderBase64)?;
        let header: Map<String, Value> = serde_json::from_slice(&header).map_err(|_| JwtError::HeaderJson)?;
        check_header(&header)?;
        let payload = decode(payload64).ok_or(JwtError::PayloadBase64)?;
        let claims: Map<String, Value> =
            serde_json::from_slice(&payload).map_err(|_| JwtError::PayloadJson)?;
        check_texts(&claims)?;
        let issued = time(&claims, "iat", JwtError::Iat, JwtError::IatRange)?;
        let not_before = time(&claims, "nbf", JwtError::Nbf, JwtError::NbfRange)?;
        let expires = time(&claims, "exp", JwtError::Exp, JwtError::ExpRange)?;
        let signature = decode(signature64).ok_or(JwtError::SignatureBase64)?;
        let signed = &text[..header64.len() + 1 + payload64.len()];
        Ok(Token {
            signed,
            payload_base64: payload64,
            header,
            claims,
            signature,
            expires,
            not_before,
            issued,
        })
    }

    /// A claim that is text.
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// The algorithm of the header.
    pub fn algorithm(&self) -> &str {
        self.header.get("alg").and_then(Value::as_str).unwrap_or_default()
    }

    /// The key's id in the header.
    pub fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// For whom it is.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        let (one, list) = match self.claims.get("aud") {
            Some(Value::String(one)) => (Some(one.as_str()), None),
            Some(Value::Array(list)) => (None, Some(list)),
            _ => (None, None),
        };
        one.into_iter().chain(list.into_iter().flatten().filter_map(Value::as_str))
    }

    /// Whether the moment lies within its time. `now` and `skew` in seconds.
    ///
    /// # Errors
    /// [`JwtError::NotYetValid`], [`JwtError::Expired`].
    pub fn check_time(&self, now: u64, skew: u64) -> Result<(), JwtError> {
        if self.not_before.is_some_and(|begins| now.saturating_add(skew) < begins) {
            return Err(JwtError::NotYetValid);
        }
        // As Envoy: 0 is no end.
        if self.expires.is_some_and(|ends| ends > 0 && now > ends.saturating_add(skew)) {
            return Err(JwtError::Expired);
        }
        Ok(())
    }

    /// How long it lives as a whole, in seconds: from its issue (or beginning, or now) to its end.
    pub fn lifetime(&self, now: u64) -> Option<u64> {
        let begins = self.issued.or(self.not_before).unwrap_or(now);
        self.expires.filter(|ends| *ends > 0).map(|ends| ends.saturating_sub(begins))
    }
}

fn check_header(header: &Map<String, Value>) -> Result<(), JwtError> {
    const KNOWN: [&str; 13] = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256",
        "HS384", "HS512",
    ];
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(JwtError::HeaderAlg)?;
    // `none` above all.
    if !KNOWN.contains(&algorithm) {
        return Err(JwtError::UnknownAlg);
    }
    if header.get("kid").is_some_and(|kid| !kid.is_string()) {
        return Err(JwtError::HeaderKid);
    }
    // RFC 7515, 4.1.11: what must be understood and is not makes the token invalid.
    if header.contains_key("crit") { Err(JwtError::HeaderCrit) } else { Ok(()) }
}

fn check_texts(claims: &Map<String, Value>) -> Result<(), JwtError> {
    for (claim, error) in [("iss", JwtError::Iss), ("sub", JwtError::Sub), ("jti", JwtError::Jti)] {
        if claims.get(claim).is_some_and(|value| !value.is_string()) {
            return Err(error);
        }
    }
    let legal = match claims.get("aud") {
        None | Some(Value::String(_)) => true,
        Some(Value::Array(list)) => list.iter().all(Value::is_string),
        Some(_) => false,
    };
    if legal { Ok(()) } else { Err(JwtError::Aud) }
}

/// A point in time. Fractions are legal (RFC 7519, `NumericDate`) and cut off.
fn time(
    claims: &Map<String, Value>,
    claim: &str,
    not_a_number: JwtError,
    out_of_range: JwtError,
) -> Result<Option<u64>, JwtError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(not_a_number) };
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(seconds));
    }
    match number.as_f64() {
        Some(seconds) if (0.0..9.2e18).contains(&seconds) => Ok(Some(seconds as u64)),
        _ => Err(out_of_range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    fn make(header: &str, payload: &str) -> String {
        let encode = |text: &str| super::super::BASE64.encode(text).trim_end_matches('=').to_owned();
        format!("{}.{}.{}", encode(header), encode(payload), encode("signature"))
    }

    fn error(header: &str, payload: &str) -> JwtError {
        Token::parse(&make(header, payload)).unwrap_err()
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        assert_eq!(Token::parse("a.b").unwrap_err(), JwtError::Format);
        assert_eq!(Token::parse("a..c").unwrap_err(), JwtError::Format);
        assert_eq!(Token::parse("a.b.c.d").unwrap_err(), JwtError::Format);
        assert_eq!(Token::parse("!.b.c").unwrap_err(), JwtError::HeaderBase64);
        assert_eq!(Token::parse(&"a".repeat(MAX_LENGTH + 1)).unwrap_err(), JwtError::TooLarge);
        assert_eq!(error("[]", "{}"), JwtError::HeaderJson);
        assert_eq!(error("{}", "{}"), JwtError::HeaderAlg);
        assert_eq!(error(r#"{"alg":"none"}"#, "{}"), JwtError::UnknownAlg);
        assert_eq!(error(r#"{"alg":"NONE"}"#, "{}"), JwtError::UnknownAlg);
        assert_eq!(error(r#"{"alg":"RS256","kid":1}"#, "{}"), JwtError::HeaderKid);
        assert_eq!(error(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, "{}"), JwtError::HeaderCrit);
        let rs = r#"{"alg":"RS256"}"#;
        assert_eq!(error(rs, "x"), JwtError::PayloadJson);
        assert_eq!(error(rs, r#"{"iss":1}"#), JwtError::Iss);
        assert_eq!(error(rs, r#"{"aud":[1]}"#), JwtError::Aud);
        assert_eq!(error(rs, r#"{"exp":"1"}"#), JwtError::Exp);
        assert_eq!(error(rs, r#"{"exp":-1}"#), JwtError::ExpRange);
    }

    #[test]
    fn time_has_a_beginning_and_an_end_with_some_skew() {
        let text = make(r#"{"alg":"RS256"}"#, r#"{"nbf":1000,"exp":2000.5,"iat":990,"aud":["a","b"]}"#);
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.check_time(989, 10), Err(JwtError::NotYetValid));
        assert_eq!(token.check_time(990, 10), Ok(()));
        assert_eq!(token.check_time(2010, 10), Ok(()));
        assert_eq!(token.check_time(2011, 10), Err(JwtError::Expired));
        assert_eq!(token.lifetime(0), Some(1010));
        assert_eq!(token.audiences().collect::<Vec<_>>(), ["a", "b"]);
    }
}
