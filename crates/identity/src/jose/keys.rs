//! Key sets: JSON Web Keys (RFC 7517, RFC 7518, RFC 8037), parsed once and used often.

use super::{JwtError, Token, decode};
use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use serde_json::{Map, Value};
use thiserror::Error;

/// Most keys of one set that are read.
const MAX_KEYS: usize = 256;

/// Why a text is no key set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KeyError {
    #[error("Jwks is an invalid JSON")]
    Json,
    #[error("Jwks does not have [keys] field")]
    NoKeys,
    #[error("[keys] in Jwks is not an array")]
    NotAList,
    #[error("Jwks doesn't have any valid public key (first: {0})")]
    NoneValid(String),
}

/// Public keys, each with the algorithms that it may be used with.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    /// The key parsed for each algorithm; the names are those of RFC 7518. A key of one kind is never used with an
    /// algorithm of another: a public RSA key is no secret of HS256.
    uses: Vec<(&'static str, ParsedPublicKey)>,
}

type RsaUse = (&'static str, &'static RsaParameters);

/// Keys of less than 2048 bits are refused.
const RSA: [RsaUse; 6] = [
    ("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
    ("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
    ("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
    ("PS256", &signature::RSA_PSS_2048_8192_SHA256),
    ("PS384", &signature::RSA_PSS_2048_8192_SHA384),
    ("PS512", &signature::RSA_PSS_2048_8192_SHA512),
];

impl KeySet {
    /// Reads a key set. Keys that cannot be used (of another kind, or for encryption) are left out.
    ///
    /// # Errors
    /// It is no key set, or holds no key that can be used.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let set: Map<String, Value> = serde_json::from_slice(text).map_err(|_| KeyError::Json)?;
        let list = set.get("keys").ok_or(KeyError::NoKeys)?.as_array().ok_or(KeyError::NotAList)?;
        let (mut keys, mut first_error) = (Vec::new(), None);
        for key in list.iter().take(MAX_KEYS) {
            match read(key) {
                Ok(key) => keys.push(key),
                Err(error) => {
                    tracing::debug!(%error, "a key of a JSON web key set is left out");
                    first_error.get_or_insert(error);
                }
            }
        }
        if keys.is_empty() {
            return Err(KeyError::NoneValid(first_error.unwrap_or_else(|| "it is empty".to_owned())));
        }
        Ok(KeySet(keys))
    }

    /// Checks a token's signature.
    ///
    /// # Errors
    /// [`JwtError::NoKey`] where no key is for it, [`JwtError::Verification`] where none has signed it.
    pub fn verify(&self, token: &Token<'_>) -> Result<(), JwtError> {
        let (algorithm, id) = (token.algorithm(), token.key_id());
        let mut candidates = self
            .0
            .iter()
            .filter(|key| match (&key.id, id) {
                (Some(own), Some(wanted)) => **own == *wanted,
                _ => true,
            })
            .filter_map(|key| key.uses.iter().find(|(name, _)| *name == algorithm))
            .peekable();
        candidates.peek().ok_or(JwtError::NoKey)?;
        let signed = token.signed.as_bytes();
        match candidates.any(|(_, key)| key.verify_sig(signed, &token.signature).is_ok()) {
            true => Ok(()),
            false => Err(JwtError::Verification),
        }
    }
}

fn read(key: &Value) -> Result<Key, String> {
    let key = key.as_object().ok_or("it is no object")?;
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        text(name).and_then(decode).ok_or_else(|| format!("[{name}] is missing or no Base64url text"))
    };
    if text("use").is_some_and(|usage| usage != "sig") {
        return Err("[use] is not `sig`".to_owned());
    }
    let wanted = text("alg");
    let fits = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let uses = match text("kty").ok_or("[kty] is missing")? {
        "RSA" => rsa(&bytes("n")?, &bytes("e")?, fits)?,
        "EC" => {
            let (name, algorithm, size) = curve(text("crv"), wanted)?;
            if !fits(name) {
                return Err("[crv] is not compatible with [alg]".to_owned());
            }
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != size || y.len() != size {
                return Err(format!("[x] and [y] must hold {size} bytes"));
            }
            // SEC 1, 2.3.3: an uncompressed point.
            vec![(name, parsed(algorithm, &[&[4], &x[..], &y[..]].concat())?)]
        }
        "OKP" if text("crv") == Some("Ed25519") && fits("EdDSA") => {
            vec![("EdDSA", parsed(&signature::ED25519, &bytes("x")?)?)]
        }
        other => return Err(format!("[kty] `{other}` with its [crv] and [alg] is not supported")),
    };
    if uses.is_empty() {
        return Err("[alg] is not one of its [kty]".to_owned());
    }
    Ok(Key { id: text("kid").map(Into::into), uses })
}

fn parsed(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Result<ParsedPublicKey, String> {
    ParsedPublicKey::new(algorithm, key).map_err(|error| error.to_string())
}

fn rsa(
    modulus: &[u8],
    exponent: &[u8],
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<(&'static str, ParsedPublicKey)>, String> {
    let strip = |number: &[u8]| -> Vec<u8> { number.iter().copied().skip_while(|byte| *byte == 0).collect() };
    let components = RsaPublicKeyComponents { n: strip(modulus), e: strip(exponent) };
    if components.n.len() < 256 {
        return Err("an RSA key must have at least 2048 bits".to_owned());
    }
    let uses = RSA.iter().filter(|(name, _)| fits(name));
    let uses = uses.map(|(name, parameters)| {
        let key = components.to_parsed_public_key(parameters).map_err(|error| error.to_string())?;
        Ok((*name, key))
    });
    uses.collect()
}

type Curve = (&'static str, &'static dyn VerificationAlgorithm, usize);

/// The algorithm of a curve (or, without one, of `alg`) and the length of its coordinates.
fn curve(name: Option<&str>, alg: Option<&str>) -> Result<Curve, String> {
    match (name, alg) {
        (Some("P-256"), _) | (None, None | Some("ES256")) => {
            Ok(("ES256", &signature::ECDSA_P256_SHA256_FIXED, 32))
        }
        (Some("P-384"), _) | (None, Some("ES384")) => Ok(("ES384", &signature::ECDSA_P384_SHA384_FIXED, 48)),
        (Some("P-521"), _) | (None, Some("ES512")) => Ok(("ES512", &signature::ECDSA_P521_SHA512_FIXED, 66)),
        (name, _) => Err(format!("[crv] `{}` is not supported for an EC key", name.unwrap_or_default())),
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
