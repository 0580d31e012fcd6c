//! DNS, virtual addresses, the host.

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rtnetlink::packet_route::link::LinkAttribute;
use serde_json::json;

use crate::mesh::{Mesh, phase, ready};

async fn service(mesh: &Mesh, name: &str, kind: &str) -> Service {
    let spec = json!({"type": kind, "selector": {"app": name},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    mesh.create(json!({"metadata": {"name": name}, "spec": spec})).await
}

async fn endpoints(mesh: &Mesh, service: &str, pod: &Pod) {
    let ip = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
    mesh.create::<EndpointSlice>(json!({
        "metadata": {"name": format!("{service}-1"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
    }))
    .await;
}

async fn client_says(mesh: &Mesh, name: &str, url: &str) -> String {
    mesh.run(name, &["get", url], json!({"restartPolicy": "Never"})).await;
    mesh.until(name, |pod| matches!(phase(pod), "Succeeded" | "Failed")).await;
    mesh.log(name).await.trim().to_owned()
}

pub async fn reached(mesh: &Mesh) {
    mesh.run(
        "shop",
        &["serve", "8080", "shop"],
        json!({"container.readinessProbe": {"tcpSocket": {"port": 8080}}}),
    )
    .await;
    let pod = mesh.until("shop", ready).await;
    let made = service(mesh, "shop", "LoadBalancer").await;
    endpoints(mesh, "shop", &pod).await;
    // The service's own pods see the caller's address, not the node's.
    let says = client_says(mesh, "client", "http://shop:80/").await;
    let client = mesh.pods().get("client").await.unwrap().status.unwrap().pod_ip.unwrap();
    assert_eq!(says, format!("shop from {client}"));
    let says = client_says(mesh, "client-fqdn", "http://shop.default.svc.cluster.local:80/").await;
    assert!(says.starts_with("shop from 10.244."), "{says}");

    let node_port = made.spec.unwrap().ports.unwrap()[0].node_port.unwrap();
    let mut listeners = mesh.node.host_listeners();
    let listeners = listeners.wait_for(|l| l.len() == 2).await.unwrap().clone();
    assert!(listeners.iter().all(|l| l.error.is_none()), "{listeners:?}");
    for url in [format!("http://127.0.0.1:{node_port}/"), "http://127.77.0.1:80/".to_owned()] {
        let body = tokio::task::spawn_blocking(move || crate::program::get(&url)).await.unwrap().unwrap();
        assert_eq!(body, "shop from 10.244.0.1");
    }
    let api: kube::Api<Service> = kube::Api::namespaced(mesh.client.clone(), "default");
    let status = api.get("shop").await.unwrap().status.unwrap().load_balancer.unwrap().ingress.unwrap();
    assert_eq!(status[0].ip.as_deref(), Some("127.77.0.1"));
}

pub async fn refused(mesh: &Mesh) {
    service(mesh, "empty", "ClusterIP").await;
    let began = std::time::Instant::now();
    assert_eq!(client_says(mesh, "refused", "http://empty:80/").await, "ConnectionRefused");
    assert!(began.elapsed().as_secs() < 2);
    let unknown = client_says(mesh, "unknown", "http://nothing-of-that-name:80/").await;
    assert_ne!(unknown, "ConnectionRefused");
}

/// A bridge of the kernel's choice takes the lowest address of its ports, and pods' memory of it goes stale.
pub async fn bridge_keeps_its_address(mesh: &Mesh) {
    for name in ["passing", "passing-too", "passing-as-well"] {
        mesh.run(name, &["serve", "8080", name], json!({})).await;
        mesh.until(name, |pod| phase(pod) == "Running").await;
        assert_eq!(bridge_address().await, [0x0a, 0x58, 10, 244, 0, 1]);
    }
}

async fn bridge_address() -> Vec<u8> {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let connection = tokio::spawn(connection);
    let link =
        handle.link().get().match_name("lateen0".to_owned()).execute().try_next().await.unwrap().unwrap();
    connection.abort();
    let address = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => Some(address),
        _ => None,
    });
    address.unwrap()
}
