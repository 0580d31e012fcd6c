use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use lateen_xds::pb::envoy::config::core::v3::DataSource;
use lateen_xds::pb::envoy::config::core::v3::data_source::Specifier;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};
use lateen_xds::server::Resources;
use lateen_xds::{Encoded, TypeUrl};
use tokio::sync::{Notify, watch};

/// Name of the workload's certificate and key (Istio's).
pub const CERTIFICATE: &str = "default";
/// Name of what the workload trusts.
pub const ROOTS: &str = "ROOTCA";

/// Names of files that may be asked for: a proxy has a handful.
const MAX_FILES: usize = 256;

/// The secrets that there are. Whoever follows them sees each change.
#[derive(Debug)]
pub struct Secrets {
    now: watch::Sender<Snapshot>,
    files: Mutex<BTreeSet<String>>,
    /// Told when a file is asked for.
    pub asked: Notify,
    expiry: AtomicU64,
}

/// All secrets at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts changes.
    pub number: u64,
    secrets: Arc<BTreeMap<Arc<str>, Arc<Encoded>>>,
}

impl Secrets {
    /// None yet.
    pub fn new() -> Arc<Secrets> {
        Arc::new(Secrets {
            now: watch::Sender::new(Snapshot::default()),
            files: Mutex::default(),
            asked: Notify::new(),
            expiry: AtomicU64::new(0),
        })
    }

    /// Follows the secrets.
    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.now.subscribe()
    }

    /// Replaces a certificate and its key.
    pub fn set_certificate(&self, name: &str, chain: &str, key: &str) {
        let certificate = TlsCertificate {
            certificate_chain: Some(inline(chain)),
            private_key: Some(inline(key)),
            ..TlsCertificate::default()
        };
        self.set(name, Type::TlsCertificate(certificate));
        if name == CERTIFICATE
            && let Ok((_, end)) = lateen_identity::pem_validity(chain)
        {
            let seconds = end.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
            self.expiry.store(seconds, Relaxed);
        }
    }

    /// Replaces roots that are trusted.
    pub fn set_roots(&self, name: &str, pem: &str) {
        let context = CertificateValidationContext { trusted_ca: Some(inline(pem)), ..Default::default() };
        self.set(name, Type::ValidationContext(context));
    }

    fn set(&self, name: &str, value: Type) {
        let secret = Secret { name: name.to_owned(), r#type: Some(value) };
        let encoded = Arc::new(Encoded::new(TypeUrl::Secret, name, &secret));
        self.now.send_if_modified(|now| {
            if now.secrets.get(name).is_some_and(|old| old.version == encoded.version) {
                return false;
            }
            Arc::make_mut(&mut now.secrets).insert(name.into(), encoded);
            now.number += 1;
            true
        });
    }

    /// A proxy asks for a name: files are read from now on. Names beyond the bound are not.
    pub fn ask(&self, name: &str) {
        if !name.starts_with("file-") {
            return;
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() < MAX_FILES && files.insert(name.to_owned()) {
            self.asked.notify_one();
        }
    }

    /// The files that were asked for.
    pub fn files(&self) -> Vec<String> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// When the workload's certificate ends, in seconds since 1970.
    pub fn certificate_expiry(&self) -> Option<u64> {
        Some(self.expiry.load(Relaxed)).filter(|seconds| *seconds > 0)
    }
}

impl Snapshot {
    /// Whether there is a secret of that name.
    pub fn has(&self, name: &str) -> bool {
        self.secrets.contains_key(name)
    }
}

impl Resources for Snapshot {
    fn get(&self, type_url: TypeUrl, name: &str) -> Option<&Arc<Encoded>> {
        if type_url == TypeUrl::Secret { self.secrets.get(name) } else { None }
    }

    fn visit(&self, type_url: TypeUrl, prefix: &str, visitor: &mut dyn FnMut(&Arc<Encoded>)) {
        if type_url == TypeUrl::Secret {
            self.secrets.values().filter(|secret| secret.name.starts_with(prefix)).for_each(visitor);
        }
    }

    fn visit_changed(&self, old: &Self, type_url: TypeUrl, visitor: &mut dyn FnMut(&Arc<str>)) {
        if type_url != TypeUrl::Secret {
            return;
        }
        let changed = |(name, secret): &(&Arc<str>, &Arc<Encoded>)| {
            old.secrets.get(*name).is_none_or(|old| old.version != secret.version)
        };
        // Secrets change, but never go.
        self.secrets.iter().filter(changed).for_each(|(name, _)| visitor(name));
    }
}

fn inline(text: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(text.as_bytes().to_vec())), ..DataSource::default() }
}
