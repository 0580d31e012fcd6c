//! Pods' lives.

use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::Api;
use kube::api::{DeleteParams, LogParams, Patch, PatchParams};
use serde_json::json;

use crate::mesh::{Mesh, phase, ready};

pub async fn becomes_ready(mesh: &Mesh) {
    let began = std::time::Instant::now();
    let spec = json!({
        "initContainers": [
            {"name": "init", "image": "test", "args": ["whoami"],
             "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
            {"name": "side", "image": "test", "args": ["serve", "15021", "side"], "restartPolicy": "Always",
             "startupProbe": {"httpGet": {"path": "/healthz/ready", "port": 15021}}},
        ],
        "container.ports": [{"name": "http", "containerPort": 8080}],
        "container.readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 30},
        "container.env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "TEXT", "value": "I am $(POD_IP)"}],
    });
    mesh.run("web", &["serve", "8080", "$(TEXT)"], spec).await;
    let pod = mesh.until("web", ready).await;
    println!("  ready after {:?}", began.elapsed());
    let status = pod.status.unwrap();
    let ip = status.pod_ip.unwrap();
    assert!(ip.starts_with("10.244."), "{ip}");
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let inits = status.init_container_statuses.unwrap();
    assert_eq!(inits[0].state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 0);
    assert!(inits[1].ready && inits[1].state.as_ref().unwrap().running.is_some());
    let address = format!("http://{ip}:8080/");
    let body = tokio::task::spawn_blocking(move || crate::program::get(&address)).await.unwrap().unwrap();
    assert_eq!(body, format!("I am {ip} from 10.244.0.1"));
    let init =
        mesh.pods().logs("web", &LogParams { container: Some("init".into()), ..Default::default() }).await;
    let rootless = std::env::var_os("LATEEN_TEST_ROOTLESS").is_some();
    assert_eq!(init.unwrap().trim(), if rootless { "0 1339" } else { "0" });
}

pub async fn crash_loop(mesh: &Mesh) {
    mesh.run("crash", &["fail", "3"], json!({})).await;
    let pod = mesh
        .until("crash", |pod| {
            let status = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()?.first().cloned());
            status.is_some_and(|s| s.restart_count >= 1 && s.state.is_some_and(|s| s.waiting.is_some()))
        })
        .await;
    let status = pod.status.unwrap().container_statuses.unwrap().remove(0);
    let waiting = status.state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(status.last_state.unwrap().terminated.unwrap().exit_code, 3);
    let previous = LogParams { previous: true, ..Default::default() };
    assert_eq!(mesh.pods().logs("crash", &previous).await.unwrap().trim(), "failing with 3");
    mesh.pods().delete("crash", &DeleteParams::default()).await.unwrap();
    mesh.gone("crash").await;
    let events: Api<Event> = Api::namespaced(mesh.client.clone(), "default");
    let events = events.list(&Default::default()).await.unwrap();
    for reason in ["Scheduled", "Pulled", "Created", "Started", "BackOff"] {
        let found = events.items.iter().any(|e| {
            e.involved_object.name.as_deref() == Some("crash") && e.reason.as_deref() == Some(reason)
        });
        assert!(found, "no event {reason}");
    }
}

pub async fn succeeds(mesh: &Mesh) {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "side", "image": "test", "args": ["sleep"], "restartPolicy": "Always"}],
        "container.command": ["sh", "-c", "echo done > /dev/termination-log; lateen-test-applet fail 0"],
    });
    mesh.run("job", &[], spec).await;
    let pod = mesh
        .until("job", |pod| {
            let status =
                pod.status.as_ref().and_then(|s| s.init_container_statuses.as_ref()?.first().cloned());
            phase(pod) == "Succeeded"
                && status.is_some_and(|s| s.state.is_some_and(|s| s.terminated.is_some()))
        })
        .await;
    let status = pod.status.unwrap().container_statuses.unwrap().remove(0);
    let ended = status.state.unwrap().terminated.unwrap();
    assert_eq!(ended.reason.as_deref(), Some("Completed"));
    assert_eq!(ended.message.as_deref(), Some("done\n"));
    assert_eq!(mesh.log("job").await.trim(), "failing with 0");
    mesh.pods().delete("job", &DeleteParams::default()).await.unwrap();
    mesh.gone("job").await;
}

pub async fn deletion(mesh: &Mesh) {
    mesh.run("stubborn", &["stubborn"], json!({})).await;
    mesh.until("stubborn", ready).await;
    let began = std::time::Instant::now();
    mesh.pods().delete("stubborn", &DeleteParams::default()).await.unwrap();
    mesh.gone("stubborn").await;
    let took = began.elapsed().as_secs_f64();
    assert!((0.9..3.0).contains(&took), "{took} s for a grace of 1 s");
}

pub async fn volumes(mesh: &Mesh) {
    mesh.create::<ConfigMap>(json!({"metadata": {"name": "settings"}, "data": {"mode": "one"}})).await;
    let spec = json!({
        "volumes": [
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "pod", "downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "scratch", "emptyDir": {}}],
        "container.volumeMounts": [
            {"name": "settings", "mountPath": "/etc/settings/deep"},
            {"name": "pod", "mountPath": "/var/lib/pod"},
            {"name": "scratch", "mountPath": "/var/run/scratch"}],
        "container.command": ["sh", "-c",
            "touch /var/run/scratch/x && ! touch /usr/x 2>/dev/null && ! touch /etc/settings/deep/x 2>/dev/null \
             && cat /var/lib/pod/labels && cat /etc/hostname && touch /ok /tmp/ok /etc/ok && echo written; \
             while ! grep -q two /etc/settings/deep/mode; do sleep 0.02; done; cat /etc/settings/deep/mode; sleep 600"],
    });
    mesh.run("volumes", &[], spec).await;
    mesh.until("volumes", ready).await;
    let maps: Api<ConfigMap> = Api::namespaced(mesh.client.clone(), "default");
    let patch = Patch::Merge(json!({"data": {"mode": "two"}}));
    maps.patch("settings", &PatchParams::default(), &patch).await.unwrap();
    loop {
        let log = mesh.log("volumes").await;
        if log.ends_with("two") {
            assert_eq!(log, "app=\"volumes\"\nvolumes\nwritten\ntwo");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!std::path::Path::new("/ok").exists());
}

pub async fn unschedulable(mesh: &Mesh) {
    mesh.run("picky", &["sleep"], json!({"nodeSelector": {"disk": "ssd"}})).await;
    let pod = mesh
        .until("picky", |pod| {
            let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
            conditions.into_iter().flatten().any(|c| c.reason.as_deref() == Some("Unschedulable"))
        })
        .await;
    assert_eq!(pod.spec.unwrap().node_name, None);
    assert_eq!(phase(&mesh.pods().get("picky").await.unwrap()), "Pending");
}
