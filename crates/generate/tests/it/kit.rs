//! A cluster in miniature: manifests become objects, deployments become pods, services get addresses and slices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use lateen_generate::{Generator, Proxy, ProxyResources};
use lateen_mesh::{Mesh, Resource, World};
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use lateen_xds::pb::envoy::config::listener::v3::Listener;
use lateen_xds::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use lateen_xds::pb::google::protobuf::{Struct, Value as Any, value::Kind};
use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Istio's sample manifests; `None` (and a word about it) where they are not there.
pub fn samples(release: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/upstream").join(release);
    if !root.is_dir() {
        let required = std::env::var("LATEEN_PEERS").is_ok_and(|v| v == "required");
        assert!(!required, "LATEEN_PEERS=required, but {} is missing", root.display());
        eprintln!("skipped: {} is missing", root.display());
        return None;
    }
    Some(root)
}

/// A world with what a small cluster's controllers would have made of manifests.
#[derive(Default)]
pub struct Cluster0 {
    pub world: World,
    services: Vec<Value>,
    pods: Vec<Value>,
}

impl Cluster0 {
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a file.
    pub fn apply_file(&mut self, path: &Path) {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.apply(&text);
    }

    /// Applies YAML documents, in the namespace `default` where they name none.
    pub fn apply(&mut self, yaml: &str) {
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
        for mut document in documents.into_iter().filter(|d| d.get("kind").is_some()) {
            let metadata = &mut document["metadata"];
            if metadata["namespace"].is_null() {
                metadata["namespace"] = json!("default");
            }
            self.apply_one(document);
        }
        self.slices();
    }

    fn apply_one(&mut self, mut document: Value) {
        let kind = document["kind"].as_str().expect("kind").to_owned();
        match kind.as_str() {
            "Service" => self.service(document),
            "Deployment" => self.deployment(&document),
            "VirtualService" => self.put::<lateen_api::VirtualService>(document),
            "DestinationRule" => self.put::<lateen_api::DestinationRule>(document),
            "Gateway" => self.put::<lateen_api::Gateway>(document),
            "ServiceEntry" => self.put::<lateen_api::ServiceEntry>(document),
            "WorkloadEntry" => self.put::<lateen_api::WorkloadEntry>(document),
            "Sidecar" => self.put::<lateen_api::Sidecar>(document),
            "Telemetry" => self.put::<lateen_api::Telemetry>(document),
            "EnvoyFilter" => self.put::<lateen_api::EnvoyFilter>(document),
            "Node" => self.put::<k8s_openapi::api::core::v1::Node>(document),
            "PeerAuthentication" => self.put::<lateen_api::PeerAuthentication>(document),
            "RequestAuthentication" => self.put::<lateen_api::RequestAuthentication>(document),
            "AuthorizationPolicy" => self.put::<lateen_api::AuthorizationPolicy>(document),
            "Policy" => self.put::<lateen_api::Policy>(document),
            "MeshPolicy" => {
                document["metadata"]["namespace"] = Value::Null;
                self.put::<lateen_api::MeshPolicy>(document);
            }
            _ => {}
        }
    }

    fn put<T: DeserializeOwned + Into<Resource>>(&mut self, document: Value) {
        self.world.upsert(serde_json::from_value::<T>(document).expect("valid").into());
    }

    fn service(&mut self, mut document: Value) {
        let name = document["metadata"]["name"].clone();
        self.services.retain(|s| s["metadata"]["name"] != name);
        if document["spec"]["clusterIP"].is_null() {
            document["spec"]["clusterIP"] = json!(format!("10.96.0.{}", self.services.len() + 10));
        }
        self.put::<Service>(document.clone());
        self.services.push(document);
    }

    fn deployment(&mut self, document: &Value) {
        let template = &document["spec"]["template"];
        for replica in 0..document["spec"]["replicas"].as_u64().unwrap_or(1) {
            let ip = format!("10.244.0.{}", self.pods.len() + 10);
            let pod = json!({
                "metadata": {
                    "name": format!("{}-{replica}", document["metadata"]["name"].as_str().expect("name")),
                    "namespace": document["metadata"]["namespace"],
                    "labels": template["metadata"]["labels"],
                },
                "spec": template["spec"],
                "status": {
                    "phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}],
                },
            });
            self.put::<Pod>(pod.clone());
            self.pods.push(pod);
        }
    }

    /// One slice for each service that selects something.
    fn slices(&mut self) {
        let services = self.services.clone();
        for service in services {
            let Some(selector) = service["spec"]["selector"].as_object() else { continue };
            let selected = |pod: &&Value| {
                let labels = &pod["metadata"]["labels"];
                selector.iter().all(|(k, v)| &labels[k] == v)
                    && pod["metadata"]["namespace"] == service["metadata"]["namespace"]
            };
            let endpoints: Vec<Value> = self
                .pods
                .iter()
                .filter(selected)
                .map(|pod| {
                    json!({
                        "addresses": [pod["status"]["podIP"]],
                        "conditions": {"ready": true},
                        "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]},
                    })
                })
                .collect();
            let ports: Vec<Value> = service["spec"]["ports"]
                .as_array()
                .expect("ports")
                .iter()
                .map(|p| json!({"name": p["name"], "port": p["targetPort"].as_u64().or(p["port"].as_u64())}))
                .collect();
            let slice = json!({
                "metadata": {
                    "name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"],
                    "labels": {"kubernetes.io/service-name": service["metadata"]["name"]},
                },
                "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
            });
            self.put::<EndpointSlice>(slice);
        }
    }

    pub fn mesh(&mut self) -> Arc<Mesh> {
        self.world.snapshot().0
    }

    /// What a proxy gets of the present state.
    pub fn resources(&mut self, proxy: &Proxy) -> Read {
        Read(Generator::new(self.mesh()).resources(proxy))
    }
}

