//! The authority's keys in the Kubernetes API: `cacerts` if there is one, else `istio-ca-secret`, which is made once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use lateen_identity::{Authority, IdentityError};
use serde_json::json;
use tokio::sync::watch;

use super::rotation::Rotation;
use super::{Authorities, CaOptions, MeshRoots, Standing, TrustDomains, history, objects};
use crate::metrics::Metrics;

/// The Secret of an authority that the operator plugs in.
const PLUGGED: &str = "cacerts";
/// The Secret of the authority that we make ourselves.
const SELF_SIGNED: &str = "istio-ca-secret";
const SECRET_TYPE: &str = "istio.io/ca-root";
const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
const CHAIN: &str = "cert-chain.pem";
const ROOTS: &str = "root-cert.pem";

/// Longest time between looks at the clock.
const LOOK: Duration = Duration::from_secs(3600);
/// Time between attempts to write what the API did not take.
const AGAIN: Duration = Duration::from_secs(1);

/// Octets of an Event's note (Kubernetes, `events.k8s.io/v1`: below 1 KiB).
const MAX_NOTE: usize = 1000;

/// Keeps the authority. Made by [`start`].
pub struct Keeper {
    secrets: Api<Secret>,
    /// Tells operators, beside the Secret that it is about, what is wrong.
    events: Recorder,
    options: CaOptions,
    trust_domains: TrustDomains,
    mesh_roots: MeshRoots,
    metrics: Arc<Metrics>,
    authorities: Authorities,
    publish: watch::Sender<Option<Arc<Standing>>>,
    rotation: Rotation,
    /// What the last complaint was about: each is reported once.
    complaint: String,
}

/// An authority that will be read from the Kubernetes API, and the task that keeps it.
pub fn start(
    client: Client,
    options: CaOptions,
    trust_domains: TrustDomains,
    mesh_roots: MeshRoots,
    metrics: Arc<Metrics>,
) -> (Authorities, Keeper) {
    let (publish, now) = watch::channel(None);
    let authorities = Authorities::new(now);
    let keeper = Keeper {
        events: Recorder::new(client.clone(), Reporter { controller: "istiod".to_owned(), instance: None }),
        secrets: Api::namespaced(client, &options.namespace),
        rotation: Rotation::new(options.propagation, Vec::new(), SystemTime::now()),
        options,
        trust_domains,
        mesh_roots,
        metrics,
        authorities: authorities.clone(),
        publish,
        complaint: String::new(),
    };
    (authorities, keeper)
}

/// What the API holds, as far as it is known.
#[derive(Default)]
struct Found {
    plugged: Option<Option<Secret>>,
    own: Option<Option<Secret>>,
    history: Option<Option<Secret>>,
}

impl Keeper {
    /// Follows the Secrets for ever. Outages of the API are waited out.
    pub async fn run(mut self) {
        let object = |name| {
            let client = self.secrets.clone().into_client();
            let secrets = lateen_watch::namespaced::<Secret>(client, &self.options.namespace);
            lateen_watch::object(secrets, name).map(move |found| (name, found))
        };
        let streams = [object(PLUGGED).boxed(), object(SELF_SIGNED).boxed(), object(history::NAME).boxed()];
        let mut events = futures::stream::select_all(streams);
        let mut found = Found::default();
        let mut more_roots = self.mesh_roots.subscribe();
        let mut resumed = false;
        let mut wait = LOOK;
        loop {
            tokio::select! {
                Some((name, event)) = events.next() => match event {
                    Ok(secret) => match name {
                        PLUGGED => found.plugged = Some(secret),
                        SELF_SIGNED => found.own = Some(secret),
                        _ => found.history = Some(secret),
                    },
                    Err(error) => {
                        self.complain(format!("Secret {name} cannot be watched: {error}"), None).await;
                        continue;
                    }
                },
                () = more_roots.next() => {}
                () = tokio::time::sleep(wait) => {}
            }
            let Found { plugged: Some(plugged), own: Some(own), history: Some(earlier) } = &found else {
                continue;
            };
            if !resumed {
                resumed = true;
                let issued = SystemTime::now() + self.options.lifetimes.default;
                let earlier = history::read(earlier.as_ref(), issued);
                self.rotation = Rotation::new(self.options.propagation, earlier, issued);
            }
            wait = match self.look(plugged.as_ref(), own.as_ref()).await {
                Ok(wait) => wait,
                Err(error) => {
                    self.complain(error, None).await;
                    AGAIN
                }
            };
        }
    }

