//! The server's own certificates: one authority, kept over restarts, which signs the server's certificate and the
//! administrator's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lateen_identity::{Authority, IdentityError, Leaf, LeafRequest};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Authority, server and administrator.
pub struct Pki {
    authority: Authority,
    server: Leaf,
    admin: Leaf,
}

impl Pki {
    /// Reads the authority from a directory, or makes it; signs a server certificate for the names.
    ///
    /// # Errors
    /// When a file cannot be used or holds no certificate.
    pub fn open(directory: Option<&Path>, names: &[String]) -> Result<Self, PkiError> {
        let authority = match directory {
            None => Authority::create("lateen", 10 * YEAR)?,
            Some(directory) => load_authority(directory)?,
        };
        let server = authority.issue(&LeafRequest::server(names.iter().map(String::as_str), YEAR))?;
        let admin = authority.issue(&LeafRequest::client("admin", "system:masters", YEAR))?;
        Ok(Self { authority, server, admin })
    }

    /// The certificate that clients must trust.
    pub fn ca_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// TLS for the listeners: client certificates are asked for, not required.
    ///
    /// # Errors
    /// When TLS refuses the certificates.
    pub fn server_config(&self) -> Result<rustls::ServerConfig, PkiError> {
        Ok(self.server.server_config(&["h2", "http/1.1"], Some(self.authority.roots()?))?)
    }

    /// A kubeconfig for the administrator.
    pub fn kubeconfig(&self, url: &str, name: &str) -> String {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let (ca, cert, key) =
            (encode(self.ca_pem()), encode(self.admin.chain_pem()), encode(self.admin.key_pem()));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\nclusters:\n- name: {name}\n  cluster:\n    \
             server: {url}\n    certificate-authority-data: {ca}\ncontexts:\n- name: {name}\n  context:\n    \
             cluster: {name}\n    user: admin\nusers:\n- name: admin\n  user:\n    client-certificate-data: {cert}\n    \
             client-key-data: {key}\n"
        )
    }
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> PkiError + use<> {
    let path = path.display().to_string();
    move |source| PkiError::File { path, source }
}

fn load_authority(directory: &Path) -> Result<Authority, PkiError> {
    let (certificate, key) = (directory.join("ca.crt"), directory.join("ca.key"));
    if certificate.exists() && key.exists() {
        let certificate = std::fs::read_to_string(&certificate).map_err(file_error(&certificate))?;
        let key = std::fs::read_to_string(&key).map_err(file_error(&key))?;
        return Ok(Authority::from_pem(&certificate, &key)?);
    }
    let authority = Authority::create("lateen", 10 * YEAR)?;
    write_private(&key, authority.key_pem().as_bytes())?;
    write_private(&certificate, authority.certificate_pem().as_bytes())?;
    Ok(authority)
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// When the system refuses.
pub fn write_private(path: &PathBuf, content: &[u8]) -> Result<(), PkiError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content)).map_err(file_error(path))
}
