//! `CreateCertificate`: who calls, for whom, and what is signed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lateen_identity::{Lifetimes, SigningRequest, SpiffeId};
use lateen_xds::certificates::{CertificateRequest, CertificateResponse};
use tonic::Status;

use super::{Authorities, ExternalSigner, TrustDomains};
use crate::auth::{AuthError, Authenticator, Caller, Evidence, NodeAuthorizer};
use crate::metrics::Metrics;

/// A CSR that is longer is not read: one with a 4096 bit RSA key has less than 2 KiB.
const MAX_CSR: usize = 16 << 10;

/// The service behind [`lateen_xds::certificates::CREATE_CERTIFICATE`].
pub struct CertificateService {
    /// Finds out who calls.
    pub authenticator: Authenticator,
    /// What signs.
    pub authorities: Authorities,
    /// Names of this mesh.
    pub trust_domains: TrustDomains,
    /// How long certificates live.
    pub lifetimes: Lifetimes,
    /// Who may ask for others.
    pub nodes: NodeAuthorizer,
    /// Signers outside, if there are any.
    pub external: Option<ExternalSigner>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl CertificateService {
    /// Signs what the caller may have.
    ///
    /// # Errors
    /// gRPC's status; the reasons of refused identities stay in our log.
    pub async fn create(
        &self,
        evidence: &Evidence,
        request: CertificateRequest,
    ) -> Result<CertificateResponse, Status> {
        let metrics = &self.metrics.ca;
        metrics.on_request();
        let caller = self.authenticator.authenticate(evidence).await.map_err(|error| {
            metrics.on_authentication_failure();
            tracing::warn!(peer = %evidence.peer, %error, "certificate refused: the caller is not known");
            match error {
                AuthError::Unavailable(_) => Status::unavailable("the caller cannot be authenticated now"),
                _ => Status::unauthenticated("request authenticate failure"),
            }
        })?;
        let identities = self.identities(evidence, &caller, &request)?;
        let csr = self.csr(evidence, &request, &identities)?;
        let lifetime = self.lifetimes.grant(request.validity_duration).map_err(|error| {
            metrics.on_sign_error("TTL_ERROR");
            tracing::warn!(peer = %evidence.peer, identity = %identities[0], %error, "certificate refused");
            Status::invalid_argument(format!("CSR signing error ({error})"))
        })?;
        let outside = self.external.as_ref();
        let outside = outside.and_then(|signers| Some((signers, signers.choose(request.cert_signer())?)));
        let chain = match outside {
            Some((signers, signer)) => {
                if csr.uris().is_empty() {
                    metrics.on_identity_error();
                    return Err(Status::invalid_argument(
                        "a signer outside signs only a CSR that names its sender",
                    ));
                }
                let signed = signers.sign(&request.csr, &signer, &identities, lifetime).await;
                signed.map_err(|reason| self.not_signed(&reason))?
            }
            None => self.sign(csr, identities.clone(), lifetime).await?,
        };
        metrics.on_success();
        tracing::debug!(peer = %evidence.peer, identity = %identities[0], ?lifetime, "certificate signed");
        Ok(CertificateResponse { cert_chain: chain })
    }

    /// For whom the certificate will be: the caller, or the workload that a node proxy names.
    fn identities(
        &self,
        evidence: &Evidence,
        caller: &Caller,
        request: &CertificateRequest,
    ) -> Result<Vec<SpiffeId>, Status> {
        let Some(wanted) = request.impersonated_identity() else {
            return self.own_identities(caller);
        };
        self.nodes.impersonate(caller, wanted, &self.trust_domains).map(|id| vec![id]).map_err(|reason| {
            self.metrics.ca.on_authentication_failure();
            tracing::warn!(
                peer = %evidence.peer,
                caller = %caller.identities[0],
                wanted,
                reason,
                "certificate refused: the caller may not have another's"
            );
            Status::unauthenticated("request impersonation authentication failure")
        })
    }

    /// The caller's identities in the trust domain of today: a certificate may still name a former one.
    fn own_identities(&self, caller: &Caller) -> Result<Vec<SpiffeId>, Status> {
        let own = self.trust_domains.own();
        let mut identities = Vec::new();
        for id in &caller.identities {
            if !self.trust_domains.includes(id.trust_domain()) {
                continue;
            }
            let id = SpiffeId::new(&own, id.namespace(), id.service_account())
                .map_err(|error| Status::internal(error.to_string()))?;
            if !identities.contains(&id) {
                identities.push(id);
            }
        }
        if identities.is_empty() {
            self.metrics.ca.on_authentication_failure();
            return Err(Status::unauthenticated("request authenticate failure"));
        }
        Ok(identities)
    }

    /// Reads the CSR; it may name its sender, or nobody.
    fn csr(
        &self,
        evidence: &Evidence,
        request: &CertificateRequest,
        identities: &[SpiffeId],
    ) -> Result<SigningRequest, Status> {
        let refused = |reason: String| {
            self.metrics.ca.on_parse_error();
            tracing::warn!(peer = %evidence.peer, identity = %identities[0], reason, "certificate refused");
            Status::invalid_argument(format!("CSR signing error ({reason})"))
        };
        if request.csr.len() > MAX_CSR {
            return Err(refused(format!("the CSR has more than {MAX_CSR} bytes")));
        }
        let csr = SigningRequest::parse(&request.csr).map_err(|error| refused(error.to_string()))?;
        for uri in csr.uris() {
            let named = uri.parse::<SpiffeId>().ok();
            let own = |named: &SpiffeId| identities.iter().any(|id| self.trust_domains.same(id, named));
            if !named.as_ref().is_some_and(own) {
                self.metrics.ca.on_identity_error();
                tracing::warn!(
                    peer = %evidence.peer,
                    caller = %identities[0],
                    wanted = uri,
                    "certificate refused: the CSR names another workload"
                );
                return Err(Status::permission_denied(
                    "the CSR names an identity that is not the caller's; leave it out or name your own",
                ));
            }
        }
        Ok(csr)
    }

    fn not_signed(&self, reason: &str) -> Status {
        self.metrics.ca.on_sign_error("CERT_GEN_ERROR");
        tracing::error!(reason, "certificate not signed");
        Status::internal(format!("CSR signing error ({reason})"))
    }

    async fn sign(
        &self,
        csr: SigningRequest,
        identities: Vec<SpiffeId>,
        lifetime: Duration,
    ) -> Result<Vec<String>, Status> {
        let standing = self.authorities.standing().filter(|standing| standing.issuer.is_some());
        let Some(standing) = standing else {
            self.metrics.ca.on_sign_error("CA_NOT_READY");
            return Err(Status::unavailable("the certificate authority is not ready yet; try again"));
        };
        let now = SystemTime::now();
        // Before it is signed: a rotation that happens meanwhile must know.
        self.authorities.issued(now + lifetime);
        let signed = tokio::task::spawn_blocking(move || {
            let issuer = standing.issuer.as_ref()?;
            let signed = issuer.sign(&csr, &identities, lifetime, now);
            Some(signed.map(|chain| (chain, standing)))
        });
        let signed = signed.await.map_err(|e| self.not_signed(&e.to_string()))?;
        let signed = signed.ok_or_else(|| self.not_signed("the authority is gone"))?;
        let (mut chain, standing) = signed.map_err(|e| self.not_signed(&e.to_string()))?;
        chain.extend(split(&standing.trust_pem));
        Ok(chain)
    }
}

/// The certificates of a PEM text one by one, as Istio's clients want them.
pub(super) fn split(pem: &str) -> impl Iterator<Item = String> + '_ {
    const END: &str = "-----END CERTIFICATE-----\n";
    pem.split_inclusive(END).filter(|part| part.ends_with(END)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_falls_apart_into_its_certificates() {
        let hour = Duration::from_secs(3600);
        let (a, b) = (
            lateen_identity::Authority::create("a", hour).unwrap(),
            lateen_identity::Authority::create("b", hour).unwrap(),
        );
        let pem = format!("{}{}", a.certificate_pem(), b.certificate_pem());
        assert_eq!(split(&pem).collect::<Vec<_>>(), [a.certificate_pem(), b.certificate_pem()]);
    }
}
