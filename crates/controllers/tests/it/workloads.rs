use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::{Value, json};

use crate::Mesh;

fn template(app: &str) -> Value {
    json!({ "metadata": { "labels": { "app": app } }, "spec": { "containers": [{ "name": "c", "image": "c" }] } })
}

#[tokio::test]
async fn a_stateful_set_makes_its_pods_by_name_and_order() {
    let mesh = Mesh::start();
    let budget = json!({ "minAvailable": 2, "selector": { "matchLabels": { "app": "db" } } });
    mesh.create::<PodDisruptionBudget>(json!({ "metadata": { "name": "db" }, "spec": budget })).await;
    mesh.create::<StatefulSet>(json!({
        "metadata": { "name": "db" },
        "spec": { "replicas": 3, "serviceName": "db", "selector": { "matchLabels": { "app": "db" } },
                  "template": template("db") },
    }))
    .await;
    mesh.api
        .until("three ready pods", |api| {
            (api.list("apps/v1/statefulsets")[0]["status"]["readyReplicas"] == 3).then_some(())
        })
        .await;
    let mut names: Vec<_> = mesh
        .api
        .list("v1/pods")
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["db-0", "db-1", "db-2"]);
    let revisions = mesh.api.list("apps/v1/controllerrevisions");
    assert_eq!(
        (revisions.len(), &revisions[0]["revision"]),
        (1, &json!(1)),
        "kubectl rollout undo needs them"
    );
    mesh.api
        .until("room for one disruption", |api| {
            let budgets = api.list("policy/v1/poddisruptionbudgets");
            (budgets[0]["status"]["disruptionsAllowed"] == 1).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_job_runs_to_its_end_and_a_cron_job_starts_one() {
    let mesh = Mesh::start();
    mesh.create::<Job>(json!({
        "metadata": { "name": "sum" }, "spec": { "completions": 3, "parallelism": 2, "template": template("sum") },
    }))
    .await;
    // Created years ago, as far as the API tells: a run is due.
    mesh.create::<CronJob>(json!({
        "metadata": { "name": "tick" },
        "spec": { "schedule": "* * * * *", "startingDeadlineSeconds": 120,
                  "jobTemplate": { "spec": { "template": template("tick") } } },
    }))
    .await;
    mesh.api
        .until("two complete jobs", |api| {
            let jobs = api.list("batch/v1/jobs");
            let complete = |job: &&Value| {
                let conditions = job["status"]["conditions"].as_array();
                conditions.is_some_and(|list| list.iter().any(|condition| condition["type"] == "Complete"))
            };
            let succeeded: Vec<_> =
                jobs.iter().filter(complete).map(|job| job["status"]["succeeded"].clone()).collect();
            (succeeded.contains(&json!(3)) && succeeded.contains(&json!(1))).then_some(())
        })
        .await;
}
