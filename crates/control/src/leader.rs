//! One of several control planes writes, the others wait: a Lease of Kubernetes says which.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a holder that is not heard of keeps the lease. The times are those of client-go's controllers.
const LEASE: Duration = Duration::from_secs(15);
/// How long a leader that cannot renew goes on before it steps down: less than [`LEASE`], so that there are never two.
const RENEW: Duration = Duration::from_secs(10);
/// Time between attempts.
const RETRY: Duration = Duration::from_secs(2);

/// Takes part in the election that a Lease stands for.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    namespace: String,
    name: String,
    identity: String,
}

/// What is to be done about the lease.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is ours: say that we are there.
    Renew,
    /// Nobody holds it, or its holder was not heard of for too long.
    Take,
    /// Somebody else holds it.
    Wait,
}

impl Election {
    /// The election of that name in a namespace. `identity` tells the candidates apart: the pod's name.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Election {
        Election {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Stands for election until `shutdown`, and tells whether it leads. At the end the lease is given back, so that
    /// another takes over at once.
    pub async fn run(self, leads: watch::Sender<bool>, shutdown: CancellationToken) {
        let mut renewed = tokio::time::Instant::now();
        loop {
            match self.attempt().await {
                Ok(true) => {
                    renewed = tokio::time::Instant::now();
                    if !leads.send_replace(true) {
                        tracing::info!(lease = self.name, "this control plane leads");
                    }
                }
                Ok(false) => self.step_down(&leads, "another control plane leads"),
                Err(error) => {
                    tracing::debug!(lease = self.name, %error, "cannot renew the lease");
                    if renewed.elapsed() > RENEW {
                        self.step_down(&leads, "the lease could not be renewed in time");
                    }
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        if leads.send_replace(false) {
            self.give_back().await;
        }
    }

    fn step_down(&self, leads: &watch::Sender<bool>, reason: &str) {
        if leads.send_replace(false) {
            tracing::warn!(lease = self.name, reason, "this control plane does not lead any more");
        }
    }

    /// One attempt; whether we hold the lease after it. The resource version lets only one of several win.
    async fn attempt(&self) -> kube::Result<bool> {
        let now = Timestamp::now();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(self.name.clone());
            lease.metadata.namespace = Some(self.namespace.clone());
            lease.spec = Some(self.held(None, now));
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.unwrap_or_default();
        let step = self.step(&spec, now);
        lease.spec = Some(match step {
            Step::Wait => return Ok(false),
            Step::Renew => LeaseSpec { renew_time: Some(MicroTime(now)), ..spec },
            Step::Take => self.held(Some(&spec), now),
        });
        won(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn step(&self, spec: &LeaseSpec, now: Timestamp) -> Step {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder == self.identity {
            return Step::Renew;
        }
        let seconds = spec.lease_duration_seconds.unwrap_or(0).max(0);
        let until =
            spec.renew_time.as_ref().map(|time| time.0 + SignedDuration::from_secs(i64::from(seconds)));
        match holder.is_empty() || until.is_none_or(|until| until < now) {
            true => Step::Take,
            false => Step::Wait,
        }
    }

    fn held(&self, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(
                before.map_or(0, |spec| spec.lease_transitions.unwrap_or(0).saturating_add(1)),
            ),
            ..LeaseSpec::default()
        }
    }

    async fn give_back(&self) {
        if let Ok(Err(error)) = tokio::time::timeout(RETRY, self.release()).await {
            tracing::debug!(lease = self.name, %error, "cannot give the lease back");
        }
    }

    async fn release(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&*self.identity) {
            spec.holder_identity = None;
            self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

/// Does the work of a leader while this control plane leads: starts it when it is elected, drops it when it steps down.
pub async fn while_leading<W: Future>(mut leads: watch::Receiver<bool>, work: impl Fn() -> W) {
    loop {
        // The election's end is the process's end.
        if leads.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        tokio::select! {
            _ = work() => {}
            _ = leads.wait_for(|leads| !leads) => {}
        }
    }
}

/// A conflict means that another was faster.
fn won<T>(outcome: kube::Result<T>) -> kube::Result<bool> {
    match outcome {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API with one Lease, which refuses writes to an old version of it.
    fn api(lease: Arc<Mutex<Option<Value>>>) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let lease = Arc::clone(&lease);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let mut kept = lease.lock().unwrap();
                let (status, answer) = match (parts.method.as_str(), kept.as_ref()) {
                    ("GET", Some(lease)) => (200, lease.clone()),
                    ("GET", None) => (404, json!({ "status": "Failure", "code": 404, "reason": "NotFound" })),
                    (_, before) => {
                        let mut new: Value = serde_json::from_slice(&body).unwrap();
                        let version = |value: &Value| value["metadata"]["resourceVersion"].clone();
                        let current = before.map_or(Value::Null, version);
                        if version(&new) == current {
                            let next = current.as_str().map_or(1, |v| v.parse::<u32>().unwrap() + 1);
                            new["metadata"]["resourceVersion"] = json!(next.to_string());
                            *kept = Some(new.clone());
                            (200, new)
                        } else {
                            (409, json!({ "status": "Failure", "code": 409, "reason": "Conflict" }))
                        }
                    }
                };
                let answer = serde_json::to_vec(&answer).unwrap();
                Ok::<_, std::convert::Infallible>(
                    Response::builder().status(status).body(Body::from(answer)).unwrap(),
                )
            }
        });
        Client::new(service, "default")
    }

    fn candidate(lease: &Arc<Mutex<Option<Value>>>, name: &str) -> Election {
        Election::new(api(Arc::clone(lease)), "istio-system", "istio-leader", name)
    }

    #[tokio::test]
    async fn one_leads_and_the_next_takes_over_what_is_given_back_or_left() {
        let lease = Arc::default();
        let (first, second) = (candidate(&lease, "a"), candidate(&lease, "b"));
        assert!(first.attempt().await.unwrap());
        assert!(!second.attempt().await.unwrap());
        assert!(first.attempt().await.unwrap(), "a leader renews");
        first.give_back().await;
        assert!(second.attempt().await.unwrap());
        // A leader that is not heard of any more loses the lease when its time is over.
        lease.lock().unwrap().as_mut().unwrap()["spec"]["renewTime"] = json!("2020-01-01T00:00:00.000000Z");
        assert!(first.attempt().await.unwrap());
        assert!(!second.attempt().await.unwrap());
        assert_eq!(lease.lock().unwrap().as_ref().unwrap()["spec"]["leaseTransitions"], 2);
    }

    #[tokio::test]
    async fn a_leader_that_ends_gives_the_lease_back_at_once() {
        let lease = Arc::default();
        let (sender, mut leads) = watch::channel(false);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(candidate(&lease, "a").run(sender, shutdown.clone()));
        leads.wait_for(|leads| *leads).await.unwrap();
        shutdown.cancel();
        running.await.unwrap();
        assert!(candidate(&lease, "b").attempt().await.unwrap());
    }
}
