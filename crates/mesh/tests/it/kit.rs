use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use lateen_mesh::{Change, Resource, World};
use serde_json::Value;

/// Puts YAML documents into a world, in the namespace `default` where they name none.
pub fn put(world: &mut World, yaml: &str) -> Change {
    let mut last = Change::None;
    for mut document in serde_saphyr::from_multiple::<Value>(yaml).unwrap() {
        let metadata = &mut document["metadata"];
        if metadata["namespace"].is_null() {
            metadata["namespace"] = "default".into();
        }
        last = world.upsert(resource(document));
    }
    last
}

fn resource(document: Value) -> Resource {
    fn of<T: serde::de::DeserializeOwned>(document: Value) -> T {
        serde_json::from_value(document).unwrap()
    }
    match document["kind"].as_str().unwrap() {
        "Service" => of::<Service>(document).into(),
        "EndpointSlice" => of::<EndpointSlice>(document).into(),
        "Pod" => of::<Pod>(document).into(),
        "Node" => of::<Node>(document).into(),
        "VirtualService" => of::<lateen_api::VirtualService>(document).into(),
        "DestinationRule" => of::<lateen_api::DestinationRule>(document).into(),
        "ServiceEntry" => of::<lateen_api::ServiceEntry>(document).into(),
        "WorkloadEntry" => of::<lateen_api::WorkloadEntry>(document).into(),
        "Sidecar" => of::<lateen_api::Sidecar>(document).into(),
        "PeerAuthentication" => of::<lateen_api::PeerAuthentication>(document).into(),
        "Policy" => of::<lateen_api::Policy>(document).into(),
        "MeshPolicy" => of::<lateen_api::MeshPolicy>(document).into(),
        other => panic!("{other}"),
    }
}

/// Two services, of which `web` has a pod that is ready and one that is not.
pub const WEB: &str = "
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80, targetPort: www}]}
---
kind: Service
metadata: {name: other}
spec: {clusterIP: 10.96.0.2, selector: {app: other}, ports: [{name: tcp, port: 1234}, {name: dns, port: 53, protocol: UDP}]}
---
kind: Pod
metadata: {name: web-0, labels: {app: web, version: v1}}
spec: {nodeName: node-1, containers: [{name: c, ports: [{name: www, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.244.0.1, conditions: [{type: Ready, status: 'True'}]}
---
kind: EndpointSlice
metadata: {name: web-x, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.244.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: web-0}}
- {addresses: [10.244.0.2], conditions: {ready: false}}
";
