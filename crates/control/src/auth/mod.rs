//! Who calls the secure port: a workload that shows its certificate, or the token of its service account.

mod caller;
mod evidence;
mod nodes;
mod oidc;
mod token_review;

pub use caller::{Caller, Pod, Proof};
pub use evidence::Evidence;
pub use nodes::NodeAuthorizer;
pub use oidc::{Oidc, OidcOptions};
pub use token_review::TokenReviews;

use std::sync::Arc;

use lateen_identity::SpiffeId;

use crate::ca::TrustDomains;

/// The ways to prove an identity, tried in Istio's order: certificate, then token.
#[derive(Clone, Debug)]
pub struct Authenticator {
    /// Asks the Kubernetes API whose token it is.
    pub tokens: Arc<TokenReviews>,
    /// An issuer outside of Kubernetes, if there is one.
    pub oidc: Option<Arc<Oidc>>,
    /// Names of this mesh: other meshes' roots may be trusted as well, but their workloads are not ours.
    pub trust_domains: TrustDomains,
}

/// Why a caller is not let in. The text is for the log; the caller learns only that it failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthError {
    /// Neither a certificate nor a token was shown.
    #[error("the caller shows neither a client certificate nor a bearer token")]
    NoEvidence,
    /// The token proves nothing.
    #[error("the token is refused: {0}")]
    Token(String),
    /// The Kubernetes API could not be asked.
    #[error("the token cannot be checked: {0}")]
    Unavailable(String),
}

impl Authenticator {
    /// Finds out who calls.
    ///
    /// # Errors
    /// When nothing that the caller shows proves an identity.
    pub async fn authenticate(&self, evidence: &Evidence) -> Result<Caller, AuthError> {
        let own = |id: &&SpiffeId| self.trust_domains.includes(id.trust_domain());
        let identities: Vec<_> = evidence.certificate.iter().filter(own).cloned().collect();
        if !identities.is_empty() {
            return Ok(Caller { identities, proof: Proof::Certificate, pod: None });
        }
        let Some(token) = &evidence.token else { return Err(AuthError::NoEvidence) };
        match self.oidc.as_ref().filter(|oidc| oidc.is_issuer_of(token)) {
            Some(oidc) => oidc.review(token).await,
            None => self.tokens.review(token).await,
        }
    }
}
