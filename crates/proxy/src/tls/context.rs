//! What both directions have in common: certificates, trust, parameters; given in place or by secrets.

use std::sync::Arc;

use super::params::Parameters;
use super::secret::{Certificate, Secret, Validation};
use super::slot::{Dependent, SecretSlot};
use crate::tls_info::CertificateInfo;

/// Certificates of our own.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    /// Given in place.
    pub fixed: Vec<Arc<Certificate>>,
    /// Given by secrets.
    pub secrets: Vec<Arc<SecretSlot>>,
}

/// Whom to trust.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Nothing is verified.
    #[default]
    Anyone,
    /// Given in place.
    Fixed(Arc<Validation>),
    /// Given by a secret.
    Secret(Arc<SecretSlot>),
    /// Given by both.
    Combined(Arc<Validation>, Arc<SecretSlot>),
}

/// Settings of both directions.
#[derive(Clone, Debug, Default)]
pub struct CommonContext {
    /// Our certificates.
    pub identities: Identities,
    /// Whom to trust.
    pub trust: Trust,
    /// ALPN protocols, best first.
    pub alpn: Vec<Vec<u8>>,
    /// Versions, suites, groups.
    pub parameters: Parameters,
}

impl CommonContext {
    /// Secrets that the context waits for.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<SecretSlot>> {
        let trust = match &self.trust {
            Trust::Secret(slot) | Trust::Combined(_, slot) => Some(slot),
            Trust::Anyone | Trust::Fixed(_) => None,
        };
        self.identities.secrets.iter().chain(trust)
    }

    /// Our certificates and the authorities that are trusted, as they are now.
    pub fn in_use(&self) -> (Vec<Arc<CertificateInfo>>, Vec<Arc<CertificateInfo>>) {
        let own = self.present_certificates().unwrap_or_default();
        let authorities = match self.validation() {
            Ok(Trusted::By(validation)) => validation.authorities.clone(),
            _ => Vec::new(),
        };
        (own.iter().map(|certificate| certificate.info.clone()).collect(), authorities)
    }

    pub(super) fn register<D: Dependent + 'static>(&self, dependent: &Arc<D>) {
        let weak = Arc::downgrade(dependent);
        for slot in self.secrets() {
            slot.depend(weak.clone());
        }
    }

    /// The certificates as they are now; none while one has not come.
    pub(super) fn certificates(&self) -> Result<Option<Vec<Arc<Certificate>>>, String> {
        let mut all = self.identities.fixed.clone();
        for slot in &self.identities.secrets {
            match slot.load().as_deref() {
                Some(Secret::Certificate(certificate)) => all.push(certificate.clone()),
                Some(_) => return Err(format!("the secret {:?} is no certificate", slot.name)),
                None => return Ok(None),
            }
        }
        Ok(Some(all))
    }

    /// Certificates that have come, for servers that can do without some.
    pub(super) fn present_certificates(&self) -> Result<Vec<Arc<Certificate>>, String> {
        let mut all = self.identities.fixed.clone();
        for slot in &self.identities.secrets {
            match slot.load().as_deref() {
                Some(Secret::Certificate(certificate)) => all.push(certificate.clone()),
                Some(_) => return Err(format!("the secret {:?} is no certificate", slot.name)),
                None => {}
            }
        }
        Ok(all)
    }

    /// Whom to trust now.
    ///
    /// # Errors
    /// The secret is of another kind, or trust in authorities was asked for and none is given: the context must not
    /// come into force.
    pub(super) fn validation(&self) -> Result<Trusted, String> {
        let (slot, default) = match &self.trust {
            Trust::Anyone => return Ok(Trusted::Anyone),
            Trust::Fixed(validation) => return checked(validation.clone(), "the validation context"),
            Trust::Secret(slot) => (slot, None),
            Trust::Combined(default, slot) => (slot, Some(default)),
        };
        match slot.load().as_deref() {
            None => Ok(Trusted::NotYet),
            Some(Secret::Validation(dynamic)) => {
                let merged = default.map_or_else(|| dynamic.clone(), |d| Arc::new(d.merged(dynamic)));
                checked(merged, &format!("the secret {:?}", slot.name))
            }
            Some(_) => Err(format!("the secret {:?} is no validation context", slot.name)),
        }
    }
}

fn checked(validation: Arc<Validation>, what: &str) -> Result<Trusted, String> {
    if validation.verifies() || validation.accept_untrusted {
        return Ok(Trusted::By(validation));
    }
    Err(format!("{what} names no authority (trusted_ca), so that nothing would be verified"))
}

/// Whom to trust now.
pub(super) enum Trusted {
    Anyone,
    By(Arc<Validation>),
    NotYet,
}
