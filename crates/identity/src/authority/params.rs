//! What stands in the certificates that an authority makes.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};

use crate::{IdentityError, LeafRequest, Usage};

/// Certificates are valid a little before they are made, so that a peer whose clock is behind accepts them.
/// (Istio's CA uses two minutes as well.)
const CLOCK_SKEW: Duration = Duration::from_secs(120);

pub(super) fn authority_params(
    organization: &str,
    what: &str,
    now: SystemTime,
    end: SystemTime,
) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, format!("{organization} {what}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    set_validity(&mut params, now, end);
    Ok(params)
}

pub(super) fn leaf_params(request: &LeafRequest) -> Result<CertificateParams, IdentityError> {
    let ia5 = |name: &str| name.to_owned().try_into().map_err(|_| IdentityError::Name(name.to_owned()));
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial()?);
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
    let now = SystemTime::now();
    set_validity(&mut params, now, now + request.lifetime);
    Ok(params)
}

pub(super) fn set_validity(params: &mut CertificateParams, now: SystemTime, end: SystemTime) {
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = end.into();
}

/// A random serial number: an authority must never give one twice (RFC 5280, section 4.1.2.2).
fn serial() -> Result<SerialNumber, IdentityError> {
    let mut bytes = [0; 16];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    // Positive, and as long each time.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