    /// Says what is wrong, once: in the log, and as an Event of the Secret that it is about.
    async fn complain(&mut self, complaint: String, about: Option<(&Secret, &str)>) {
        if self.complaint == complaint {
            return;
        }
        tracing::error!("certificate authority: {complaint}");
        if let Some((secret, reason)) = about {
            let event = Event {
                type_: EventType::Warning,
                reason: reason.to_owned(),
                note: Some(complaint[..complaint.floor_char_boundary(MAX_NOTE)].to_owned()),
                action: "Load".to_owned(),
                secondary: None,
            };
            if let Err(error) = self.events.publish(&event, &secret.object_ref(&())).await {
                tracing::debug!(%error, "no Event about the certificate authority");
            }
        }
        self.complaint = complaint;
    }

    /// Brings the rotation up to date with the Secrets and the clock, and publishes it. Returns when to look again.
    async fn look(&mut self, plugged: Option<&Secret>, own: Option<&Secret>) -> Result<Duration, String> {
        let now = SystemTime::now();
        match (plugged, own) {
            (Some(secret), _) => match read_plugged(secret, now) {
                Ok(authority) => self.offer(authority, PLUGGED, now),
                Err(error) => self.complain(refusal(PLUGGED, &error), Some((secret, reason(&error)))).await,
            },
            (None, Some(secret)) => match read_own(secret) {
                Ok(authority) => {
                    let left = authority.not_after().duration_since(now).unwrap_or_default();
                    if left < self.options.root_lifetime.mul_f64(self.options.root_grace) {
                        return self.renew(&authority, now).await;
                    }
                    self.offer(authority, SELF_SIGNED, now);
                }
                Err(error) => {
                    self.complain(refusal(SELF_SIGNED, &error), Some((secret, reason(&error)))).await
                }
            },
            (None, None) => self.create(now).await?,
        }
        self.rotation.issued(self.authorities.issued_until());
        let next = self.rotation.step(now);
        self.publish().await?;
        let until = next.and_then(|at| at.duration_since(now).ok()).unwrap_or(LOOK);
        Ok(until.clamp(Duration::from_millis(50), LOOK))
    }

    fn offer(&mut self, authority: Authority, secret: &str, now: SystemTime) {
        let new = self.rotation.best().is_none_or(|best| !best.is_same(&authority));
        self.rotation.issued(self.authorities.issued_until());
        self.rotation.offer(Arc::new(authority), now);
        if new {
            let signs = self.rotation.best().map(|best| best.certificate().clone())
                == self.rotation.issuer().map(|issuer| issuer.certificate().clone());
            tracing::info!(
                secret,
                roots = self.rotation.trust().certificates().len(),
                signs_now = signs,
                "certificate authority read"
            );
        }
        self.complaint.clear();
    }

