//! A Kubernetes API in memory: enough of the protocol for `kube` clients to list, watch and write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

type Reply = Response<BoxBody<Bytes, std::io::Error>>;

/// Where an object is: `apps/v1/deployments`, namespace, name.
type Place = (String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Place, Value>,
    log: Vec<(String, Value)>,
    version: u64,
}

#[derive(Clone)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

struct Target {
    resource: String,
    namespace: String,
    name: String,
    subresource: String,
}

impl Target {
    fn parse(path: &str) -> Self {
        let mut parts = path.trim_start_matches('/').split('/').map(str::to_owned).peekable();
        let mut next = || parts.next().unwrap_or_default();
        let group = if next() == "api" { next() } else { format!("{}/{}", next(), next()) };
        let (mut namespace, mut plural) = (String::new(), next());
        if plural == "namespaces" {
            (namespace, plural) = (next(), next());
        }
        Self { resource: format!("{group}/{plural}"), namespace, name: next(), subresource: next() }
    }

    fn place(&self) -> Place {
        (self.resource.clone(), self.namespace.clone(), self.name.clone())
    }
}

impl FakeApi {
    pub fn new() -> Self {
        Self { state: Arc::default(), version: watch::Sender::new(0) }
    }

    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, std::io::Error>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// All objects of a resource, like `apps/v1/deployments`.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state
            .objects
            .iter()
            .filter(|(place, _)| place.0 == resource)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Waits until a condition holds; it is asked after each write.
    pub async fn until<T>(&self, what: &str, condition: impl Fn(&Self) -> Option<T>) -> T {
        let mut version = self.version.subscribe();
        let wait = async {
            loop {
                version.borrow_and_update();
                if let Some(value) = condition(self) {
                    return value;
                }
                version.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(10), wait).await {
            Ok(value) => value,
            Err(_) => panic!("waited in vain for {what}; {:#?}", self.state.lock().unwrap().objects.keys()),
        }
    }

    /// Changes every object of a resource in place.
    pub fn edit(&self, resource: &str, edit: impl Fn(&mut Value) -> bool) {
        for mut object in self.list(resource) {
            if edit(&mut object) {
                let text =
                    |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                let place = (resource.to_owned(), text("/metadata/namespace"), text("/metadata/name"));
                self.state.lock().unwrap().put(place, object, "MODIFIED");
            }
        }
        self.tell();
    }

    fn tell(&self) {
        let version = self.state.lock().unwrap().version;
        self.version.send_replace(version);
    }

    async fn answer(&self, request: Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let target = Target::parse(parts.uri.path());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        if parts.method == Method::GET && query.contains("watch=true") {
            return self.watch(target, &query);
        }
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let (code, answer) = self.state.lock().unwrap().act(&parts.method, &target, body);
        self.tell();
        let body = Full::new(Bytes::from(answer.to_string())).map_err(|never| match never {}).boxed();
        Response::builder().status(code).body(body).unwrap()
    }

    fn watch(&self, target: Target, query: &str) -> Reply {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")).unwrap_or("0");
        let from: u64 = from.parse().unwrap();
        let api = self.clone();
        let version = self.version.subscribe();
        let stream = futures::stream::unfold((from, version), move |(seen, mut version)| {
            let (api, resource) = (api.clone(), target.resource.clone());
            async move {
                loop {
                    version.borrow_and_update();
                    let (next, lines) = api.state.lock().unwrap().since(&resource, seen);
                    if !lines.is_empty() {
                        return Some((Ok(Frame::data(Bytes::from(lines))), (next, version)));
                    }
                    version.changed().await.ok()?;
                }
            }
        });
        Response::builder()
            .status(StatusCode::OK)
            .body(BodyExt::boxed(Sync(Box::pin(StreamBody::new(stream)))))
            .unwrap()
    }
}

/// A boxed body has to be `Sync`; this one is polled by one task alone.
struct Sync<B>(std::pin::Pin<Box<B>>);

impl<B: http_body::Body + Send> http_body::Body for Sync<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.0.as_mut().poll_frame(cx)
    }
}

