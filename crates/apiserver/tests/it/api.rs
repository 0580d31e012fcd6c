use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{object, objects, refusal, start};

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"v": value}}, "data": {"k": value}}))
        .unwrap()
}

fn deployment(image: &str) -> Value {
    let container = json!({"name": "c", "image": image, "ports": [{"containerPort": 80}]});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [container]}},
        },
    })
}

#[tokio::test]
async fn objects_are_made_read_changed_and_removed() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let made = maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(refusal(maps.create(&PostParams::default(), &config_map("a", "1")).await).1, "AlreadyExists");
    let mut changed = made.clone();
    changed.data.as_mut().unwrap().insert("k".into(), "2".into());
    let changed = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    let stale = refusal(maps.replace("a", &PostParams::default(), &made).await);
    assert_eq!((stale.0, stale.1.as_str()), (409, "Conflict"));
    let words = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
        changes to the latest version and try again";
    assert_eq!(stale.2, words);
    let same = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(same.metadata.resource_version, changed.metadata.resource_version, "no change is no write");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(refusal(maps.get("a").await).2, "configmaps \"a\" not found");
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for n in 0..5 {
        maps.create(&PostParams::default(), &config_map(&format!("m{n}"), if n < 2 { "x" } else { "y" }))
            .await
            .unwrap();
    }
    assert_eq!(maps.list(&ListParams::default().labels("v in (x,z)")).await.unwrap().items.len(), 2);
    assert_eq!(maps.list(&ListParams::default().labels("v,v!=x")).await.unwrap().items.len(), 3);
    assert_eq!(maps.list(&ListParams::default().fields("metadata.name=m3")).await.unwrap().items.len(), 1);
    assert_eq!(
        refusal(maps.list(&ListParams::default().fields("data.k=1")).await).2,
        "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    let mut params = ListParams::default().labels("v").limit(2);
    let mut names = Vec::new();
    loop {
        let page = maps.list(&params).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.into_iter().filter_map(|m| m.metadata.name));
        match page.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);
    let gone = maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("v=y")).await;
    gone.unwrap();
    assert_eq!(maps.list(&ListParams::default().labels("v")).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn patches_of_every_kind_are_merged() {
    let (_server, client) = start().await;
    let deployments = objects(&client, "apps", "v1", "Deployment", "deployments");
    let made = deployments.create(&PostParams::default(), &object(deployment("one"))).await.unwrap();
    assert_eq!(made.data["spec"]["replicas"], 1);
    let env = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]}}}});
    let patched = deployments.patch("d", &PatchParams::default(), &Patch::Strategic(env)).await.unwrap();
    let container = &patched.data["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["env"][0]["name"]), (&json!("one"), &json!("A")));
    assert_eq!(patched.metadata.generation, Some(2));
    let merge = json!({"metadata": {"labels": {"a": "b"}}});
    let patched = deployments.patch("d", &PatchParams::default(), &Patch::Merge(merge)).await.unwrap();
    assert_eq!(patched.metadata.generation, Some(2), "labels are no new generation");
    let json = Patch::<Value>::Json(
        serde_json::from_value(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])).unwrap(),
    );
    let patched = deployments.patch("d", &PatchParams::default(), &json).await.unwrap();
    assert_eq!(patched.data["spec"]["replicas"], 3);
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "e"}}}});
    let refused = refusal(deployments.patch("d", &PatchParams::default(), &Patch::Merge(selector)).await);
    assert_eq!(refused.0, 422);
    assert!(refused.2.contains("field is immutable"), "{}", refused.2);
}

