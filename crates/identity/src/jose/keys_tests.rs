use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use serde_json::json;

fn encode(bytes: &[u8]) -> String {
    super::super::BASE64.encode(bytes).trim_end_matches('=').to_owned()
}

fn unsigned(header: Value) -> String {
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(br#"{"iss":"me"}"#))
}

fn check(set: &KeySet, signed: &str, signature: &[u8]) -> Result<(), JwtError> {
    let text = format!("{signed}.{}", encode(signature));
    set.verify(&Token::parse(&text).unwrap())
}

fn set(keys: Value) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn rsa_jwk(pair: &RsaKeyPair) -> Value {
    let public = pair.public_key();
    json!({
        "kty": "RSA", "kid": "r",
        "n": encode(public.modulus().big_endian_without_leading_zero()),
        "e": encode(public.exponent().big_endian_without_leading_zero()),
    })
}

#[test]
fn every_rsa_algorithm_verifies_and_none_is_taken_for_another() {
    let (random, pair) = (SystemRandom::new(), RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let keys = set(json!([rsa_jwk(&pair)]));
    let encodings: [(&str, &'static dyn signature::RsaEncoding); 6] = [
        ("RS256", &signature::RSA_PKCS1_SHA256),
        ("RS384", &signature::RSA_PKCS1_SHA384),
        ("RS512", &signature::RSA_PKCS1_SHA512),
        ("PS256", &signature::RSA_PSS_SHA256),
        ("PS384", &signature::RSA_PSS_SHA384),
        ("PS512", &signature::RSA_PSS_SHA512),
    ];
    for (name, encoding) in encodings {
        let signed = unsigned(json!({"alg": name, "kid": "r"}));
        let mut made = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &random, signed.as_bytes(), &mut made).unwrap();
        assert_eq!(check(&keys, &signed, &made), Ok(()), "{name}");
        made[7] ^= 1;
        assert_eq!(check(&keys, &signed, &made), Err(JwtError::Verification), "{name}");
    }
    let signed = unsigned(json!({"alg": "RS256"}));
    let mut made = vec![0; pair.public_modulus_len()];
    pair.sign(&signature::RSA_PSS_SHA256, &random, signed.as_bytes(), &mut made).unwrap();
    assert_eq!(check(&keys, &signed, &made), Err(JwtError::Verification));
}

#[test]
fn a_public_rsa_key_is_no_secret_of_hs256() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let jwk = rsa_jwk(&pair);
    let keys = set(json!([jwk]));
    let signed = unsigned(json!({"alg": "HS256", "kid": "r"}));
    let secret = decode(jwk["n"].as_str().unwrap()).unwrap();
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let made = aws_lc_rs::hmac::sign(&secret, signed.as_bytes());
    assert_eq!(check(&keys, &signed, made.as_ref()), Err(JwtError::NoKey));
}

#[test]
fn elliptic_curves_verify_and_ids_choose_keys() {
    let random = SystemRandom::new();
    let curves = [
        ("ES256", "P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", "P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", "P-521", &signature::ECDSA_P521_SHA512_FIXED_SIGNING),
    ];
    for (alg, crv, signing) in curves {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
        let jwk = json!({"kty": "EC", "crv": crv, "kid": "e", "x": encode(x), "y": encode(y)});
        let keys = set(json!([jwk]));
        let signed = unsigned(json!({"alg": alg, "kid": "e"}));
        let made = pair.sign(&random, signed.as_bytes()).unwrap();
        assert_eq!(check(&keys, &signed, made.as_ref()), Ok(()), "{alg}");
        assert_eq!(check(&keys, &signed, &[0; 64]), Err(JwtError::Verification), "{alg}");
        let unknown = unsigned(json!({"alg": alg, "kid": "other"}));
        let made = pair.sign(&random, unknown.as_bytes()).unwrap();
        assert_eq!(check(&keys, &unknown, made.as_ref()), Err(JwtError::NoKey), "{alg}");
    }
}

#[test]
fn edwards_keys_verify() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = encode(pair.public_key().as_ref());
    let keys = set(json!([{"kty": "oct", "k": "AA"}, {"kty": "OKP", "crv": "Ed25519", "x": x}]));
    let signed = unsigned(json!({"alg": "EdDSA"}));
    assert_eq!(check(&keys, &signed, pair.sign(signed.as_bytes()).as_ref()), Ok(()));
    assert_eq!(check(&keys, &signed, &[0; 12]), Err(JwtError::Verification), "too short");
}

#[test]
fn what_is_no_key_set_is_refused() {
    let error = |text: &str| KeySet::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error("no JSON"), KeyError::Json);
    assert_eq!(error("{}"), KeyError::NoKeys);
    assert_eq!(error(r#"{"keys": {}}"#), KeyError::NotAList);
    assert!(matches!(error(r#"{"keys": []}"#), KeyError::NoneValid(_)));
    assert!(matches!(error(r#"{"keys": [{"kty": "oct", "k": "AA"}]}"#), KeyError::NoneValid(_)));
    let small = json!({"keys": [{"kty": "RSA", "n": encode(&[0xc1; 128]), "e": "AQAB"}]}).to_string();
    assert!(matches!(error(&small), KeyError::NoneValid(_)), "1024 bits");
}