/// A sidecar of Lateen's (or, by its program, of Envoy's).
pub fn sidecar(pod: &str, labels: &[(&str, &str)], program: &str) -> Proxy {
    proxy(&format!("sidecar~10.244.0.99~{pod}.default~default.svc.cluster.local"), labels, program)
}

/// The ingress gateway.
pub fn ingress(program: &str) -> Proxy {
    let id = "router~10.244.0.98~istio-ingressgateway-0.istio-system~istio-system.svc.cluster.local";
    proxy(id, &[("istio", "ingressgateway"), ("app", "istio-ingressgateway")], program)
}

fn proxy(id: &str, labels: &[(&str, &str)], program: &str) -> Proxy {
    let text = |v: &str| Any { kind: Some(Kind::StringValue(v.to_owned())) };
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), text(v))).collect();
    let labels = Any { kind: Some(Kind::StructValue(Struct { fields: labels })) };
    let node = Node {
        id: id.to_owned(),
        user_agent_name: program.to_owned(),
        metadata: Some(Struct { fields: [("LABELS".to_owned(), labels)].into() }),
        ..Node::default()
    };
    Proxy::from_node(&node).expect("well formed")
}

/// Resources, decoded again.
pub struct Read(pub ProxyResources);

impl Read {
    pub fn names(&self, type_url: TypeUrl) -> Vec<String> {
        self.0.iter(type_url).map(|r| r.name.to_string()).collect()
    }

    fn get<M: Message + Default>(&self, type_url: TypeUrl, name: &str) -> M {
        let found = self.0.get(type_url, name);
        let found = found.unwrap_or_else(|| panic!("no {type_url} {name:?} in {:?}", self.names(type_url)));
        M::decode(found.body.clone()).expect("well formed")
    }

    pub fn listener(&self, name: &str) -> Listener {
        self.get(TypeUrl::Listener, name)
    }

    pub fn cluster(&self, name: &str) -> Cluster {
        self.get(TypeUrl::Cluster, name)
    }

    pub fn route(&self, name: &str) -> RouteConfiguration {
        self.get(TypeUrl::Route, name)
    }

    pub fn endpoints(&self, name: &str) -> ClusterLoadAssignment {
        self.get(TypeUrl::Endpoints, name)
    }

    /// A virtual host, wherever the flavour has it.
    pub fn host(&self, route: &str, name: &str) -> VirtualHost {
        let config = self.route(route);
        if config.vhds.is_some() {
            return self.get(TypeUrl::VirtualHost, &format!("{route}/{name}"));
        }
        let names: Vec<_> = config.virtual_hosts.iter().map(|h| h.name.clone()).collect();
        let found = config.virtual_hosts.into_iter().find(|h| h.name == name);
        found.unwrap_or_else(|| panic!("no virtual host {name:?} in {names:?}"))
    }
}

/// The addresses of a load assignment.
pub fn addresses(assignment: &ClusterLoadAssignment) -> Vec<String> {
    use lateen_xds::pb::envoy::config::core::v3::address::Address;
    use lateen_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
    let all = assignment.endpoints.iter().flat_map(|l| &l.lb_endpoints);
    let one = |e: &lateen_xds::pb::envoy::config::endpoint::v3::LbEndpoint| {
        let Some(HostIdentifier::Endpoint(endpoint)) = &e.host_identifier else { return None };
        match endpoint.address.as_ref()?.address.as_ref()? {
            Address::SocketAddress(socket) => Some(socket.address.clone()),
            _ => None,
        }
    };
    all.filter_map(one).collect()
}

/// Weights by cluster of a route's action; a single cluster has weight 100.
pub fn weights(action: &lateen_xds::pb::envoy::config::route::v3::RouteAction) -> BTreeMap<String, u32> {
    use lateen_xds::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
    match action.cluster_specifier.as_ref().expect("a cluster") {
        ClusterSpecifier::Cluster(name) => [(name.clone(), 100)].into(),
        ClusterSpecifier::WeightedClusters(all) => {
            all.clusters.iter().map(|c| (c.name.clone(), c.weight.map_or(0, |w| w.value))).collect()
        }
        other => panic!("unexpected {other:?}"),
    }
}

/// What a route forwards to.
pub fn action(
    route: &lateen_xds::pb::envoy::config::route::v3::Route,
) -> &lateen_xds::pb::envoy::config::route::v3::RouteAction {
    match &route.action {
        Some(lateen_xds::pb::envoy::config::route::v3::route::Action::Route(action)) => action,
        other => panic!("unexpected {other:?}"),
    }
}
