use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use lateen_identity::SpiffeId;
use tokio::sync::Semaphore;

use super::{AuthError, Caller, Pod, Proof};
use crate::ca::TrustDomains;

/// Questions to the Kubernetes API at a time: whoever floods us with tokens must not flood the API.
const AT_ONCE: usize = 32;

/// How long the Kubernetes API may take.
const LIMIT: Duration = Duration::from_secs(10);

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Service account tokens, as the Kubernetes API judges them (TokenReview).
pub struct TokenReviews {
    api: Api<TokenReview>,
    audiences: Vec<String>,
    trust_domains: TrustDomains,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for TokenReviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenReviews").field("audiences", &self.audiences).finish_non_exhaustive()
    }
}

impl TokenReviews {
    /// Accepts tokens that are meant for one of the audiences (`istio-ca`).
    pub fn new(client: Client, audiences: Vec<String>, trust_domains: TrustDomains) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        TokenReviews { api: Api::all(client), audiences, trust_domains, places }
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// When the API does not know it, it is meant for somebody else, or it is not a service account's.
    pub async fn review(&self, token: &str) -> Result<Caller, AuthError> {
        let unavailable = |error: &dyn std::fmt::Display| AuthError::Unavailable(error.to_string());
        let _place = self.places.acquire().await.map_err(|e| unavailable(&e))?;
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(self.audiences.clone()) },
            ..TokenReview::default()
        };
        let parameters = PostParams::default();
        let answer = tokio::time::timeout(LIMIT, self.api.create(&parameters, &review))
            .await
            .map_err(|_| unavailable(&"the Kubernetes API takes too long"))?
            .map_err(|e| unavailable(&e))?;
        let status = answer.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            let reason = status.error.unwrap_or_else(|| "the Kubernetes API does not know it".to_owned());
            return Err(AuthError::Token(reason));
        }
        // An API that does not know audiences answers without any: then nobody has checked them.
        let audiences = status.audiences.unwrap_or_default();
        if !audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(AuthError::Token(format!("it is not meant for {}", self.audiences.join(" or "))));
        }
        caller(&self.trust_domains.own(), &status.user.unwrap_or_default())
    }
}

/// The service account behind a user name (`system:serviceaccount:NAMESPACE:NAME`), and its pod.
fn caller(trust_domain: &str, user: &UserInfo) -> Result<Caller, AuthError> {
    let name = user.username.as_deref().unwrap_or_default();
    let parts: Vec<&str> = name.split(':').collect();
    let ["system", "serviceaccount", namespace, account] = parts[..] else {
        return Err(AuthError::Token(format!("{name:?} is not a service account")));
    };
    let identity =
        SpiffeId::new(trust_domain, namespace, account).map_err(|e| AuthError::Token(e.to_string()))?;
    let extra = |key: &str| user.extra.as_ref()?.get(key)?.first().cloned();
    let pod = extra(POD_NAME).zip(extra(POD_UID)).map(|(name, uid)| Pod {
        namespace: namespace.to_owned(),
        name,
        uid,
        service_account: account.to_owned(),
    });
    Ok(Caller { identities: vec![identity], proof: Proof::KubernetesToken, pod })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserInfo {
        let extra =
            [(POD_NAME.to_owned(), vec!["web-1".to_owned()]), (POD_UID.to_owned(), vec!["u".to_owned()])];
        UserInfo { username: Some(name.into()), extra: Some(extra.into()), ..UserInfo::default() }
    }

    #[test]
    fn a_service_account_is_an_identity() {
        let caller = caller("cluster.local", &user("system:serviceaccount:shop:web")).unwrap();
        assert_eq!(caller.identities[0].to_string(), "spiffe://cluster.local/ns/shop/sa/web");
        assert_eq!(caller.pod.unwrap().name, "web-1");
    }

    #[test]
    fn people_and_nodes_are_not() {
        for name in ["admin", "system:node:n", "system:serviceaccount:a", "system:serviceaccount:a:b:c", ""] {
            assert!(caller("cluster.local", &user(name)).is_err(), "{name}");
        }
    }
}
