//! Deployments, ReplicaSets, StatefulSets, DaemonSets and ReplicationControllers.

use serde_json::{Value, json};

use super::{names, pod, pod_check};
use crate::object;
use crate::registry::Behaviour;
use crate::selector::Labels;
use crate::status::FieldError;
use crate::table::{self, AGE, Column, col, count, num, wide};

/// Deployments.
pub static DEPLOYMENT: Behaviour = Behaviour {
    default: default_deployment,
    validate: check,
    validate_update: fixed_selector,
    columns: DEPLOYMENT_COLUMNS,
    row: deployment_row,
    ..Behaviour::PLAIN
};

/// ReplicaSets.
pub static REPLICA_SET: Behaviour = Behaviour {
    default: default_replicas,
    validate: check,
    validate_update: fixed_selector,
    fields: replica_fields,
    columns: REPLICA_SET_COLUMNS,
    row: replica_set_row,
    ..Behaviour::PLAIN
};

/// ReplicationControllers.
pub static REPLICATION_CONTROLLER: Behaviour = Behaviour {
    default: default_controller,
    validate: check_template,
    fields: replica_fields,
    columns: REPLICA_SET_COLUMNS,
    row: replica_set_row,
    ..Behaviour::PLAIN
};

/// StatefulSets.
pub static STATEFUL_SET: Behaviour = Behaviour {
    default: default_stateful,
    validate: check,
    validate_update: fixed_selector,
    columns: &[col("Ready"), AGE, wide("Containers"), wide("Images")],
    row: stateful_row,
    ..Behaviour::PLAIN
};

/// DaemonSets.
pub static DAEMON_SET: Behaviour = Behaviour {
    default: default_daemon,
    validate: check,
    validate_update: fixed_selector,
    columns: DAEMON_SET_COLUMNS,
    row: daemon_row,
    ..Behaviour::PLAIN
};

/// Pod templates.
pub static POD_TEMPLATE: Behaviour = Behaviour {
    columns: &[col("Containers"), col("Images"), col("Pod Labels")],
    row: |object| {
        let [names, images] = containers(&object["template"]);
        vec![names, images, table::selector(object::at(object, &["template", "metadata", "labels"]))]
    },
    ..Behaviour::PLAIN
};

/// Revisions of StatefulSets and DaemonSets.
pub static CONTROLLER_REVISION: Behaviour = Behaviour {
    columns: &[col("Controller"), num("Revision"), AGE],
    row: |object| {
        let owner = object::list(object, &["metadata", "ownerReferences"]).first();
        let owner = owner.map_or_else(
            || "<none>".to_owned(),
            |o| {
                let group = object::text(o, &["apiVersion"]).split('/').next().unwrap_or_default();
                format!(
                    "{}.{group}/{}",
                    object::text(o, &["kind"]).to_lowercase(),
                    object::text(o, &["name"])
                )
            },
        );
        vec![owner.into(), count(object, &["revision"])]
    },
    ..Behaviour::PLAIN
};

