//! Service-account tokens: JWTs signed with ES256, as Kubernetes' token volumes hold them.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::pki::{PkiError, write_private};

/// Who issues tokens, as Kubernetes' default.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The signing key.
pub struct Tokens {
    key: EcdsaKeyPair,
    id: String,
}

/// What a token says.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Its service account's namespace.
    pub namespace: String,
    /// Its service account's name.
    pub name: String,
    /// Its service account's uid.
    pub uid: String,
    /// For whom it is meant.
    pub audiences: Vec<String>,
    /// The pod that it was made for: name and uid.
    pub pod: Option<(String, String)>,
}

impl Tokens {
    /// Reads the key from a directory, or makes it.
    ///
    /// # Errors
    /// When the file cannot be used or holds no key.
    pub fn open(directory: Option<&Path>) -> Result<Self, PkiError> {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let path = directory.map(|d| d.join("service-account.key"));
        let file = |text: &str| PkiError::File {
            path: path.as_ref().map_or_else(|| "the service account key".into(), |p| p.display().to_string()),
            source: std::io::Error::other(text.to_owned()),
        };
        let document = match path.as_ref().filter(|p| p.exists()) {
            Some(path) => std::fs::read(path).map_err(|e| file(&e.to_string()))?,
            None => {
                let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())
                    .map_err(|_| file("no randomness for a key"))?;
                if let Some(path) = &path {
                    write_private(path, document.as_ref())?;
                }
                document.as_ref().to_vec()
            }
        };
        let key =
            EcdsaKeyPair::from_pkcs8(algorithm, &document).map_err(|_| file("is no PKCS #8 P-256 key"))?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key().as_ref());
        let id = URL_SAFE_NO_PAD.encode(digest.as_ref());
        Ok(Self { key, id })
    }

    /// Signs a token that is valid for some seconds; returns it with the time at which it ends.
    pub fn sign(&self, claims: &Claims, seconds: i64) -> (String, jiff::Timestamp) {
        let now = jiff::Timestamp::now();
        let end = jiff::Timestamp::from_second(now.as_second() + seconds).unwrap_or(jiff::Timestamp::MAX);
        let mut bound = json!({
            "namespace": claims.namespace,
            "serviceaccount": {"name": claims.name, "uid": claims.uid},
        });
        if let Some((name, uid)) = &claims.pod {
            bound["pod"] = json!({"name": name, "uid": uid});
        }
        let body = json!({
            "aud": claims.audiences,
            "exp": end.as_second(),
            "iat": now.as_second(),
            "iss": ISSUER,
            "jti": uuid::Uuid::new_v4().to_string(),
            "kubernetes.io": bound,
            "nbf": now.as_second(),
            "sub": format!("system:serviceaccount:{}:{}", claims.namespace, claims.name),
        });
        let header = json!({"alg": "ES256", "kid": self.id, "typ": "JWT"});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&body));
        // Signing fails only without randomness; an empty signature never verifies.
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map(|s| URL_SAFE_NO_PAD.encode(s.as_ref())).unwrap_or_default();
        (format!("{signed}.{signature}"), end)
    }

    /// Checks signature, issuer and times; tells what the token says.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public.verify(signed.as_bytes(), &signature).ok()?;
        let (header, body) = signed.split_once('.')?;
        let decode = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        if decode(header)?["alg"] != "ES256" {
            return None;
        }
        let body = decode(body)?;
        let now = jiff::Timestamp::now().as_second();
        let current =
            body["iss"] == ISSUER && body["exp"].as_i64()? > now && body["nbf"].as_i64()? <= now + 60;
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let pod = text("/kubernetes.io/pod/name").zip(text("/kubernetes.io/pod/uid"));
        let audiences = body["aud"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        current.then_some(Claims {
            namespace: text("/kubernetes.io/namespace")?,
            name: text("/kubernetes.io/serviceaccount/name")?,
            uid: text("/kubernetes.io/serviceaccount/uid")?,
            audiences,
            pod,
        })
    }

    /// The public key as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        // An uncompressed point: 0x04, x, y.
        let point = self.key.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": coordinate(1..33), "y": coordinate(33..65),
        }]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_until_it_ends_or_is_touched() {
        let tokens = Tokens::open(None).unwrap();
        let claims = Claims {
            namespace: "n".into(),
            name: "a".into(),
            uid: "u".into(),
            audiences: vec!["x".into()],
            pod: Some(("p".into(), "q".into())),
        };
        let (token, _) = tokens.sign(&claims, 600);
        let read = tokens.verify(&token).expect("valid");
        assert_eq!((read.name.as_str(), read.pod), ("a", claims.pod.clone()));
        assert!(tokens.verify(&tokens.sign(&claims, -1).0).is_none(), "ended");
        assert!(tokens.verify(&token.replacen('.', ".A", 1)).is_none(), "touched");
        assert!(Tokens::open(None).unwrap().verify(&token).is_none(), "another key");
        assert!(tokens.verify("nonsense").is_none());
    }
}
