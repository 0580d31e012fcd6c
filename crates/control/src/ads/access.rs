use std::sync::Arc;

use lateen_generate::Proxy;
use lateen_identity::SpiffeId;
use tonic::Status;

use crate::auth::{AuthError, Authenticator, Caller, Evidence};
use crate::{Refusal, Refusals};

/// Who may open a stream.
#[derive(Debug)]
pub(crate) enum Access {
    /// Everybody, and nobody has proved anything: the plaintext port. Secrets are not for such a stream.
    Open,
    /// Who proves to be the workload that its node describes.
    Proved {
        /// Finds out who calls.
        authenticator: Authenticator,
        /// What the caller shows.
        evidence: Evidence,
        /// Whether the identity must be that of the node.
        check_identity: bool,
        /// The control plane's namespace.
        system: Arc<str>,
    },
}

impl Access {
    /// Finds out who calls, if the port asks for it.
    pub(super) async fn caller(&self, refusals: &Refusals) -> Result<Option<Caller>, Status> {
        let Access::Proved { authenticator, evidence, .. } = self else { return Ok(None) };
        match authenticator.authenticate(evidence).await {
            Ok(caller) => Ok(Some(caller)),
            Err(error) => {
                tracing::warn!(peer = %evidence.peer, %error, "xDS stream refused: the caller is not known");
                refusals.on(Refusal::StreamUnknown);
                Err(match error {
                    AuthError::Unavailable(_) => {
                        Status::unavailable("the caller cannot be authenticated now")
                    }
                    _ => Status::unauthenticated("authentication failure"),
                })
            }
        }
    }

    /// The control plane's namespace.
    pub(super) fn system(&self) -> &str {
        match self {
            Access::Open => "",
            Access::Proved { system, .. } => system,
        }
    }

    /// The identity with which the caller is this proxy.
    pub(super) fn identity(
        &self,
        caller: Option<Caller>,
        proxy: &Proxy,
        refusals: &Refusals,
    ) -> Result<Option<SpiffeId>, Status> {
        let (Access::Proved { evidence, check_identity, .. }, Some(caller)) = (self, caller) else {
            return Ok(None);
        };
        let identity = caller.identity_of(proxy).cloned();
        if identity.is_none() && *check_identity {
            refusals.on(Refusal::StreamIdentity);
            tracing::warn!(
                peer = %evidence.peer,
                node = %proxy.id,
                caller = ?caller.identities.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "xDS stream refused: the caller is not the workload that its node describes"
            );
            return Err(Status::permission_denied(format!(
                "no identity of the caller is that of the node's service account {}/{}",
                proxy.namespace, proxy.service_account
            )));
        }
        Ok(identity)
    }
}
