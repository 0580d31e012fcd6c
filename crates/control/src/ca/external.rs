//! Signers outside, by way of Kubernetes' certificate signing requests (Istio: `ISTIOD_RA_KUBERNETES_API`).

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use lateen_identity::{SpiffeId, TrustBundle, identities};
use serde_json::json;

use super::MeshRoots;

/// How long a signer may take (Istio waits as long).
const LIMIT: Duration = Duration::from_secs(20);
/// Kubernetes signs for no shorter time.
const SHORTEST: Duration = Duration::from_secs(600);

/// How signers outside are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalOptions {
    /// The signer of workloads that ask for none (`K8S_SIGNER`).
    pub signer: Option<String>,
    /// Goes before the name that a workload asks for (`CERT_SIGNER_DOMAIN`).
    pub domain: Option<String>,
}

/// Has certificates signed by Kubernetes' signers.
pub struct ExternalSigner {
    requests: Api<CertificateSigningRequest>,
    options: ExternalOptions,
    roots: MeshRoots,
}

impl ExternalSigner {
    /// Asks the API for certificates; what vouches for them stands in MeshConfig.
    pub fn new(client: Client, options: ExternalOptions, roots: MeshRoots) -> Self {
        ExternalSigner { requests: Api::all(client), options, roots }
    }

    /// The signer for a workload that asks for `asked`; none if we are to sign ourselves.
    pub fn choose(&self, asked: Option<&str>) -> Option<String> {
        match (asked, &self.options.domain) {
            (Some(name), Some(domain)) => Some(format!("{domain}/{name}")),
            (Some(name), None) => Some(name.to_owned()),
            (None, _) => self.options.signer.clone(),
        }
    }

    /// Has a CSR signed for the identities that it names. Returns the chain and its roots.
    ///
    /// # Errors
    /// In words: the signer refuses or takes too long, or what it signed cannot be used.
    pub async fn sign(
        &self,
        csr: &str,
        signer: &str,
        wanted: &[SpiffeId],
        lifetime: Duration,
    ) -> Result<Vec<String>, String> {
        let roots = self.roots.of_signer(signer);
        if roots.is_empty() {
            return Err(format!("MeshConfig.caCertificates holds no root of the signer {signer}"));
        }
        let name = self.request(csr, signer, lifetime).await.map_err(|e| e.to_string())?;
        let signed = tokio::time::timeout(LIMIT, self.approve_and_wait(&name)).await;
        if let Err(error) = self.requests.delete(&name, &DeleteParams::default()).await {
            tracing::warn!(name, %error, "CertificateSigningRequest left behind");
        }
        let signed = signed
            .map_err(|_| format!("the signer {signer} did not sign within {} s", LIMIT.as_secs()))??;
        check(&signed, wanted)?;
        let mut chain: Vec<String> = super::service::split(&signed).collect();
        chain.extend(super::service::split(&roots.to_pem()));
        Ok(chain)
    }

    async fn request(&self, csr: &str, signer: &str, lifetime: Duration) -> Result<String, kube::Error> {
        let seconds = lifetime.max(SHORTEST).as_secs();
        let request = CertificateSigningRequest {
            metadata: ObjectMeta { generate_name: Some("csr-workload-".to_owned()), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(csr.as_bytes().to_vec()),
                signer_name: signer.to_owned(),
                usages: Some(
                    ["digital signature", "key encipherment", "server auth", "client auth"]
                        .map(str::to_owned)
                        .into(),
                ),
                expiration_seconds: i32::try_from(seconds).ok(),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        };
        let made = self.requests.create(&PostParams::default(), &request).await?;
        Ok(made.metadata.name.unwrap_or_default())
    }

    async fn approve_and_wait(&self, name: &str) -> Result<String, String> {
        let approval = json!({"status": {"conditions": [{
            "type": "Approved", "status": "True", "reason": "RequestedByWorkload",
            "message": "The workload proved its identity to the mesh",
        }]}});
        let parameters = PatchParams::default();
        let approved = self.requests.patch_approval(name, &parameters, &Patch::Merge(approval)).await;
        approved.map_err(|error| format!("CertificateSigningRequest {name} cannot be approved: {error}"))?;
        let requests = lateen_watch::all::<CertificateSigningRequest>(self.requests.clone().into_client());
        let mut states = lateen_watch::object::<CertificateSigningRequest>(requests, name);
        while let Some(state) = states.next().await {
            let Ok(Some(request)) = state else { continue };
            let Some(status) = request.status else { continue };
            if let Some(certificate) = status.certificate.filter(|certificate| !certificate.0.is_empty()) {
                return String::from_utf8(certificate.0).map_err(|_| "the certificate is no PEM".to_owned());
            }
            let refused =
                status.conditions.iter().flatten().find(|c| matches!(&*c.type_, "Denied" | "Failed"));
            if let Some(condition) = refused {
                let message = condition.message.as_deref().unwrap_or_default();
                return Err(format!("the signer refuses ({}): {message}", condition.type_));
            }
        }
        Err("the request is gone".to_owned())
    }
}

/// A signer signs what the CSR says; it must be what the caller is.
fn check(signed: &str, wanted: &[SpiffeId]) -> Result<(), String> {
    let bundle = TrustBundle::from_pem(signed).map_err(|e| e.to_string())?;
    let Some(leaf) = bundle.certificates().first() else { return Err("there is no certificate".to_owned()) };
    let named = identities(leaf);
    if named.is_empty() || !named.iter().all(|id| wanted.contains(id)) {
        return Err("the signer's certificate is not for the caller".to_owned());
    }
    Ok(())
}
