use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use serde_json::json;

use crate::start;

fn map(name: &str, label: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"l": label}}})).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("in time")
}

#[tokio::test]
async fn a_watch_follows_objects_into_its_selection_and_out_of_it() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let version = maps.list(&Default::default()).await.unwrap().metadata.resource_version.unwrap();
    let stream = maps.watch(&WatchParams::default().labels("l=yes"), &version).await.unwrap();
    let mut stream = stream.boxed();
    maps.create(&PostParams::default(), &map("a", "no")).await.unwrap();
    for label in ["yes", "yes", "no"] {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"l": label}}, "data": {"t": label}}));
        maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
    }
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &map("b", "yes")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match within(stream.try_next()).await.unwrap().expect("goes on") {
            WatchEvent::Added(m) => seen.push(("added", m.metadata.name.unwrap())),
            WatchEvent::Modified(m) => seen.push(("modified", m.metadata.name.unwrap())),
            WatchEvent::Deleted(m) => seen.push(("deleted", m.metadata.name.unwrap())),
            other => panic!("{other:?}"),
        }
    }
    let want = [("added", "a"), ("deleted", "a"), ("added", "b")];
    assert_eq!(seen, want.map(|(kind, name)| (kind, name.to_owned())));
}

#[tokio::test]
async fn a_revision_that_is_no_longer_known_is_gone() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for n in 0..1100 {
        let patch = Patch::Merge(json!({"data": {"n": n.to_string()}}));
        if n == 0 {
            maps.create(&PostParams::default(), &map("a", "x")).await.unwrap();
        } else {
            maps.patch("a", &PatchParams::default(), &patch).await.unwrap();
        }
    }
    let mut stream = maps.watch(&WatchParams::default(), "2").await.unwrap().boxed();
    match within(stream.try_next()).await.unwrap() {
        Some(WatchEvent::Error(status)) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
}

async fn names_by(config: watcher::Config) {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    maps.create(&PostParams::default(), &map("first", "x")).await.unwrap();
    let mut stream = watcher(maps.clone(), config.labels("l")).boxed();
    let mut initial = Vec::new();
    loop {
        match within(stream.try_next()).await.unwrap().expect("goes on") {
            watcher::Event::InitApply(m) => initial.push(m.metadata.name.unwrap()),
            watcher::Event::InitDone => break,
            _ => {}
        }
    }
    assert_eq!(initial, ["first"]);
    maps.create(&PostParams::default(), &map("second", "x")).await.unwrap();
    match within(stream.try_next()).await.unwrap() {
        Some(watcher::Event::Apply(m)) => assert_eq!(m.metadata.name.as_deref(), Some("second")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn watchers_that_list_first_see_everything() {
    names_by(watcher::Config::default()).await;
}

#[tokio::test]
async fn watchers_that_stream_their_list_see_everything() {
    names_by(watcher::Config::default().streaming_lists()).await;
}