#[tokio::test]
async fn server_side_apply_makes_owns_and_gives_back() {
    let (_server, client) = start().await;
    let deployments = objects(&client, "apps", "v1", "Deployment", "deployments");
    let first = PatchParams::apply("first");
    deployments.patch("d", &first, &Patch::Apply(deployment("one"))).await.unwrap();
    let other = PatchParams::apply("other");
    let conflict = refusal(deployments.patch("d", &other, &Patch::Apply(deployment("two"))).await);
    assert_eq!(conflict.0, 409);
    let place = ".spec.template.spec.containers[name=\"c\"].image";
    assert_eq!(conflict.2, format!("Apply failed with 1 conflict: conflict with \"first\": {place}"));
    let forced = deployments.patch("d", &other.force(), &Patch::Apply(deployment("two"))).await.unwrap();
    assert_eq!(forced.data["spec"]["template"]["spec"]["containers"][0]["image"], "two");
    let again =
        deployments.patch("d", &PatchParams::apply("other"), &Patch::Apply(deployment("two"))).await.unwrap();
    assert_eq!(
        again.metadata.resource_version, forced.metadata.resource_version,
        "applying the same is no write"
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let dry = PostParams { dry_run: true, field_manager: None };
    maps.create(&dry, &config_map("a", "1")).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
    maps.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    let seen = maps.patch("a", &PatchParams::default().dry_run(), &patch).await.unwrap();
    assert_eq!(seen.data.unwrap()["k"], "2");
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["k"], "1");
    maps.delete("a", &DeleteParams::default().dry_run()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_some());
}

#[tokio::test]
async fn status_and_scale_are_their_own_parts() {
    let (_server, client) = start().await;
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let made: Deployment = serde_json::from_value(deployment("one")).unwrap();
    deployments.create(&PostParams::default(), &made).await.unwrap();
    let status =
        Patch::Merge(json!({"spec": {"replicas": 9}, "status": {"replicas": 1, "readyReplicas": 1}}));
    let patched = deployments.patch_status("d", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(patched.spec.unwrap().replicas, Some(1));
    assert_eq!(patched.status.unwrap().ready_replicas, Some(1));
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    let scaled = deployments.patch_scale("d", &PatchParams::default(), &scale).await.unwrap();
    assert_eq!((scaled.spec.unwrap().replicas, scaled.status.unwrap().replicas), (Some(4), 1));
    let main = Patch::Merge(json!({"status": {"readyReplicas": 7}}));
    let patched = deployments.patch("d", &PatchParams::default(), &main).await.unwrap();
    assert_eq!(patched.status.unwrap().ready_replicas, Some(1));
}

#[tokio::test]
async fn old_groups_are_converted() {
    let (_server, client) = start().await;
    let mut old = deployment("one");
    old["apiVersion"] = "extensions/v1beta1".into();
    old["spec"].as_object_mut().unwrap().remove("selector");
    let olds = objects(&client, "extensions", "v1beta1", "Deployment", "deployments");
    let made = olds.create(&PostParams::default(), &object(old)).await.unwrap();
    assert_eq!(made.types.unwrap().api_version, "extensions/v1beta1");
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    let selector = deployments.get("d").await.unwrap().spec.unwrap().selector;
    assert_eq!(selector.match_labels.unwrap()["app"], "d");
}

#[tokio::test]
async fn pods_get_an_account_and_time_to_end() {
    let (_server, client) = start().await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let made = pods.create(&PostParams::default(), &pod).await.unwrap().spec.unwrap();
    assert_eq!(made.service_account_name.as_deref(), Some("default"));
    let mount = &made.containers[0].volume_mounts.as_ref().unwrap()[0];
    assert_eq!(mount.mount_path, "/var/run/secrets/kubernetes.io/serviceaccount");
    let bind = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let request =
        http::Request::post("/api/v1/namespaces/default/pods/p/binding").body(bind.to_string().into_bytes());
    client.request::<Value>(request.unwrap()).await.unwrap();
    let marked =
        pods.delete("p", &DeleteParams::default()).await.unwrap().left().expect("a pod, still there");
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(30));
    pods.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
    let mut nobody = pod;
    nobody.spec.as_mut().unwrap().service_account_name = Some("nobody".into());
    assert_eq!(refusal(pods.create(&PostParams::default(), &nobody).await).0, 403);
}

