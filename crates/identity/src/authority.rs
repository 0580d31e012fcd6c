use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{IdentityError, Leaf, LeafRequest, Usage};

/// Certificates are valid a little before they are made, so that a peer whose clock is behind accepts them.
/// (Istio's CA uses two minutes as well.)
const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// A certificate authority that signs leaves: self-signed, or read back from PEM.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

impl Authority {
    /// Makes a new self-signed authority (ECDSA P-256), valid for `lifetime` from now on.
    ///
    /// # Errors
    /// When the system has no randomness for a key.
    pub fn create(organization: &str, lifetime: Duration) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, format!("{organization} root"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, lifetime);
        let certificate = params.self_signed(&key)?;
        Ok(Authority {
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads an authority back from its certificate and PKCS #8 key.
    ///
    /// # Errors
    /// When the text holds no certificate or key, the certificate may not sign, or the two do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let bad_certificate = |reason: String| IdentityError::Pem { what: "certificate", reason };
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|e| bad_certificate(format!("{e:?}")))?;
        let key = KeyPair::from_pem(key_pem)
            .map_err(|e| IdentityError::Pem { what: "private key", reason: e.to_string() })?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|e| bad_certificate(e.to_string()))?;
        if !parsed.is_ca() {
            return Err(IdentityError::NotAuthority);
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(IdentityError::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Authority {
            issuer,
            certificate: certificate.into_owned(),
            certificate_pem: certificate_pem.to_owned(),
        })
    }

    /// The root certificate as PEM: what peers must trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The root certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key as PKCS #8 PEM, to keep the authority over a restart.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A trust store that holds this authority alone.
    ///
    /// # Errors
    /// When TLS cannot use the certificate as a trust anchor.
    pub fn roots(&self) -> Result<RootCertStore, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Ok(roots)
    }

    /// Makes a key and a certificate for it.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue(&self, request: &LeafRequest) -> Result<Leaf, IdentityError> {
        let key = KeyPair::generate()?;
        let certificate = leaf_params(request)?.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            chain_pem: certificate.pem(),
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
            key_pem: key.serialize_pem(),
        })
    }
}

impl fmt::Debug for Authority {
    /// Leaves the private key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

fn leaf_params(request: &LeafRequest) -> Result<CertificateParams, IdentityError> {
    let ia5 = |name: &str| name.to_owned().try_into().map_err(|_| IdentityError::Name(name.to_owned()));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !request.organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, request.organization.as_str());
    }
    if !request.common_name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, request.common_name.as_str());
    }
    for name in &request.dns_names {
        params.subject_alt_names.push(SanType::DnsName(ia5(name)?));
    }
    params.subject_alt_names.extend(request.ip_addresses.iter().copied().map(SanType::IpAddress));
    for identity in &request.identities {
        params.subject_alt_names.push(SanType::URI(ia5(&identity.to_string())?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = match request.usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    };
    set_validity(&mut params, request.lifetime);
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + lifetime).into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpiffeId;

    const HOUR: Duration = Duration::from_secs(3600);

    fn verify(authority: &Authority, leaf: &Leaf) -> Result<(), String> {
        let root = X509Certificate::from_der(authority.certificate()).unwrap().1;
        let certificate = X509Certificate::from_der(&leaf.chain()[0]).unwrap().1;
        certificate.verify_signature(Some(root.public_key())).map_err(|e| e.to_string())
    }

    #[test]
    fn a_leaf_carries_what_was_asked_for_and_is_signed() {
        let authority = Authority::create("cluster.local", HOUR).unwrap();
        let request = LeafRequest {
            identities: vec![SpiffeId::new("cluster.local", "default", "sleep").unwrap()],
            ..LeafRequest::server(["localhost", "10.96.0.1", "*.example.com"], HOUR)
        };
        let leaf = authority.issue(&request).unwrap();
        verify(&authority, &leaf).unwrap();
        let (_, certificate) = X509Certificate::from_der(&leaf.chain()[0]).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        let text: Vec<String> = names.iter().map(ToString::to_string).collect();
        for expected in ["localhost", "*.example.com", "spiffe://cluster.local/ns/default/sa/sleep"] {
            assert!(text.iter().any(|name| name.contains(expected)), "{expected} in {text:?}");
        }
        assert_eq!(names.len(), 4);
        assert!(!certificate.is_ca());
    }

    #[test]
    fn a_kubernetes_client_is_named_by_user_and_group() {
        let authority = Authority::create("kubernetes", HOUR).unwrap();
        let leaf = authority.issue(&LeafRequest::client("admin", "system:masters", HOUR)).unwrap();
        let (_, certificate) = X509Certificate::from_der(&leaf.chain()[0]).unwrap();
        let groups: Vec<&str> =
            certificate.subject().iter_organization().map(|o| o.as_str().unwrap()).collect();
        assert_eq!(groups, ["system:masters"]);
        assert_eq!(certificate.subject().iter_common_name().next().unwrap().as_str().unwrap(), "admin");
    }

    #[test]
    fn an_authority_read_back_signs_for_the_same_root() {
        let authority = Authority::create("cluster.local", HOUR).unwrap();
        let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
        let leaf = again.issue(&LeafRequest::server(["istiod.istio-system.svc"], HOUR)).unwrap();
        verify(&authority, &leaf).unwrap();
    }

    #[test]
    fn what_cannot_sign_is_refused() {
        let authority = Authority::create("cluster.local", HOUR).unwrap();
        let other = Authority::create("cluster.local", HOUR).unwrap();
        let leaf = authority.issue(&LeafRequest::server(["a"], HOUR)).unwrap();
        let pair = |certificate: &str, key: &str| Authority::from_pem(certificate, key).unwrap_err();
        assert!(matches!(pair(leaf.chain_pem(), leaf.key_pem()), IdentityError::NotAuthority));
        assert!(matches!(pair(authority.certificate_pem(), &other.key_pem()), IdentityError::KeyMismatch));
        assert!(matches!(pair("", &other.key_pem()), IdentityError::Pem { what: "certificate", .. }));
        assert!(matches!(
            pair(authority.certificate_pem(), "x"),
            IdentityError::Pem { what: "private key", .. }
        ));
    }

    #[test]
    fn tls_accepts_leaf_and_roots() {
        let authority = Authority::create("cluster.local", HOUR).unwrap();
        let leaf = authority.issue(&LeafRequest::server(["localhost"], HOUR)).unwrap();
        let config = leaf.server_config(&["h2"], Some(authority.roots().unwrap())).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
    }

    #[test]
    fn a_name_outside_ascii_is_refused_by_name() {
        let authority = Authority::create("cluster.local", HOUR).unwrap();
        let error = authority.issue(&LeafRequest::server(["bücher.example"], HOUR)).unwrap_err();
        assert!(error.to_string().contains("bücher.example"));
    }
}
