use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lateen_identity::{KeyKind, SpiffeId};

/// The socket on which the proxy asks for secrets, relative to the working directory as in Istio's agent.
pub const SDS_SOCKET: &str = "./var/run/secrets/workload-spiffe-uds/socket";
/// The socket on which the proxy speaks to the control plane.
pub const XDS_SOCKET: &str = "./etc/istio/proxy/XDS";

const TOKEN: &str = "./var/run/secrets/tokens/istio-token";
const ROOT: &str = "./var/run/secrets/istio/root-cert.pem";
const MOUNTED: &str = "./etc/certs";
const PROVIDED: &str = "./var/run/secrets/workload-spiffe-credentials";

/// Where the workload's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The certificate authority: a key is made here, and certified there.
    Authority,
    /// Files that somebody else keeps: `cert-chain.pem`, `key.pem` and `root-cert.pem` in a directory.
    Files(PathBuf),
}

/// What the pod's environment says about the workload's identity. The variables are Istio's.
#[derive(Clone, Debug)]
pub struct SecurityOptions {
    /// Who the workload is (`TRUST_DOMAIN`, `POD_NAMESPACE`, `SERVICE_ACCOUNT`).
    pub identity: SpiffeId,
    /// `host:port` of the certificate authority (`CA_ADDR`).
    pub ca_address: String,
    /// `host:port` of the control plane. Port 15010 is spoken to in plaintext, and is told nothing secret.
    pub discovery_address: String,
    /// Where the certificate comes from.
    pub source: Source,
    /// What kind of key is made (`ECC_SIGNATURE_ALGORITHM`, `ECC_CURVE`, `WORKLOAD_RSA_KEY_SIZE`).
    pub key: KeyKind,
    /// The life that is asked for (`SECRET_TTL`); none for what the authority gives by itself.
    pub lifetime: Option<Duration>,
    /// The part of the life that is left when the next certificate is fetched (`SECRET_GRACE_PERIOD_RATIO`).
    pub grace: f64,
    /// How much that part varies up and down (`SECRET_GRACE_PERIOD_RATIO_JITTER`).
    pub grace_jitter: f64,
    /// The Kubernetes signer that is to sign (`ISTIO_META_CERT_SIGNER`).
    pub cert_signer: Option<String>,
    /// The token that proves the workload.
    pub token_file: PathBuf,
    /// What is trusted of the control plane (`CA_ROOT_CA`).
    pub root_file: PathBuf,
    /// Where key and certificate are also written (`OUTPUT_CERTS`).
    pub output: Option<PathBuf>,
    /// A certificate that proves the workload in the place of a token (`PROV_CERT`).
    pub provisioned: Option<PathBuf>,
    /// The cluster's name, which the control plane is told.
    pub cluster: String,
    /// Mark of outgoing sockets, see `Environment::socket_mark`.
    pub socket_mark: Option<u32>,
    /// Where secrets are served.
    pub sds_socket: PathBuf,
    /// Where the control plane is relayed.
    pub xds_socket: PathBuf,
}

impl SecurityOptions {
    /// Reads the pod's variables.
    ///
    /// # Errors
    /// Names the variable that cannot be used.
    pub fn read(variables: &BTreeMap<String, String>, discovery_address: &str) -> Result<SecurityOptions> {
        let get = |name: &str| variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let ratio = |name: &str, default: f64| match get(name) {
            None => Ok(default),
            Some(text) => match text.parse::<f64>() {
                Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
                _ => bail!("environment variable {name}={text:?} must be a number from 0 to 1"),
            },
        };
        let identity = SpiffeId::new(
            get("TRUST_DOMAIN").unwrap_or("cluster.local"),
            get("POD_NAMESPACE").unwrap_or("default"),
            get("SERVICE_ACCOUNT").unwrap_or("default"),
        );
        let lifetime = match get("SECRET_TTL") {
            None => None,
            Some(text) => Some(
                crate::environment::seconds(text)
                    .filter(|seconds| *seconds >= 1.0)
                    .map(Duration::from_secs_f64)
                    .with_context(|| format!("SECRET_TTL {text:?} must be a duration like 24h"))?,
            ),
        };
        let mark = get("LATEEN_SOCKET_MARK").map(|text| {
            text.parse().with_context(|| format!("LATEEN_SOCKET_MARK {text:?} must be a number"))
        });
        Ok(SecurityOptions {
            identity: identity.context("TRUST_DOMAIN, POD_NAMESPACE and SERVICE_ACCOUNT")?,
            ca_address: get("CA_ADDR").map_or_else(|| secure(discovery_address), str::to_owned),
            discovery_address: discovery_address.to_owned(),
            source: source(get("FILE_MOUNTED_CERTS")),
            key: key(get("ECC_SIGNATURE_ALGORITHM"), get("ECC_CURVE"), get("WORKLOAD_RSA_KEY_SIZE"))?,
            lifetime,
            grace: ratio("SECRET_GRACE_PERIOD_RATIO", 0.5)?,
            grace_jitter: ratio("SECRET_GRACE_PERIOD_RATIO_JITTER", 0.01)?,
            cert_signer: get("ISTIO_META_CERT_SIGNER").map(str::to_owned),
            token_file: TOKEN.into(),
            root_file: get("CA_ROOT_CA").unwrap_or(ROOT).into(),
            output: get("OUTPUT_CERTS").map(PathBuf::from),
            provisioned: get("PROV_CERT").map(PathBuf::from),
            cluster: get("ISTIO_META_CLUSTER_ID").unwrap_or("Kubernetes").to_owned(),
            socket_mark: mark.transpose()?,
            sds_socket: SDS_SOCKET.into(),
            xds_socket: XDS_SOCKET.into(),
        })
    }
}

