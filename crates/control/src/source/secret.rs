//! Secrets that hold something for TLS.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use lateen_mesh::{Credential, Meta, Resource};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::watch::Taken;

/// A text that is longer is refused: a chain of many certificates fits.
const MAX_TEXT: usize = 512 << 10;

/// Takes what a Secret holds for TLS; every other Secret is nothing to the mesh.
///
/// Source: Istio, Gateway `credentialName`: type `kubernetes.io/tls` with `tls.crt`, `tls.key`, `ca.crt` and `ca.crl`, or
/// a generic one with `cert`, `key`, `cacert` and `crl`.
pub(super) fn take(secret: &Secret) -> Taken {
    match credential(secret) {
        Some(credential) => {
            if let Some(problem) = &credential.problem {
                let (namespace, name) = (&credential.meta.namespace, &credential.meta.name);
                tracing::warn!(%namespace, %name, %problem, "Secret cannot be used; the last good one stays");
            }
            Taken::Upsert(Box::new(Resource::from(credential)))
        }
        None => Taken::Ignore,
    }
}

/// What a Secret holds for TLS; `None` when that is nothing.
pub fn credential(secret: &Secret) -> Option<Credential> {
    let data = secret.data.as_ref()?;
    let certificate = text(data, ["tls.crt", "cert"]);
    let key = text(data, ["tls.key", "key"]);
    let authorities = text(data, ["ca.crt", "cacert"]);
    let revoked = text(data, ["ca.crl", "crl"]);
    if (certificate.is_none() || key.is_none()) && authorities.is_none() {
        return None;
    }
    let mut problems = Vec::new();
    let mut keep = |name: &str, found: Option<&[u8]>, check: &dyn Fn(&[u8]) -> Result<(), String>| {
        let found = found?;
        match limited(found).and_then(|()| check(found)) {
            Ok(()) => Some(Arc::from(found)),
            Err(reason) => {
                problems.push(format!("data[{name}]: {reason}"));
                None
            }
        }
    };
    let authorities = keep(named(data, ["ca.crt", "cacert"]), authorities, &certificates);
    let revoked = keep(named(data, ["ca.crl", "crl"]), revoked, &revocations);
    let pair = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let check = |certificate: &[u8]| limited(key).and_then(|()| matches(certificate, key));
            let certificate = keep(named(data, ["tls.crt", "cert"]), Some(certificate), &check);
            certificate.map(|certificate| (certificate, Arc::from(key)))
        }
        _ => None,
    };
    let problem = (!problems.is_empty()).then(|| problems.join("; "));
    Some(Credential { meta: Meta::of(&secret.metadata), pair, authorities, revoked, problem })
}

type Data = BTreeMap<String, ByteString>;

fn named(data: &Data, names: [&'static str; 2]) -> &'static str {
    if data.contains_key(names[0]) { names[0] } else { names[1] }
}

fn text<'a>(data: &'a Data, names: [&'static str; 2]) -> Option<&'a [u8]> {
    data.get(named(data, names)).map(|text| text.0.as_slice()).filter(|text| !text.is_empty())
}

fn limited(text: &[u8]) -> Result<(), String> {
    if text.len() > MAX_TEXT {
        return Err(format!("holds {} bytes, the limit is {MAX_TEXT}", text.len()));
    }
    Ok(())
}

fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("holds no certificate in PEM".into()),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

fn certificates(text: &[u8]) -> Result<(), String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in chain(text)? {
        roots
            .add(certificate)
            .map_err(|error| format!("holds a certificate that is no authority's: {error}"))?;
    }
    Ok(())
}

fn revocations(text: &[u8]) -> Result<(), String> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
    match lists {
        Ok(lists) if !lists.is_empty() => Ok(()),
        Ok(_) => Err("holds no revocation list in PEM".into()),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

/// Whether the chain is one, and the key is that of its first certificate. Errors never quote the key.
fn matches(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let chain = chain(certificate)?;
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key beside it holds no private key in PEM")?;
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(Error::InconsistentKeys(_)) => Err("the key does not belong to the certificate".into()),
        Err(error) => Err(format!("certificate or key cannot be used: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> (Vec<u8>, Vec<u8>) {
        let authority = lateen_identity::Authority::create(name, std::time::Duration::from_secs(60)).unwrap();
        (authority.certificate_pem().as_bytes().to_vec(), authority.key_pem().into_bytes())
    }

    fn secret(data: &[(&str, &[u8])]) -> Secret {
        let data = data.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.to_vec()))).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn both_forms_of_secrets_are_read() {
        let (certificate, key) = made("a.example");
        for names in [["tls.crt", "tls.key", "ca.crt"], ["cert", "key", "cacert"]] {
            let found = secret(&[(names[0], &certificate), (names[1], &key), (names[2], &certificate)]);
            let credential = credential(&found).unwrap();
            assert_eq!(credential.problem, None);
            assert!(credential.pair.is_some() && credential.authorities.is_some());
        }
        assert!(credential(&secret(&[("password", b"x")])).is_none());
    }

    #[test]
    fn what_does_not_belong_together_is_told_and_left_out() {
        let ((certificate, _), (_, other)) = (made("a.example"), made("b.example"));
        let found = credential(&secret(&[("tls.crt", &certificate), ("tls.key", &other)])).unwrap();
        assert!(found.pair.is_none());
        assert!(found.problem.unwrap().contains("does not belong"));
        let found = credential(&secret(&[("tls.crt", b"no pem"), ("tls.key", &other)])).unwrap();
        assert!(found.pair.is_none() && found.problem.unwrap().starts_with("data[tls.crt]"));
    }
}
