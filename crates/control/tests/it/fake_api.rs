//! As much of a Kubernetes API as a watcher needs: lists, watches, one object, JSON patches. It can go away and
//! come back on the same port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use futures::StreamExt;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct Event {
    collection: String,
    object: Value,
    text: String,
}

struct Store {
    version: u64,
    /// Objects by collection (`/api/v1/pods`) and name (`namespace/name`).
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    events: broadcast::Sender<Event>,
    /// Collections that answer 404.
    missing: Vec<String>,
    /// Watches from before this version are told to list again.
    compacted: u64,
    /// Tokens: audience and user.
    tokens: BTreeMap<String, (String, Value)>,
}

#[derive(Clone)]
pub struct FakeApi {
    store: Arc<Mutex<Store>>,
    address: SocketAddr,
    running: Arc<Mutex<CancellationToken>>,
}

impl FakeApi {
    pub async fn start() -> FakeApi {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = Store {
            version: 1,
            objects: BTreeMap::new(),
            events: broadcast::Sender::new(4096),
            missing: vec![],
            compacted: 0,
            tokens: BTreeMap::new(),
        };
        let api = FakeApi {
            store: Arc::new(Mutex::new(store)),
            address: listener.local_addr().unwrap(),
            running: Arc::default(),
        };
        api.serve(listener);
        api
    }

    fn serve(&self, listener: TcpListener) {
        let running = CancellationToken::new();
        *self.running.lock().unwrap() = running.clone();
        let router = Router::new().fallback(handle).with_state((self.store.clone(), running.clone()));
        tokio::spawn(async move {
            tokio::select! {
                result = axum::serve(listener, router).with_graceful_shutdown(running.clone().cancelled_owned()) => {
                    result.unwrap();
                }
                () = running.cancelled() => {}
            }
        });
    }

    /// Closes every connection and the port.
    pub fn go_away(&self) {
        self.running.lock().unwrap().cancel();
    }

    /// Serves on the same port again; what happened meanwhile can only be learnt by listing.
    pub fn come_back(&self) {
        let mut store = self.store.lock().unwrap();
        store.compacted = store.version;
        drop(store);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.serve(socket.listen(64).unwrap());
    }

    /// Writes a kubeconfig file that leads here.
    pub fn kubeconfig(&self) -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lateen-control-{}-{number}", std::process::id()));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{{name: a, cluster: {{server: 'http://{}'}}}}]\n\
             contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\nusers: [{{name: a, user: {{}}}}]\n",
            self.address
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn hide(&self, collection: &str) {
        self.store.lock().unwrap().missing.push(collection.to_owned());
    }

    /// Writes an object.
    pub fn put(&self, collection: &str, object: Value) {
        self.store.lock().unwrap().put(collection, object);
    }

    /// Answers token reviews: the token, its audiences, the user, and the pod to which it is bound.
    pub fn accept_token(&self, token: &str, audience: &str, user: &str, pod: Option<(&str, &str)>) {
        let mut info = json!({"username": user});
        if let Some((name, uid)) = pod {
            info["extra"] = json!({
                "authentication.kubernetes.io/pod-name": [name], "authentication.kubernetes.io/pod-uid": [uid],
            });
        }
        let known = (audience.to_owned(), info);
        self.store.lock().unwrap().tokens.insert(token.to_owned(), known);
    }

    /// The value of a Secret's key, decoded.
    pub fn secret(&self, name: &str, key: &str) -> Option<String> {
        let secret = self.get("/api/v1/secrets", name)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(secret["data"][key].as_str()?).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    }

    /// Removes an object, with (`tell`) or without an event.
    pub fn delete(&self, collection: &str, key: &str, tell: bool) {
        let mut store = self.store.lock().unwrap();
        store.version += 1;
        let mut object = store.objects.get_mut(collection).unwrap().remove(key).unwrap();
        object["metadata"]["resourceVersion"] = json!(store.version.to_string());
        if tell {
            store.send(collection, "DELETED", &object);
        }
    }

