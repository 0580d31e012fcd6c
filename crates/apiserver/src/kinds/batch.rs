//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::{pod, pod_check, workload};
use crate::object;
use crate::registry::Behaviour;
use crate::status::FieldError;
use crate::table::{self, AGE, Column, col, num, wide};

/// Jobs.
pub static JOB: Behaviour = Behaviour {
    default: default_job,
    validate: check_job,
    validate_update: fixed_template,
    fields: |object| {
        vec![(
            "status.successful",
            object::int(object, &["status", "succeeded"]).unwrap_or_default().to_string(),
        )]
    },
    columns: JOB_COLUMNS,
    row: job_row,
    ..Behaviour::PLAIN
};

/// CronJobs.
pub static CRON_JOB: Behaviour = Behaviour {
    default: default_cron,
    validate: check_cron,
    columns: CRON_COLUMNS,
    row: cron_row,
    ..Behaviour::PLAIN
};

const JOB_COLUMNS: &[Column] = &[
    col("Status"),
    col("Completions"),
    col("Duration"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];
const CRON_COLUMNS: &[Column] = &[
    col("Schedule"),
    col("Timezone"),
    col("Suspend"),
    num("Active"),
    col("Last Schedule"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

fn default_job(object: &mut Value) {
    pod::default_spec(object::map_mut(object, &["spec", "template", "spec"]));
    let uid = object::meta(object, "uid").to_owned();
    let name = object::name(object).to_owned();
    let spec = object::map_mut(object, &["spec"]);
    let indexed = spec.get("completionMode").and_then(Value::as_str) == Some("Indexed");
    if !spec.contains_key("parallelism") && !spec.contains_key("completions") {
        spec.insert("completions".into(), 1.into());
    }
    object::default(spec, "parallelism", 1);
    object::default(spec, "backoffLimit", 6);
    object::default(spec, "completionMode", if indexed { "Indexed" } else { "NonIndexed" });
    object::default(spec, "suspend", false);
    object::default(spec, "podReplacementPolicy", "TerminatingOrFailed");
    let manual = spec.get("manualSelector") == Some(&Value::Bool(true));
    object::default(spec, "manualSelector", false);
    if !manual && !uid.is_empty() && !spec.contains_key("selector") {
        spec.insert("selector".into(), json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
        let labels = object::map_mut(object, &["spec", "template", "metadata", "labels"]);
        for (key, value) in [("controller-uid", &uid), ("job-name", &name)] {
            object::default(labels, &format!("batch.kubernetes.io/{key}"), value.as_str());
            object::default(labels, key, value.as_str());
        }
    }
    default_labels(object);
}

/// A Job without labels has those of its pods.
fn default_labels(object: &mut Value) {
    let none =
        object::at(object, &["metadata", "labels"]).and_then(Value::as_object).is_none_or(|l| l.is_empty());
    let labels = object::at(object, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels.filter(|_| none) {
        object::meta_mut(object).insert("labels".into(), labels);
    }
}

fn default_cron(object: &mut Value) {
    let spec = object::map_mut(object, &["spec"]);
    object::default(spec, "concurrencyPolicy", "Allow");
    object::default(spec, "suspend", false);
    object::default(spec, "successfulJobsHistoryLimit", 3);
    object::default(spec, "failedJobsHistoryLimit", 1);
    object::map_mut(object, &["spec", "jobTemplate", "metadata"]);
    object::map_mut(object, &["spec", "jobTemplate", "spec", "template", "metadata"]);
    pod::default_spec(object::map_mut(object, &["spec", "jobTemplate", "spec", "template", "spec"]));
}

fn check_job(object: &Value, errors: &mut Vec<FieldError>) {
    let template = object::at(object, &["spec", "template", "spec"]).unwrap_or(&Value::Null);
    check_template(template, "spec.template.spec", errors);
}

fn check_cron(object: &Value, errors: &mut Vec<FieldError>) {
    let schedule = object::text(object, &["spec", "schedule"]);
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if schedule.is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    } else if !schedule.starts_with('@') && fields.len() != 5 {
        let detail = format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" "));
        errors.push(FieldError::invalid("spec.schedule", schedule, detail));
    }
    let path = ["spec", "jobTemplate", "spec", "template", "spec"];
    let template = object::at(object, &path).unwrap_or(&Value::Null);
    check_template(template, "spec.jobTemplate.spec.template.spec", errors);
}

fn check_template(template: &Value, path: &str, errors: &mut Vec<FieldError>) {
    pod_check::spec(template, path, errors);
    let policy = object::text(template, &["restartPolicy"]);
    if policy == "Always" {
        let detail = "valid values: \"OnFailure\", \"Never\"";
        errors.push(FieldError::required(format!("{path}.restartPolicy"), detail));
    }
}

fn fixed_template(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    for field in ["selector", "template", "completionMode"] {
        let value = |object: &Value| object::at(object, &["spec", field]).cloned().unwrap_or_default();
        if value(old) != value(new) {
            errors.push(FieldError::invalid(format!("spec.{field}"), value(new), "field is immutable"));
        }
    }
}

fn job_row(object: &Value) -> Vec<Value> {
    let number = |path: &[&str]| object::int(object, path);
    let done = number(&["status", "succeeded"]).unwrap_or_default();
    let completions = match (number(&["spec", "completions"]), number(&["spec", "parallelism"]).unwrap_or(1))
    {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, 0 | 1) => format!("{done}/1"),
        (None, parallel) => format!("{done}/1 of {parallel}"),
    };
    let start = object::text(object, &["status", "startTime"]).parse::<jiff::Timestamp>();
    let end = object::text(object, &["status", "completionTime"]).parse::<jiff::Timestamp>();
    let duration = start.map_or_else(
        |_| String::new(),
        |start| {
            let end = end.unwrap_or_else(|_| jiff::Timestamp::now());
            table::human_duration(end.as_second() - start.as_second())
        },
    );
    let holds = |kind: &str| {
        let conditions = object::list(object, &["status", "conditions"]);
        conditions
            .iter()
            .any(|c| object::text(c, &["type"]) == kind && object::text(c, &["status"]) == "True")
    };
    let status = [("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")]
        .into_iter()
        .find(|(kind, _)| holds(kind))
        .map_or("Running", |(_, shown)| shown);
    let status = if object::terminating(object) { "Terminating" } else { status };
    let [names, images] = workload::containers(&object["spec"]["template"]);
    vec![
        status.into(),
        completions.into(),
        duration.into(),
        names,
        images,
        table::selector(object::at(object, &["spec", "selector"])),
    ]
}

fn cron_row(object: &Value) -> Vec<Value> {
    let last = match object::text(object, &["status", "lastScheduleTime"]) {
        "" => "<none>".to_owned(),
        time => table::since(time, jiff::Timestamp::now()),
    };
    let suspended = object["spec"]["suspend"].as_bool().unwrap_or_default();
    let [names, images] = workload::containers(&object["spec"]["jobTemplate"]["spec"]["template"]);
    vec![
        object::text(object, &["spec", "schedule"]).into(),
        table::or_none(object, &["spec", "timeZone"]),
        if suspended { "True" } else { "False" }.into(),
        object::list(object, &["status", "active"]).len().into(),
        last.into(),
        names,
        images,
        table::selector(object::at(object, &["spec", "jobTemplate", "spec", "selector"])),
    ]
}
