//! Certificates that somebody else keeps in files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lateen_identity::TrustBundle;

use super::notify::Watch;
use super::secrets::{CERTIFICATE, Secrets};
use super::trust::Trust;

/// A file that is larger holds no certificates.
const MAX_FILE: u64 = 1 << 20;

/// Reads a file of bounded size.
pub(super) fn read(path: &Path) -> Result<String> {
    let shown = || path.display().to_string();
    let file = File::open(path).with_context(shown)?;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).with_context(shown)?;
    if text.len() as u64 > MAX_FILE {
        bail!("{}: the file has more than {MAX_FILE} bytes", path.display());
    }
    Ok(text)
}

/// What a name of a secret means, as Istio's agent reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    /// `file-cert:CHAIN~KEY`.
    Certificate { chain: PathBuf, key: PathBuf },
    /// `file-root:PATH`.
    Roots(PathBuf),
}

impl Named {
    fn parse(name: &str) -> Option<Named> {
        if let Some(path) = name.strip_prefix("file-root:") {
            return (!path.is_empty()).then(|| Named::Roots(path.into()));
        }
        let (chain, key) = name.strip_prefix("file-cert:")?.split_once('~')?;
        let whole = !chain.is_empty() && !key.is_empty();
        whole.then(|| Named::Certificate { chain: chain.into(), key: key.into() })
    }

    fn paths(&self) -> Vec<&Path> {
        match self {
            Named::Certificate { chain, key } => vec![chain, key],
            Named::Roots(path) => vec![path],
        }
    }

    /// Reads the files and, if they are whole, publishes them under `name`.
    fn publish(&self, name: &str, secrets: &Secrets) -> Result<()> {
        match self {
            Named::Certificate { chain, key } => {
                let (chain, key) = pair(chain, key)?;
                secrets.set_certificate(name, &chain, &key);
            }
            Named::Roots(path) => {
                let text = read(path)?;
                TrustBundle::from_pem(&text).with_context(|| path.display().to_string())?;
                secrets.set_roots(name, &text);
            }
        }
        Ok(())
    }
}

/// A chain and its key. While one of two files is replaced they do not match: then neither is taken.
fn pair(chain: &Path, key: &Path) -> Result<(String, String)> {
    let (chain_text, key_text) = (read(chain)?, read(key)?);
    let shown = || format!("{} and {}", chain.display(), key.display());
    if !lateen_identity::matches(&chain_text, &key_text).with_context(shown)? {
        bail!("{}: the private key does not belong to the certificate", shown());
    }
    Ok((chain_text, key_text))
}

/// Says each thing once.
#[derive(Default)]
struct Complaints(BTreeMap<String, String>);

impl Complaints {
    fn note(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => drop(self.0.remove(name)),
            Err(error) => {
                let error = format!("{error:#}");
                if self.0.get(name) != Some(&error) {
                    tracing::warn!(secret = name, error, "files cannot be used; what was there before stays");
                    self.0.insert(name.to_owned(), error);
                }
            }
        }
    }
}

/// Serves the files that the proxy asks for, and each of their changes, for ever.
pub(super) async fn wanted(secrets: Arc<Secrets>) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut named: Vec<(String, Named)> = Vec::new();
    let mut complaints = Complaints::default();
    let mut watch = Watch::new([]);
    loop {
        for name in secrets.files() {
            if !known.insert(name.clone()) {
                continue;
            }
            match Named::parse(&name) {
                Some(files) => {
                    files.paths().into_iter().for_each(|path| watch.add(path));
                    named.push((name, files));
                }
                None => tracing::warn!(
                    secret = name,
                    "no file: write file-cert:CERTIFICATE~KEY or file-root:CERTIFICATES"
                ),
            }
        }
        for (name, files) in &named {
            complaints.note(name, files.publish(name, &secrets));
        }
        tokio::select! {
            () = secrets.asked.notified() => {}
            () = watch.changed(), if !named.is_empty() => {}
        }
    }
}

/// Serves the workload's own certificate out of a directory, and each of its changes, for ever.
pub(super) async fn workload(directory: PathBuf, secrets: Arc<Secrets>, trust: Arc<Trust>) {
    let [chain, key, root] = ["cert-chain.pem", "key.pem", "root-cert.pem"].map(|f| directory.join(f));
    let mut watch = Watch::new([chain.as_path(), key.as_path(), root.as_path()]);
    let mut complaints = Complaints::default();
    loop {
        let certificate = pair(&chain, &key).map(|(chain, key)| {
            secrets.set_certificate(CERTIFICATE, &chain, &key);
        });
        complaints.note(CERTIFICATE, certificate);
        let roots = read(&root).and_then(|text| {
            let bundle = TrustBundle::from_pem(&text).with_context(|| root.display().to_string())?;
            trust.issued(bundle);
            Ok(())
        });
        complaints.note(super::secrets::ROOTS, roots);
        watch.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_istios() {
        let certificate = Named::Certificate { chain: "/a/c.pem".into(), key: "/a/k.pem".into() };
        assert_eq!(Named::parse("file-cert:/a/c.pem~/a/k.pem"), Some(certificate));
        assert_eq!(Named::parse("file-root:/a/r.pem"), Some(Named::Roots("/a/r.pem".into())));
        for bad in ["file-cert:/a/c.pem", "file-cert:~/k", "file-root:", "default", "file-x:/a"] {
            assert_eq!(Named::parse(bad), None, "{bad}");
        }
    }
}