#[tokio::test]
async fn services_get_addresses_and_ports() {
    let (_server, client) = start().await;
    let services: Api<Service> = Api::default_namespaced(client);
    let service = |name: &str, spec: Value| -> Service {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    };
    let node_port = service("a", json!({"type": "NodePort", "ports": [{"port": 80}]}));
    let made = services.create(&PostParams::default(), &node_port).await.unwrap().spec.unwrap();
    let ip = made.cluster_ip.unwrap();
    assert!(ip.starts_with("10.96."));
    assert!((30_000..=32_767).contains(&made.ports.unwrap()[0].node_port.unwrap()));
    let taken = service("b", json!({"clusterIP": ip, "ports": [{"port": 80}]}));
    let refused = refusal(services.create(&PostParams::default(), &taken).await);
    assert!(refused.2.contains("provided IP is already allocated"), "{}", refused.2);
    let headless = service("c", json!({"clusterIP": "None"}));
    let headless = services.create(&PostParams::default(), &headless).await.unwrap();
    assert_eq!(headless.spec.unwrap().cluster_ip.as_deref(), Some("None"));
}

#[tokio::test]
async fn who_does_not_say_who_they_are_gets_nothing() {
    let (server, client) = start().await;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let request = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let signed = accounts.create_token_request("default", &PostParams::default(), &request).await.unwrap();
    let token = signed.status.unwrap().token;
    let with = |token: Option<String>| {
        let mut kubeconfig = kube::config::Kubeconfig::from_yaml(server.kubeconfig()).unwrap();
        let auth = kubeconfig.auth_infos[0].auth_info.as_mut().unwrap();
        (auth.client_certificate_data, auth.client_key_data) = (None, None);
        auth.token = token.map(Into::into);
        async move {
            let options = kube::config::KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            kube::Client::try_from(config).unwrap()
        }
    };
    let namespaces = |client| Api::<Namespace>::all(client);
    // Known, but without any right.
    let known = refusal(namespaces(with(Some(token.clone())).await).get("default").await);
    assert!(known.0 == 403 && known.2.contains("system:serviceaccount:default:default"), "{known:?}");
    assert_eq!(refusal(namespaces(with(Some(format!("{token}x"))).await).get("default").await).0, 401);
    let nobody = with(None).await;
    assert_eq!(refusal(namespaces(nobody.clone()).get("default").await).0, 403);
    assert!(nobody.apiserver_version().await.is_ok());
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let (_server, client) = start().await;
    let post = |path: &str, body: String| {
        let request =
            http::Request::post(path).header("content-type", "application/json").body(body.into_bytes());
        let client = client.clone();
        async move { refusal(client.request::<Value>(request.unwrap()).await) }
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(post(maps, "{".into()).await.0, 400);
    assert_eq!(post(maps, "[]".into()).await.0, 400);
    assert_eq!(post(maps, json!({"kind": "Secret", "metadata": {"name": "x"}}).to_string()).await.0, 400);
    assert_eq!(post(maps, json!({"metadata": {"name": "X_"}}).to_string()).await.0, 422);
    assert_eq!(post(maps, json!({"metadata": {"name": "x"}, "data": {"a": 1}}).to_string()).await.0, 400);
    assert_eq!(
        post("/api/v1/namespaces/none/configmaps", json!({"metadata": {"name": "x"}}).to_string()).await.0,
        404
    );
    assert_eq!(post("/apis/none/v1/things", "{}".into()).await.0, 404);
    let large = json!({"metadata": {"name": "x"}, "data": {"a": "b".repeat(4 << 20)}}).to_string();
    assert_eq!(post(maps, large).await.0, 413);
    let strict = format!("{maps}?fieldValidation=Strict");
    let unknown = post(&strict, json!({"metadata": {"name": "x"}, "dat": {}}).to_string()).await;
    let words = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dat\"";
    assert_eq!(unknown.2, words);
}