impl State {
    fn put(&mut self, place: Place, mut object: Value, event: &str) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let (api_version, kind) = type_of(&place.0);
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        self.log.push((place.0.clone(), json!({ "type": event, "object": object })));
        if event == "DELETED" {
            self.objects.remove(&place);
        } else {
            self.objects.insert(place, object.clone());
        }
        object
    }

    fn since(&self, resource: &str, seen: u64) -> (u64, String) {
        let version = |event: &Value| -> u64 {
            event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
        };
        let fresh = self.log.iter().filter(|(kind, event)| kind == resource && version(event) > seen);
        (self.version, fresh.map(|(_, event)| format!("{event}\n")).collect())
    }

    fn act(&mut self, method: &Method, target: &Target, body: Value) -> (StatusCode, Value) {
        match *method {
            Method::GET if target.name.is_empty() => (StatusCode::OK, self.collection(target)),
            Method::POST => self.create(target, body),
            _ => {
                let Some(old) = self.objects.get(&target.place()).cloned() else {
                    return failure(StatusCode::NOT_FOUND, "NotFound");
                };
                match *method {
                    Method::PUT => self.replace(target, old, body),
                    Method::PATCH => {
                        let mut new = old;
                        json_patch::merge(&mut new, &body);
                        (StatusCode::OK, self.put(target.place(), new, "MODIFIED"))
                    }
                    Method::DELETE => (StatusCode::OK, self.put(target.place(), old, "DELETED")),
                    _ => (StatusCode::OK, old),
                }
            }
        }
    }

    fn collection(&self, target: &Target) -> Value {
        let (api_version, kind) = type_of(&target.resource);
        let items: Vec<_> =
            self.objects.iter().filter(|(place, _)| place.0 == target.resource).map(|(_, o)| o).collect();
        json!({
            "apiVersion": api_version, "kind": format!("{kind}List"), "items": items,
            "metadata": { "resourceVersion": self.version.to_string() },
        })
    }

    fn create(&mut self, target: &Target, mut body: Value) -> (StatusCode, Value) {
        let metadata = &mut body["metadata"];
        if metadata["name"].is_null() {
            let prefix = metadata["generateName"].as_str().unwrap_or_default();
            metadata["name"] = json!(format!("{prefix}{:05}", self.version));
        }
        metadata["namespace"] = json!(target.namespace);
        metadata["uid"] = json!(format!("uid-{}", self.version));
        metadata["generation"] = json!(1);
        metadata["creationTimestamp"] = json!("2024-01-01T00:00:00Z");
        let name = metadata["name"].as_str().unwrap().to_owned();
        let place = (target.resource.clone(), target.namespace.clone(), name);
        if self.objects.contains_key(&place) {
            return failure(StatusCode::CONFLICT, "AlreadyExists");
        }
        (StatusCode::CREATED, self.put(place, body, "ADDED"))
    }

    fn replace(&mut self, target: &Target, mut old: Value, mut body: Value) -> (StatusCode, Value) {
        let version = &body["metadata"]["resourceVersion"];
        if !version.is_null() && version != &old["metadata"]["resourceVersion"] {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        let new = if target.subresource == "status" {
            old["status"] = body["status"].take();
            // As Kubernetes' built-in kinds do.
            old["metadata"]["annotations"] = body["metadata"]["annotations"].take();
            old
        } else {
            if old["spec"] != body["spec"] {
                body["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap() + 1);
            }
            body
        };
        (StatusCode::OK, self.put(target.place(), new, "MODIFIED"))
    }
}

fn failure(code: StatusCode, reason: &str) -> (StatusCode, Value) {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    });
    (code, body)
}

fn type_of(resource: &str) -> (String, String) {
    let (group, plural) = resource.rsplit_once('/').unwrap();
    let kind = match plural {
        "pods" => "Pod",
        "services" => "Service",
        "endpoints" => "Endpoints",
        "endpointslices" => "EndpointSlice",
        "deployments" => "Deployment",
        "replicasets" => "ReplicaSet",
        "statefulsets" => "StatefulSet",
        "daemonsets" => "DaemonSet",
        "jobs" => "Job",
        "cronjobs" => "CronJob",
        "controllerrevisions" => "ControllerRevision",
        "nodes" => "Node",
        "events" => "Event",
        "poddisruptionbudgets" => "PodDisruptionBudget",
        "horizontalpodautoscalers" => "HorizontalPodAutoscaler",
        other => panic!("the fake API does not know {other}"),
    };
    (group.to_owned(), kind.to_owned())
}
