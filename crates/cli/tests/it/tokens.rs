//! JSON Web Tokens that somebody might show: one that is good, and those that must not be believed.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub const ISSUER: &str = "teller@bank.example";

/// An issuer with its key.
pub struct Issuer {
    key: RsaKeyPair,
}

impl Issuer {
    pub fn new() -> Issuer {
        Issuer { key: RsaKeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// The public key as a JWKS.
    pub fn jwks(&self) -> String {
        let public = self.key.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let n = number(public.modulus().big_endian_without_leading_zero());
        let e = number(public.exponent().big_endian_without_leading_zero());
        json!({"keys": [{"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "n": n, "e": e}]})
            .to_string()
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let text = part(header, claims);
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub fn good(&self) -> String {
        self.token(&header("RS256", "one"), &claims(0, i64::from(i32::MAX)))
    }

    /// A good token of the same key, in the name of another issuer.
    pub fn of(&self, issuer: &str) -> String {
        self.token(&header("RS256", "one"), &json!({"iss": issuer, "sub": "teller", "exp": i32::MAX}))
    }

    /// Tokens that must not be believed, with their names.
    pub fn bad(&self) -> Vec<(&'static str, String)> {
        let (rs256, good) = (header("RS256", "one"), claims(0, i64::from(i32::MAX)));
        let none = format!("{}.", part(&header("none", "one"), &good));
        let der: PublicKeyX509Der<'_> = self.key.public_key().as_der().unwrap();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let modulus = self.key.public_key().modulus().big_endian_without_leading_zero().to_vec();
        let confused = |secret: &[u8]| {
            let text = part(&header("HS256", "one"), &good);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
            format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
        };
        let other = self.good();
        let (body, _) = other.rsplit_once('.').unwrap();
        let admin = json!({"iss": ISSUER, "sub": "admin", "exp": i32::MAX});
        let changed = format!("{}.{}", part(&rs256, &admin), other.rsplit('.').next().unwrap());
        vec![
            ("alg none", none),
            ("public key as HMAC secret", confused(pem.as_bytes())),
            ("modulus as HMAC secret", confused(&modulus)),
            ("another issuer's key", Issuer::new().good()),
            ("changed claims", changed),
            ("no signature", format!("{body}.")),
            ("expired", self.token(&rs256, &claims(0, 1_000_000_000))),
            ("not yet valid", self.token(&rs256, &claims(i64::from(i32::MAX) - 1, i64::from(i32::MAX)))),
            ("unknown key id", self.token(&header("RS256", "two"), &good)),
            ("nonsense", "not.a.token".to_owned()),
        ]
    }
}

fn header(algorithm: &str, key: &str) -> Value {
    json!({"alg": algorithm, "kid": key, "typ": "JWT"})
}

fn claims(not_before: i64, expires: i64) -> Value {
    json!({"iss": ISSUER, "sub": "teller", "nbf": not_before, "exp": expires})
}

fn part(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}