    /// Waits until an object is as it should be.
    pub async fn changed(&self, collection: &str, key: &str, done: impl Fn(&Value) -> bool) {
        let mut events = self.store.lock().unwrap().events.subscribe();
        while !self.get(collection, key).is_some_and(|object| done(&object)) {
            let event = tokio::time::timeout(std::time::Duration::from_secs(20), events.recv()).await;
            event.expect("the object does not change").unwrap();
        }
    }

    /// Every object of a collection.
    pub fn all(&self, collection: &str) -> Vec<Value> {
        self.store
            .lock()
            .unwrap()
            .objects
            .get(collection)
            .into_iter()
            .flat_map(|o| o.values().cloned())
            .collect()
    }

    pub fn get(&self, collection: &str, key: &str) -> Option<Value> {
        self.store.lock().unwrap().objects.get(collection)?.get(key).cloned()
    }
}

fn key(object: &Value) -> String {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    match text("namespace") {
        namespace if namespace.is_empty() => text("name"),
        namespace => format!("{namespace}/{}", text("name")),
    }
}

impl Store {
    fn put(&mut self, collection: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if let Some(Value::Object(text)) = object.as_object_mut().unwrap().remove("stringData") {
            for (key, value) in text {
                let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap());
                object["data"][key] = json!(encoded);
            }
        }
        let key = key(&object);
        let old = self.objects.entry(collection.to_owned()).or_default().insert(key, object.clone());
        self.send(collection, if old.is_some() { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    /// A TokenReview with its answer.
    fn review(&self, mut review: Value) -> Value {
        let known = review["spec"]["token"].as_str().and_then(|token| self.tokens.get(token));
        let wanted = review["spec"]["audiences"].as_array().cloned().unwrap_or_default();
        review["status"] = match known {
            Some((audience, user)) if wanted.contains(&json!(audience)) => {
                json!({"authenticated": true, "user": user, "audiences": [audience]})
            }
            Some(_) => json!({"authenticated": false, "error": "token audiences do not match"}),
            None => json!({"authenticated": false, "error": "invalid bearer token"}),
        };
        review
    }

    fn send(&self, collection: &str, kind: &str, object: &Value) {
        let text = format!("{}\n", json!({"type": kind, "object": object}));
        // Without watchers nobody hears it.
        let _ = self.events.send(Event { collection: collection.to_owned(), object: object.clone(), text });
    }
}

type Shared = (Arc<Mutex<Store>>, CancellationToken);

async fn handle(State((store, running)): State<Shared>, request: Request<Body>) -> Response {
    if running.is_cancelled() {
        // A connection from before: it ends as if the process had.
        return (StatusCode::SERVICE_UNAVAILABLE, [("connection", "close")]).into_response();
    }
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let method = request.method().clone();
    if method != Method::GET {
        let json_patch =
            request.headers().get("content-type").is_some_and(|t| t == "application/json-patch+json");
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        return write(&mut store.lock().unwrap(), &method, &path, json_patch, &body);
    }
    let mut store = store.lock().unwrap();
    if store.missing.contains(&path) {
        return not_found();
    }
    let (collection, namespace, name) = parse(&path);
    if let Some(name) = name {
        let key = format!("{namespace}{name}");
        return match store.objects.get(&collection).and_then(|objects| objects.get(&key)) {
            Some(object) => axum::Json(object.clone()).into_response(),
            None => not_found(),
        };
    }
    // A namespaced collection is the part of the whole that is in the namespace.
    let field = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"));
    let field = field.map(str::to_owned);
    let selected = move |object: &Value| {
        let meta = &object["metadata"];
        (namespace.is_empty() || meta["namespace"] == namespace.trim_end_matches('/'))
            && field.as_ref().is_none_or(|name| meta["name"] == **name)
    };
    if query.contains("watch=") {
        let events = BroadcastStream::new(store.events.subscribe());
        let (chosen, watched) = (selected.clone(), collection.clone());
        let lines = events.filter_map(move |event| {
            let event = event.unwrap();
            let ours = event.collection == watched && chosen(&event.object);
            std::future::ready(ours.then(|| Ok::<_, std::io::Error>(Bytes::from(event.text))))
        });
        let since = resource_version(&query);
        if since < store.compacted {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"});
            return format!("{}\n", json!({"type": "ERROR", "object": status})).into_response();
        }
        // What was written between list and watch.
        let missed: Vec<_> = store
            .objects
            .get(&collection)
            .into_iter()
            .flatten()
            .filter(|(_, o)| selected(o))
            .filter(|(_, o)| {
                o["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > since
            })
            .map(|(_, o)| Ok(Bytes::from(format!("{}\n", json!({"type": "MODIFIED", "object": o})))))
            .collect();
        let stream = futures::stream::iter(missed).chain(lines).take_until(running.cancelled_owned());
        return Body::from_stream(stream).into_response();
    }
    store.version += 1;
    let objects = store.objects.get(&collection);
    let items: Vec<_> = objects.into_iter().flatten().map(|(_, o)| o).filter(|o| selected(o)).collect();
    let list = json!({
        "kind": "List", "apiVersion": "v1",
        "metadata": {"resourceVersion": store.version.to_string()},
        "items": items,
    });
    axum::Json(list).into_response()
}

fn resource_version(query: &str) -> u64 {
    let pair = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
    pair.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Collection (over all namespaces), `namespace/` and name of a path.
fn parse(path: &str) -> (String, String, Option<String>) {
    let parts: Vec<&str> = path.split('/').collect();
    // "", api, v1 or "", apis, group, version
    let root = if parts[1] == "api" { 3 } else { 4 };
    let (head, rest) = parts.split_at(root);
    let head = head.join("/");
    match rest {
        ["namespaces", namespace, kind, more @ ..] => {
            let name = more.first().map(|name| (*name).to_owned());
            (format!("{head}/{kind}"), format!("{namespace}/"), name)
        }
        [kind, more @ ..] => {
            let name = more.first().map(|name| (*name).to_owned());
            (format!("{head}/{kind}"), String::new(), name)
        }
        [] => (head, String::new(), None),
    }
}

fn write(store: &mut Store, method: &Method, path: &str, json_patch: bool, body: &[u8]) -> Response {
    let (collection, namespace, name) = parse(path);
    let status = |code: StatusCode, reason: &str| {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": reason, "reason": reason, "code": code.as_u16(),
        });
        (code, axum::Json(status)).into_response()
    };
    let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
    if *method == Method::DELETE {
        let key = format!("{namespace}{}", name.unwrap());
        let Some(object) = store.objects.get_mut(&collection).and_then(|objects| objects.remove(&key)) else {
            return status(StatusCode::NOT_FOUND, "NotFound");
        };
        store.version += 1;
        store.send(&collection, "DELETED", &object);
        return axum::Json(object).into_response();
    }
    if *method == Method::POST {
        if let Some(prefix) = value["metadata"]["generateName"].as_str() {
            value["metadata"]["name"] = json!(format!("{prefix}{}", store.version));
        }
        if collection.ends_with("/tokenreviews") {
            return (StatusCode::CREATED, axum::Json(store.review(value))).into_response();
        }
        let taken = store.objects.get(&collection).is_some_and(|objects| objects.contains_key(&key(&value)));
        if taken {
            return status(StatusCode::CONFLICT, "AlreadyExists");
        }
        return (StatusCode::CREATED, axum::Json(store.put(&collection, value))).into_response();
    }
    let key = format!("{namespace}{}", name.unwrap());
    let old = store.objects.get(&collection).and_then(|objects| objects.get(&key)).cloned();
    let Some(mut object) = old else { return status(StatusCode::NOT_FOUND, "NotFound") };
    if json_patch {
        let patch: json_patch::Patch = serde_json::from_value(value).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    } else if *method == Method::PUT {
        object = value;
    } else {
        json_patch::merge(&mut object, &value);
    }
    axum::Json(store.put(&collection, object)).into_response()
}

fn not_found() -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "not found", "reason": "NotFound", "code": 404,
    });
    (StatusCode::NOT_FOUND, axum::Json(status)).into_response()
}
