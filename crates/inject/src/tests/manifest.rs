use serde_json::{Value, json};

use super::{env, injected, pod, reviews};
use crate::{InjectConfig, inject_manifest};

const DEPLOYMENT: &str = "\
# Reviews, first version.
apiVersion: v1
kind: Service
metadata: {name: reviews} # stays as it is
---
apiVersion: extensions/v1beta1
kind: Deployment
metadata:
  name: reviews-v1
spec:
  replicas: 1
  template:
    metadata:
      labels: {app: reviews, version: v1}
    spec:
      containers:
      - name: reviews
        image: reviews:1
        ports:
        - containerPort: 9080
        readinessProbe:
          httpGet: {path: /health, port: 9080}
";

#[test]
fn manual_injection_gives_the_same_pod_as_automatic() {
    let outcome = inject_manifest(DEPLOYMENT, "default", &InjectConfig::default()).unwrap();
    assert_eq!(outcome.decisions.len(), 1);
    assert_eq!(outcome.decisions[0].resource, "Deployment/reviews-v1");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&outcome.yaml).unwrap();
    let template = &documents[1]["spec"]["template"];
    let manual = pod(json!({ "metadata": template["metadata"], "spec": template["spec"] }));

    let mut automatic = injected(&pod(reviews()), &InjectConfig::default());
    // What the controller and the API server add before the webhook sees the pod.
    automatic.metadata.labels.as_mut().unwrap().remove("pod-template-hash");
    assert_eq!(automatic.metadata.labels, manual.metadata.labels);
    assert_eq!(automatic.metadata.annotations, manual.metadata.annotations);
    let (automatic, manual) = (automatic.spec.unwrap(), manual.spec.unwrap());
    assert_eq!(automatic.init_containers, manual.init_containers);
    assert_eq!(automatic.containers[1], manual.containers[1]);
    assert_eq!(automatic.volumes, manual.volumes);
}

#[test]
fn documents_without_pods_are_kept_to_the_letter() {
    let outcome = inject_manifest(DEPLOYMENT, "default", &InjectConfig::default()).unwrap();
    let (service, rest) = DEPLOYMENT.split_once("---\n").unwrap();
    assert!(outcome.yaml.starts_with(&format!("{service}---\n")), "{}", outcome.yaml);
    assert!(!rest.is_empty() && outcome.yaml.contains("replicas: 1"));
    let again = inject_manifest(&outcome.yaml, "default", &InjectConfig::default()).unwrap();
    assert_eq!(again.yaml, outcome.yaml, "injecting an injected manifest changes nothing");
}

#[test]
fn cron_jobs_lists_and_pods_are_entered() {
    let text = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "nightly", "namespace": "jobs" },
          "spec": { "jobTemplate": { "spec": { "template": { "spec": { "containers": [{ "name": "a" }] } } } } } },
        { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "one" }, "spec": { "containers": [{ "name": "b" }] } },
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "kind": "Pod" } },
    ] })
    .to_string();
    let outcome = inject_manifest(&text, "default", &InjectConfig::default()).unwrap();
    let names: Vec<_> = outcome.decisions.iter().map(|d| (d.resource.as_str(), d.decision.inject)).collect();
    assert_eq!(names, [("CronJob/nightly", true), ("Pod/one", true)]);
    let list: Value = serde_saphyr::from_str(&outcome.yaml).unwrap();
    let job = list.pointer("/items/0/spec/jobTemplate/spec/template").unwrap();
    let job = pod(json!({ "metadata": job["metadata"], "spec": job["spec"] }));
    assert_eq!(
        env(&job, "ISTIO_META_OWNER").as_deref(),
        Some("kubernetes://apis/batch/v1/namespaces/jobs/cronjobs/nightly")
    );
    assert_eq!(list["items"][2]["data"]["kind"], "Pod");
}

#[test]
fn bad_manifests_are_refused_by_document_and_resource() {
    let cases = [
        (
            "kind: Deployment\nmetadata: {name: a}\nspec: {}\n",
            "document 1 (Deployment/a): spec.template is missing",
        ),
        (
            "kind: A\n---\nkind: Deployment\nmetadata: {name: a}\nspec: {template: x}\n",
            "document 2 (Deployment/a)",
        ),
        ("kind: Pod\nmetadata: {name: b}\nspec: {containers: 3}\n", "document 1 (Pod/b)"),
        ("kind: [\n", "document 1: "),
    ];
    for (text, expected) in cases {
        let error = inject_manifest(text, "default", &InjectConfig::default()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// Istio's own sample manifests stand beside the checkout where they are available.
#[test]
fn every_upstream_sample_is_injected_and_stays_readable() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/upstream");
    let mut folders = vec![root];
    let mut workloads = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let outcome = inject_manifest(&text, "default", &InjectConfig::default())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let before: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
            let after: Vec<Value> = serde_saphyr::from_multiple(&outcome.yaml).unwrap();
            assert_eq!(before.len(), after.len(), "{}", path.display());
            for decision in &outcome.decisions {
                assert!(decision.decision.inject, "{}: {decision:?}", path.display());
            }
            workloads += outcome.decisions.len();
        }
    }
    if workloads == 0 {
        eprintln!("skipped: Istio's samples are not here");
    }
}

#[test]
fn the_manuals_manifests_are_readable_and_can_be_injected() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut workloads = 0;
    let folders = [docs.join("walkthroughs"), docs];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let pages = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    for path in pages {
        let page = std::fs::read_to_string(&path).unwrap();
        for block in page.split("```yaml\n").skip(1) {
            let manifest = block.split("```").next().unwrap();
            let outcome = inject_manifest(manifest, "default", &InjectConfig::default())
                .unwrap_or_else(|error| panic!("{}: {error}\n{manifest}", path.display()));
            workloads += outcome.decisions.iter().filter(|decision| decision.decision.inject).count();
        }
    }
    assert!(workloads >= 5, "the manual shows workloads");
}
