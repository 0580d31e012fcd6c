use serde_json::json;

use super::*;

fn none(_: &Value) -> Vec<(&'static str, String)> {
    Vec::new()
}

fn pods() -> ShardName {
    "/pods".into()
}

async fn put(store: &Store, name: &str, expect: Expect) -> Result<Arc<Entry>, Refused> {
    let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": name}});
    store.put(&pods(), Key::new("default", name), expect, value, none).await
}

#[tokio::test]
async fn a_write_needs_the_revision_that_it_read() {
    let store = Store::in_memory();
    let first = put(&store, "a", Expect::Absent).await.unwrap();
    assert_eq!(put(&store, "a", Expect::Absent).await.unwrap_err(), Refused::Exists);
    let second = put(&store, "a", Expect::Revision(first.revision)).await.unwrap();
    assert_eq!(put(&store, "a", Expect::Revision(first.revision)).await.unwrap_err(), Refused::Stale);
    assert_eq!(put(&store, "b", Expect::Revision(1)).await.unwrap_err(), Refused::Missing);
    let (events, _) = store.since(&pods(), first.revision).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].entry.revision, second.revision);
}

#[tokio::test]
async fn the_log_forgets_the_oldest_and_says_so() {
    let store = Store::in_memory();
    for n in 0..1100 {
        put(&store, &format!("p{n}"), Expect::Absent).await.unwrap();
    }
    assert!(store.since(&pods(), 1).is_err());
    assert!(store.since(&pods(), 1000).is_ok());
}

#[tokio::test]
async fn a_file_gives_back_what_was_written() {
    let directory = std::env::temp_dir().join(format!("lateen-store-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("state.redb");
    let written = {
        let store = Store::open(&path).unwrap();
        put(&store, "gone", Expect::Absent).await.unwrap();
        let gone = store.get("/pods", &Key::new("default", "gone")).unwrap();
        let value = gone.value("v1", "Pod");
        store.delete(&pods(), Key::new("default", "gone"), gone.revision, value, none).await.unwrap();
        put(&store, "kept", Expect::Absent).await.unwrap()
    };
    let store = Store::open(&path).unwrap();
    let kept = store.get("/pods", &Key::new("default", "kept")).unwrap();
    assert_eq!(kept.body(), written.body());
    assert!(store.get("/pods", &Key::new("default", "gone")).is_none());
    assert!(store.revision() > written.revision);
    assert!(store.since(&pods(), written.revision).is_err(), "revisions before the restart are gone");
    drop(store);
    std::fs::remove_dir_all(directory).unwrap();
}