    /// Makes the self-signed authority; the watch brings it back.
    async fn create(&mut self, now: SystemTime) -> Result<(), String> {
        let organization = self.trust_domains.own();
        let CaOptions { key, root_lifetime, .. } = self.options;
        let made = tokio::task::spawn_blocking(move || {
            Authority::create_with(&organization, key, root_lifetime, now)
        });
        let authority = made.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let secret = own_secret(&authority, &self.options.namespace);
        let secret = serde_json::from_value(secret).map_err(|e| e.to_string())?;
        match self.secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => tracing::info!(secret = SELF_SIGNED, "self-signed certificate authority made"),
            // Another replica was faster: its authority comes with the watch.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(format!("Secret {SELF_SIGNED} cannot be created: {error}")),
        }
        Ok(())
    }

    /// Gives the self-signed root a longer life under the same key.
    async fn renew(&mut self, old: &Authority, now: SystemTime) -> Result<Duration, String> {
        let renewed = old
            .renewed(&self.trust_domains.own(), self.options.root_lifetime, now)
            .map_err(|e| format!("the root cannot be renewed: {e}"))?;
        let secret = own_secret(&renewed, &self.options.namespace);
        objects::keep(&self.secrets, SELF_SIGNED, &secret)
            .await
            .map_err(|e| format!("Secret {SELF_SIGNED} cannot be written: {e}"))?;
        tracing::info!(secret = SELF_SIGNED, "self-signed root renewed under the same key");
        self.offer(renewed, SELF_SIGNED, now);
        self.publish().await?;
        Ok(AGAIN)
    }

    async fn publish(&mut self) -> Result<(), String> {
        let Some(serving) = self.rotation.best().cloned() else { return Ok(()) };
        let mut trust = self.rotation.trust();
        trust.extend(&self.mesh_roots.all());
        let issuer = self.rotation.issuer().cloned();
        let changed = self.publish.borrow().as_ref().is_none_or(|last| {
            let same = |a: &Authority, b: &Authority| a.is_same(b);
            last.trust != trust || !same(&last.serving, &serving) || last.issuer.is_some() != issuer.is_some()
        });
        if !changed {
            return Ok(());
        }
        // Written down before anyone can rely on it.
        let secret = history::write(&self.rotation, &self.options.namespace);
        objects::keep(&self.secrets, history::NAME, &secret)
            .await
            .map_err(|e| format!("Secret {} cannot be written: {e}", history::NAME))?;
        self.metrics.ca.on_authority(&serving, &trust);
        let trust_pem = trust.to_pem().into();
        self.publish.send_replace(Some(Arc::new(Standing { issuer, serving, trust, trust_pem })));
        Ok(())
    }
}

/// An Event's reason. Events of one reason are counted together, whatever they say.
fn reason(error: &IdentityError) -> &'static str {
    match error {
        IdentityError::KeyMismatch => "KeyOfAnotherCertificate",
        IdentityError::Chain { .. } => "NoChainToRoot",
        IdentityError::Time { .. } => "NotValidNow",
        IdentityError::NotAuthority => "NoAuthority",
        _ => "NotUsable",
    }
}

fn refusal(secret: &str, error: &IdentityError) -> String {
    format!("Secret {secret} is refused, what was there before stays: {error}")
}

fn text(secret: &Secret, key: &'static str) -> Result<String, IdentityError> {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let bytes =
        data.ok_or_else(|| IdentityError::Pem { what: key, reason: format!("key {key} is missing") })?;
    String::from_utf8(bytes.0.clone())
        .map_err(|_| IdentityError::Pem { what: key, reason: "it is not text".to_owned() })
}

fn read_own(secret: &Secret) -> Result<Authority, IdentityError> {
    Authority::from_pem(&text(secret, CERTIFICATE)?, &text(secret, KEY)?)
}

fn read_plugged(secret: &Secret, now: SystemTime) -> Result<Authority, IdentityError> {
    let chain = text(secret, CHAIN).unwrap_or_default();
    Authority::plugged(&text(secret, CERTIFICATE)?, &text(secret, KEY)?, &chain, &text(secret, ROOTS)?, now)
}

fn own_secret(authority: &Authority, namespace: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE,
        "metadata": {"name": SELF_SIGNED, "namespace": namespace},
        "stringData": {
            CERTIFICATE: authority.certificate_pem(), KEY: authority.key_pem(),
            CHAIN: "", "key.pem": "", ROOTS: "",
        },
    })
}