const DEPLOYMENT_COLUMNS: &[Column] = &[
    col("Ready"),
    num("Up-to-date"),
    num("Available"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];
const REPLICA_SET_COLUMNS: &[Column] = &[
    num("Desired"),
    num("Current"),
    num("Ready"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];
const DAEMON_SET_COLUMNS: &[Column] = &[
    num("Desired"),
    num("Current"),
    num("Ready"),
    num("Up-to-date"),
    num("Available"),
    col("Node Selector"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

fn default_template(object: &mut Value) {
    pod::default_spec(object::map_mut(object, &["spec", "template", "spec"]));
}

fn default_replicas(object: &mut Value) {
    default_template(object);
    object::default(object::map_mut(object, &["spec"]), "replicas", 1);
}

fn default_deployment(object: &mut Value) {
    default_replicas(object);
    let spec = object::map_mut(object, &["spec"]);
    object::default(spec, "revisionHistoryLimit", 10);
    object::default(spec, "progressDeadlineSeconds", 600);
    let strategy = object::map_mut(object, &["spec", "strategy"]);
    object::default(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        let rolling = object::map_mut(object, &["spec", "strategy", "rollingUpdate"]);
        object::default(rolling, "maxUnavailable", "25%");
        object::default(rolling, "maxSurge", "25%");
    }
}

fn default_controller(object: &mut Value) {
    default_replicas(object);
    let labels = object::at(object, &["spec", "template", "metadata", "labels"]).cloned();
    if let Some(labels) = labels {
        object::default(object::map_mut(object, &["spec"]), "selector", labels);
    }
}

fn default_stateful(object: &mut Value) {
    default_replicas(object);
    let spec = object::map_mut(object, &["spec"]);
    object::default(spec, "podManagementPolicy", "OrderedReady");
    object::default(spec, "revisionHistoryLimit", 10);
    object::default(
        spec,
        "persistentVolumeClaimRetentionPolicy",
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
    );
    object::default(
        spec,
        "updateStrategy",
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
    );
}

/// The annotation by which old clients knew a DaemonSet's templates.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Counts a DaemonSet's templates.
pub fn count_template(old: &Value, new: &mut Value) {
    let template = |object: &Value| object::at(object, &["spec", "template"]).cloned();
    let count =
        object::text(old, &["metadata", "annotations", TEMPLATE_GENERATION]).parse::<u64>().unwrap_or(1);
    let count = count + u64::from(template(old) != template(new));
    let annotations = object::map_mut(new, &["metadata", "annotations"]);
    annotations.insert(TEMPLATE_GENERATION.into(), count.to_string().into());
}

fn default_daemon(object: &mut Value) {
    object::default(object::map_mut(object, &["metadata", "annotations"]), TEMPLATE_GENERATION, "1");
    default_template(object);
    let spec = object::map_mut(object, &["spec"]);
    object::default(spec, "revisionHistoryLimit", 10);
    let rolling = json!({"maxSurge": 0, "maxUnavailable": 1});
    object::default(spec, "updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
}

fn check(object: &Value, errors: &mut Vec<FieldError>) {
    check_replicas(object, errors);
    let selector = object::at(object, &["spec", "selector"]);
    // Kubernetes leaves it to the labels to tell of a DaemonSet without one.
    if selector.is_none() && object::text(object, &["kind"]) != "DaemonSet" {
        errors.push(FieldError::required("spec.selector", ""));
    }
    let labels = object::at(object, &["spec", "template", "metadata", "labels"]);
    let parsed = selector.map(Labels::from_object).unwrap_or_default();
    if let Some(selector) = selector.filter(|_| parsed.is_empty()) {
        let detail = "empty selector is invalid for deployment";
        errors.push(FieldError::invalid("spec.selector", selector.clone(), detail));
    } else if parsed.is_empty()
        || !parsed.matches(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
    {
        let detail = "`selector` does not match template `labels`";
        let labels = labels.cloned().unwrap_or_default();
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels, detail));
    }
    check_pods(object, errors);
}

fn check_replicas(object: &Value, errors: &mut Vec<FieldError>) {
    if object::int(object, &["spec", "replicas"]).is_some_and(|n| n < 0) {
        let value = object["spec"]["replicas"].clone();
        errors.push(FieldError::invalid("spec.replicas", value, "must be greater than or equal to 0"));
    }
}

fn check_template(object: &Value, errors: &mut Vec<FieldError>) {
    check_replicas(object, errors);
    check_pods(object, errors);
}

fn check_pods(object: &Value, errors: &mut Vec<FieldError>) {
    let path = ["spec", "template", "metadata", "labels"];
    names::labels(object, &path, "spec.template.labels", errors);
    let template = object::at(object, &["spec", "template", "spec"]).unwrap_or(&Value::Null);
    pod_check::spec(template, "spec.template.spec", errors);
    let policy = object::text(template, &["restartPolicy"]);
    if !matches!(policy, "Always" | "") {
        errors.push(FieldError::unsupported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
}

fn fixed_selector(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let selector = |object: &Value| object::at(object, &["spec", "selector"]).cloned().unwrap_or_default();
    if selector(old) != selector(new) {
        errors.push(FieldError::invalid("spec.selector", selector(new), "field is immutable"));
    }
}

fn replica_fields(object: &Value) -> Vec<(&'static str, String)> {
    vec![("status.replicas", object::int(object, &["status", "replicas"]).unwrap_or_default().to_string())]
}

/// Names and images of a template's containers.
pub fn containers(template: &Value) -> [Value; 2] {
    let containers = object::list(template, &["spec", "containers"]);
    ["name", "image"].map(|field| table::joined(containers.iter().map(|c| object::text(c, &[field]))))
}

fn tail(object: &Value) -> [Value; 3] {
    let [names, images] = containers(&object["spec"]["template"]);
    [names, images, table::selector(object::at(object, &["spec", "selector"]))]
}

fn ready(object: &Value) -> Value {
    let number = |path: &[&str]| object::int(object, path).unwrap_or_default();
    format!("{}/{}", number(&["status", "readyReplicas"]), number(&["spec", "replicas"])).into()
}

fn deployment_row(object: &Value) -> Vec<Value> {
    let own = [
        ready(object),
        count(object, &["status", "updatedReplicas"]),
        count(object, &["status", "availableReplicas"]),
    ];
    own.into_iter().chain(tail(object)).collect()
}

fn replica_set_row(object: &Value) -> Vec<Value> {
    let own = [
        count(object, &["spec", "replicas"]),
        count(object, &["status", "replicas"]),
        count(object, &["status", "readyReplicas"]),
    ];
    own.into_iter().chain(tail(object)).collect()
}

fn stateful_row(object: &Value) -> Vec<Value> {
    let [names, images] = containers(&object["spec"]["template"]);
    vec![ready(object), names, images]
}

fn daemon_row(object: &Value) -> Vec<Value> {
    let number = |field: &str| count(object, &["status", field]);
    let own = [
        number("desiredNumberScheduled"),
        number("currentNumberScheduled"),
        number("numberReady"),
        number("updatedNumberScheduled"),
        number("numberAvailable"),
        table::selector(object::at(object, &["spec", "template", "spec", "nodeSelector"])),
    ];
    own.into_iter().chain(tail(object)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_must_match_the_template() {
        let mut object = json!({"spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "x", "image": "y"}]}}}});
        default_deployment(&mut object);
        assert_eq!(object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
        let mut errors = Vec::new();
        check(&object, &mut errors);
        let want = "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template \
            `labels`";
        assert_eq!(errors[0].to_string(), want);
    }
}