/// The certificate authority of a control plane: the same host, on the secure port.
fn secure(discovery: &str) -> String {
    match discovery.strip_suffix(":15010") {
        Some(host) => format!("{host}:15012"),
        None => discovery.to_owned(),
    }
}

/// As in Istio's agent: what the platform provides goes first, then what the user mounts, then the authority.
fn source(file_mounted: Option<&str>) -> Source {
    let complete = |directory: &str| {
        let directory = Path::new(directory);
        ["cert-chain.pem", "key.pem", "root-cert.pem"].iter().all(|file| directory.join(file).exists())
    };
    if complete(PROVIDED) {
        Source::Files(PROVIDED.into())
    } else if file_mounted == Some("true") || complete(MOUNTED) {
        Source::Files(MOUNTED.into())
    } else {
        Source::Authority
    }
}

/// ECDSA P-256 unless RSA is asked for by its size.
fn key(algorithm: Option<&str>, curve: Option<&str>, rsa: Option<&str>) -> Result<KeyKind> {
    match (algorithm, rsa) {
        (Some("ECDSA"), _) | (None, None) => match curve {
            None | Some("P256") => Ok(KeyKind::P256),
            Some("P384") => Ok(KeyKind::P384),
            Some(other) => bail!("environment variable ECC_CURVE={other:?} must be P256 or P384"),
        },
        (Some(other), _) => bail!("environment variable ECC_SIGNATURE_ALGORITHM={other:?} must be ECDSA"),
        (None, Some(bits)) => bits
            .parse()
            .ok()
            .and_then(KeyKind::rsa)
            .with_context(|| format!("WORKLOAD_RSA_KEY_SIZE={bits:?} must be 2048, 3072 or 4096")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<SecurityOptions> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        SecurityOptions::read(&variables.collect(), "istiod.istio-system.svc:15010")
    }

    #[test]
    fn the_pods_variables_say_who_it_is() {
        let options = read(&[
            ("POD_NAMESPACE", "shop"),
            ("SERVICE_ACCOUNT", "web"),
            ("TRUST_DOMAIN", "example.org"),
            ("SECRET_TTL", "30s"),
            ("WORKLOAD_RSA_KEY_SIZE", "2048"),
        ])
        .unwrap();
        assert_eq!(options.identity.to_string(), "spiffe://example.org/ns/shop/sa/web");
        assert_eq!(options.ca_address, "istiod.istio-system.svc:15012");
        assert_eq!((options.key, options.lifetime), (KeyKind::Rsa2048, Some(Duration::from_secs(30))));
        assert_eq!(read(&[]).unwrap().key, KeyKind::P256);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value) in [
            ("SECRET_TTL", "soon"),
            ("SECRET_GRACE_PERIOD_RATIO", "2"),
            ("WORKLOAD_RSA_KEY_SIZE", "512"),
            ("ECC_SIGNATURE_ALGORITHM", "ED"),
            ("ECC_CURVE", "P1"),
            ("TRUST_DOMAIN", "Not A Domain"),
            ("LATEEN_SOCKET_MARK", "x"),
        ] {
            let error = format!("{:#}", read(&[(name, value)]).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
    }
}
