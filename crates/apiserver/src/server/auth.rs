//! Who asks: client certificates and service-account tokens.

use http::HeaderMap;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::FromDer as _;

use crate::context::Context;
use crate::object;
use crate::status::{ApiError, Result};
use crate::tokens::{Claims, ISSUER};

/// A user as Kubernetes sees one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Unique id; service accounts have one.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    /// Someone who did not say who they are.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    /// The server itself, for what it does unasked.
    pub fn system() -> Self {
        Self { name: "system:apiserver".into(), uid: String::new(), groups: vec!["system:masters".into()] }
    }

    /// The user that a service account's token stands for.
    pub fn service_account(claims: &Claims) -> Self {
        Self {
            name: format!("system:serviceaccount:{}:{}", claims.namespace, claims.name),
            uid: claims.uid.clone(),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{}", claims.namespace),
                "system:authenticated".into(),
            ],
        }
    }
}

/// The user of a client certificate that TLS has verified: common name and organizations.
pub fn from_certificate(chain: Option<&[CertificateDer<'_>]>) -> Option<User> {
    let leaf = chain?.first()?;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(leaf).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned);
    let groups = groups.chain(["system:authenticated".to_owned()]).collect();
    Some(User { name, uid: String::new(), groups })
}

/// Finds out who asks.
///
/// # Errors
/// 401 for a token that is not valid.
pub fn authenticate(context: &Context, peer: Option<User>, headers: &HeaderMap) -> Result<User> {
    if let Some(user) = peer {
        return Ok(user);
    }
    let Some(header) = headers.get(http::header::AUTHORIZATION) else {
        return Ok(User::anonymous());
    };
    let token =
        header.to_str().ok().and_then(|h| h.strip_prefix("Bearer ").or_else(|| h.strip_prefix("bearer ")));
    let claims = token.and_then(|t| token_claims(context, t.trim())).ok_or_else(ApiError::unauthorized)?;
    // A token for somebody else proves nothing here.
    let ours = claims.audiences.iter().any(|a| a == ISSUER);
    if ours { Ok(User::service_account(&claims)) } else { Err(ApiError::unauthorized()) }
}

/// What a valid token says, whose service account (and pod) still exists.
pub fn token_claims(context: &Context, token: &str) -> Option<Claims> {
    let claims = context.tokens.verify(token)?;
    let account = context.get("/serviceaccounts", &claims.namespace, &claims.name)?;
    let pod_lives = claims.pod.as_ref().is_none_or(|(name, uid)| {
        let pod = context.get("/pods", &claims.namespace, name);
        pod.is_some_and(|pod| object::meta(&pod, "uid") == uid)
    });
    (object::meta(&account, "uid") == claims.uid && pod_lives).then_some(claims)
}
