use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::IdentityError;

/// A workload's identity: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
///
/// Source: Istio, "Security concepts", section "Istio identity"; the SPIFFE ID specification for the trust domain's
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service_account: String,
}

impl SpiffeId {
    /// The identity of a service account.
    ///
    /// # Errors
    /// When a part is empty or holds a character that a SPIFFE name may not have.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, IdentityError> {
        let id = SpiffeId {
            trust_domain: trust_domain.to_owned(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        };
        let refuse = |reason| Err(IdentityError::Spiffe { name: id.to_string(), reason });
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if trust_domain.is_empty() || trust_domain.len() > 255 || !trust_domain.chars().all(lower) {
            return refuse("the trust domain must be 1 to 255 of a-z, 0-9, '.', '-' and '_'");
        }
        let segment =
            |s: &str| !s.is_empty() && s.len() <= 253 && s != "." && s != ".." && s.chars().all(path_char);
        if !segment(namespace) || !segment(service_account) {
            return refuse(
                "namespace and service account must be 1 to 253 of a-z, A-Z, 0-9, '.', '-' and '_'",
            );
        }
        Ok(id)
    }

    /// The trust domain, for example `cluster.local`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The namespace of the service account.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

fn path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(name: &str) -> Result<Self, IdentityError> {
        let refuse = |reason| IdentityError::Spiffe { name: name.to_owned(), reason };
        let rest = name.strip_prefix("spiffe://").ok_or_else(|| refuse("it must begin with spiffe://"))?;
        let parts: Vec<&str> = rest.split('/').collect();
        match parts[..] {
            [domain, "ns", namespace, "sa", account] => SpiffeId::new(domain, namespace, account),
            _ => Err(refuse("the path must be /ns/<namespace>/sa/<service account>")),
        }
    }
}

/// The workload identities in a certificate (its URI subject alternative names); other URIs are skipped.
pub fn identities(certificate: &CertificateDer<'_>) -> Vec<SpiffeId> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.parse().ok(),
        _ => None,
    });
    uris.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_formatting_and_parsing() {
        let id = SpiffeId::new("cluster.local", "default", "bookinfo-reviews").unwrap();
        assert_eq!(id.to_string(), "spiffe://cluster.local/ns/default/sa/bookinfo-reviews");
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
    }

    #[test]
    fn names_of_another_shape_are_refused_with_the_reason() {
        for bad in [
            "",
            "https://cluster.local/ns/a/sa/b",
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns/a/sa/",
            "spiffe://cluster.local/ns/a/sa/b/c",
            "spiffe:///ns/a/sa/b",
            "spiffe://Cluster.Local/ns/a/sa/b",
            "spiffe://cluster.local/ns/../sa/b",
            "spiffe://cluster.local/ns/a b/sa/c",
            "spiffe://cluster.local/sa/a/ns/b",
        ] {
            assert!(matches!(bad.parse::<SpiffeId>(), Err(IdentityError::Spiffe { .. })), "{bad}");
        }
    }
}
