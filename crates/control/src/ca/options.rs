use std::time::Duration;

use lateen_identity::{KeyKind, Lifetimes};

use super::ExternalOptions;
use crate::EnvironmentError;
use crate::auth::OidcOptions;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How the authority works.
#[derive(Clone, Debug)]
pub struct CaOptions {
    /// Where its Secrets are.
    pub namespace: String,
    /// How long certificates of workloads live (`DEFAULT_WORKLOAD_CERT_TTL`, `MAX_WORKLOAD_CERT_TTL`).
    pub lifetimes: Lifetimes,
    /// Key of a self-signed root (`CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE` for RSA).
    pub key: KeyKind,
    /// How long a self-signed root lives (`CITADEL_SELF_SIGNED_CA_CERT_TTL`).
    pub root_lifetime: Duration,
    /// The part of that life at whose beginning the root is renewed
    /// (`CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE`).
    pub root_grace: f64,
    /// How long a new root is only made known before it signs (`LATEEN_ROOT_PROPAGATION`): at least as long as
    /// kubelets take to refresh a ConfigMap in a pod.
    pub propagation: Duration,
    /// Audiences of tokens that prove a workload (`TOKEN_AUDIENCES`).
    pub audiences: Vec<String>,
    /// Service accounts (namespace, name) of node proxies, which may ask for the pods of their node
    /// (`CA_TRUSTED_NODE_ACCOUNTS`).
    pub trusted_nodes: Vec<(String, String)>,
    /// An issuer of tokens outside of Kubernetes (`JWT_RULE`).
    pub oidc: Option<OidcOptions>,
    /// Signers outside (`EXTERNAL_CA=ISTIOD_RA_KUBERNETES_API`).
    pub external: Option<ExternalOptions>,
}

impl Default for CaOptions {
    /// Istio's defaults.
    fn default() -> Self {
        CaOptions {
            namespace: "istio-system".to_owned(),
            lifetimes: Lifetimes::default(),
            key: KeyKind::P256,
            root_lifetime: 3650 * DAY,
            root_grace: 0.2,
            propagation: Duration::from_secs(120),
            audiences: vec!["istio-ca".to_owned()],
            trusted_nodes: Vec::new(),
            oidc: None,
            external: None,
        }
    }
}

impl CaOptions {
    /// The defaults, overlaid by the environment's variables (named at the fields).
    ///
    /// # Errors
    /// When a variable has a value that cannot be used.
    pub fn from_environment(
        namespace: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, EnvironmentError> {
        let mut options = CaOptions { namespace: namespace.to_owned(), ..CaOptions::default() };
        let duration = |name: &'static str, place: &mut Duration| match variable(name) {
            None => Ok(()),
            Some(value) => match value.parse::<lateen_api::Duration>().map(lateen_api::Duration::to_std) {
                Ok(parsed) if !parsed.is_zero() => {
                    *place = parsed;
                    Ok(())
                }
                _ => Err(EnvironmentError { name, value, reason: "must be a duration like 24h or 30s" }),
            },
        };
        duration("DEFAULT_WORKLOAD_CERT_TTL", &mut options.lifetimes.default)?;
        duration("MAX_WORKLOAD_CERT_TTL", &mut options.lifetimes.longest)?;
        duration("CITADEL_SELF_SIGNED_CA_CERT_TTL", &mut options.root_lifetime)?;
        duration("LATEEN_ROOT_PROPAGATION", &mut options.propagation)?;
        if let Some(value) = variable("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE") {
            let name = "CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE";
            let kind = value.parse().ok().and_then(KeyKind::rsa);
            let reason = "must be 2048, 3072 or 4096";
            options.key = kind.ok_or(EnvironmentError { name, value, reason })?;
        }
        if let Some(value) = variable("CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE") {
            let name = "CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE";
            let percent = value.parse::<u8>().ok().filter(|percent| *percent < 100);
            let reason = "must be a number from 0 to 99";
            options.root_grace = f64::from(percent.ok_or(EnvironmentError { name, value, reason })?) / 100.0;
        }
        if let Some(value) = variable("TOKEN_AUDIENCES") {
            options.audiences = list(&value).map(str::to_owned).collect();
        }
        if let Some(value) = variable("CA_TRUSTED_NODE_ACCOUNTS") {
            let account =
                |text: &str| text.split_once('/').map(|(ns, name)| (ns.to_owned(), name.to_owned()));
            let accounts: Option<Vec<_>> = list(&value).map(account).collect();
            let name = "CA_TRUSTED_NODE_ACCOUNTS";
            let reason = "must be a list of NAMESPACE/SERVICE-ACCOUNT, separated by commas";
            options.trusted_nodes = accounts.ok_or(EnvironmentError { name, value, reason })?;
        }
        if let Some(value) = variable("JWT_RULE") {
            let (name, reason) =
                ("JWT_RULE", "must be a JWTRule as JSON: issuer, audiences, jwksUri or jwks");
            let rule = serde_json::from_str(&value).ok();
            options.oidc = Some(rule.ok_or(EnvironmentError { name, value, reason })?);
        }
        options.external = match variable("EXTERNAL_CA") {
            None => None,
            Some(value) if value == "ISTIOD_RA_KUBERNETES_API" => Some(ExternalOptions {
                signer: variable("K8S_SIGNER"),
                domain: variable("CERT_SIGNER_DOMAIN"),
            }),
            Some(value) => {
                let (name, reason) = ("EXTERNAL_CA", "must be ISTIOD_RA_KUBERNETES_API");
                return Err(EnvironmentError { name, value, reason });
            }
        };
        Ok(options)
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<CaOptions, EnvironmentError> {
        CaOptions::from_environment("istio-system", |name| {
            pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn istios_variables_are_understood() {
        let options = from(&[
            ("DEFAULT_WORKLOAD_CERT_TTL", "30s"),
            ("MAX_WORKLOAD_CERT_TTL", "48h"),
            ("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE", "4096"),
            ("TOKEN_AUDIENCES", "istio-ca, other"),
            ("CA_TRUSTED_NODE_ACCOUNTS", "istio-system/ztunnel,kube-system/ztunnel"),
            ("JWT_RULE", "{\"issuer\":\"https://a.example\",\"audiences\":[\"istio-ca\"],\"jwks_uri\":\"https://a.example/k\"}"),
        ])
        .unwrap();
        assert_eq!(options.lifetimes.default, Duration::from_secs(30));
        assert_eq!(options.lifetimes.longest, Duration::from_secs(48 * 3600));
        assert_eq!(options.key, KeyKind::Rsa4096);
        assert_eq!(options.audiences, ["istio-ca", "other"]);
        assert_eq!(options.trusted_nodes.len(), 2);
        assert_eq!(options.oidc.unwrap().jwks_uri.as_deref(), Some("https://a.example/k"));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value) in [
            ("DEFAULT_WORKLOAD_CERT_TTL", "soon"),
            ("MAX_WORKLOAD_CERT_TTL", "0s"),
            ("CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE", "1024"),
            ("CA_TRUSTED_NODE_ACCOUNTS", "ztunnel"),
            ("EXTERNAL_CA", "somebody"),
            ("JWT_RULE", "{}"),
        ] {
            let error = from(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
