//! Secrets, and ConfigMaps, that hold something for TLS.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use lateen_mesh::{Credential, Kind, Meta, Resource};
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
    credential(secret).map_or(Taken::Ignore, taken)
}

/// Takes the authorities that a ConfigMap holds (`ca.crt` or `cacert`); every other one is nothing to the mesh.
///
/// Source: Istio, Gateway `caCertCredentialName`.
pub(super) fn take_map(map: ConfigMap) -> Taken {
    map_credential(map).map_or(Taken::Ignore, taken)
}

fn taken(credential: Credential) -> Taken {
    if let Some(problem) = &credential.problem {
        let (kind, namespace, name) = (credential.kind, &credential.meta.namespace, &credential.meta.name);
        tracing::warn!(%kind, %namespace, %name, %problem, "cannot be used for TLS; the last good one stays");
    }
    Taken::Upsert(Box::new(Resource::from(credential)))
}

/// The authorities that a ConfigMap holds; `None` when it holds none.
pub fn map_credential(map: ConfigMap) -> Option<Credential> {
    let wanted = |key: &String| AUTHORITIES.contains(&&**key) || REVOKED.contains(&&**key);
    let texts = map.data.unwrap_or_default().into_iter().filter(|(key, _)| wanted(key));
    let data: Data = texts.map(|(key, text)| (key, ByteString(text.into_bytes()))).collect();
    let authorities = text(&data, AUTHORITIES)?;
    let mut parts = Parts { data: &data, problems: Vec::new() };
    let authorities = parts.keep(AUTHORITIES, Some(authorities), &certificates);
    let revoked = parts.keep(REVOKED, text(&data, REVOKED), &revocations);
    let (kind, meta, problem) = (Kind::ConfigMap, Meta::of(&map.metadata), parts.problem());
    Some(Credential { kind, meta, pair: None, authorities, revoked, problem })
}

/// The keys of each part, by type of Secret.
const CERTIFICATE: [&str; 2] = ["tls.crt", "cert"];
const KEY: [&str; 2] = ["tls.key", "key"];
const AUTHORITIES: [&str; 2] = ["ca.crt", "cacert"];
const REVOKED: [&str; 2] = ["ca.crl", "crl"];

/// What a Secret holds for TLS; `None` when that is nothing.
pub fn credential(secret: &Secret) -> Option<Credential> {
    let data = secret.data.as_ref()?;
    let (certificate, key) = (text(data, CERTIFICATE), text(data, KEY));
    let authorities = text(data, AUTHORITIES);
    if (certificate.is_none() || key.is_none()) && authorities.is_none() {
        return None;
    }
    let mut parts = Parts { data, problems: Vec::new() };
    let authorities = parts.keep(AUTHORITIES, authorities, &certificates);
    let revoked = parts.keep(REVOKED, text(data, REVOKED), &revocations);
    let pair = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let check = |certificate: &[u8]| limited(key).and_then(|()| matches(certificate, key));
            let certificate = parts.keep(CERTIFICATE, Some(certificate), &check);
            certificate.map(|certificate| (certificate, Arc::from(key)))
        }
        _ => None,
    };
    let (kind, meta, problem) = (Kind::Secret, Meta::of(&secret.metadata), parts.problem());
    Some(Credential { kind, meta, pair, authorities, revoked, problem })
}

/// The parts that are looked at, and what is wrong with them.
struct Parts<'a> {
    data: &'a Data,
    problems: Vec<String>,
}

impl Parts<'_> {
    /// A part, if it passes the check.
    fn keep(
        &mut self,
        names: [&'static str; 2],
        found: Option<&[u8]>,
        check: &dyn Fn(&[u8]) -> Result<(), String>,
    ) -> Option<Arc<[u8]>> {
        let found = found?;
        match limited(found).and_then(|()| check(found)) {
            Ok(()) => Some(Arc::from(found)),
            Err(reason) => {
                self.problems.push(format!("data[{}]: {reason}", named(self.data, names)));
                None
            }
        }
    }

    fn problem(self) -> Option<String> {
        (!self.problems.is_empty()).then(|| self.problems.join("; "))
    }
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
    fn config_maps_hold_authorities_alone() {
        let (certificate, key) = made("a.example");
        let map = |data: &[(&str, &[u8])]| {
            let data = data.iter().map(|(k, v)| ((*k).to_owned(), String::from_utf8(v.to_vec()).unwrap()));
            map_credential(ConfigMap { data: Some(data.collect()), ..ConfigMap::default() })
        };
        for name in ["ca.crt", "cacert"] {
            let found = map(&[(name, &certificate), ("tls.crt", &certificate), ("tls.key", &key)]).unwrap();
            assert_eq!((found.kind, &found.problem), (Kind::ConfigMap, &None));
            assert!(found.authorities.is_some() && found.pair.is_none());
        }
        let found = map(&[("ca.crt", b"none"), ("ca.crl", b"none")]).unwrap();
        assert!(found.authorities.is_none() && found.revoked.is_none());
        let problem = found.problem.unwrap();
        assert!(problem.contains("data[ca.crt]") && problem.contains("data[ca.crl]"), "{problem}");
        assert!(map(&[("mesh", b"x")]).is_none());
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
