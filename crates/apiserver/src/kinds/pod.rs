//! Pods, and pod templates wherever they stand.

use serde_json::{Map, Value, json};

use super::pod_check;
use crate::object;
use crate::registry::Behaviour;
use crate::status::FieldError;
use crate::table::{self, AGE, Column, col, wide};

/// Pods.
pub static POD: Behaviour = Behaviour {
    default,
    validate,
    validate_update: pod_check::update,
    fields,
    columns: COLUMNS,
    row,
    path_names: false,
};

const COLUMNS: &[Column] = &[
    col("Ready"),
    col("Status"),
    col("Restarts"),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

fn default(object: &mut Value) {
    default_spec(object::map_mut(object, &["spec"]));
    let spec = object::map_mut(object, &["spec"]);
    object::default(spec, "enableServiceLinks", true);
    object::default(spec, "preemptionPolicy", "PreemptLowerPriority");
    object::default(spec, "priority", 0);
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        spec.insert("serviceAccount".into(), account);
    }
    let qos = qos_class(object);
    let status = object::map_mut(object, &["status"]);
    // Kubernetes writes this time out even where there is none.
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            condition.entry("lastProbeTime").or_insert(Value::Null);
        }
    }
    object::default(status, "phase", "Pending");
    object::default(status, "qosClass", qos);
}

/// Fills in what Kubernetes fills into every pod spec.
pub fn default_spec(spec: &mut Map<String, Value>) {
    object::default(spec, "restartPolicy", "Always");
    object::default(spec, "terminationGracePeriodSeconds", 30);
    object::default(spec, "dnsPolicy", "ClusterFirst");
    object::default(spec, "securityContext", json!({}));
    object::default(spec, "schedulerName", "default-scheduler");
    if let Some(account) = spec.get("serviceAccount").cloned() {
        object::default(spec, "serviceAccountName", account);
    }
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        object::default(spec, "serviceAccount", account);
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            default_container(container, host_network);
        }
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten();
    volumes.filter_map(Value::as_object_mut).for_each(default_volume);
}

fn default_container(container: &mut Map<String, Value>, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let latest = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
    object::default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    object::default(container, "terminationMessagePath", "/dev/termination-log");
    object::default(container, "terminationMessagePolicy", "File");
    object::default(container, "resources", json!({}));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        object::default(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            object::default(port, "hostPort", number);
        }
    }
    for env in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(field) = env.pointer_mut("/valueFrom/fieldRef").and_then(Value::as_object_mut) {
            object::default(field, "apiVersion", "v1");
        }
        if let Some(field) = env.pointer_mut("/valueFrom/resourceFieldRef").and_then(Value::as_object_mut) {
            object::default(field, "divisor", "0");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        let pointer = format!("/{hook}/httpGet");
        let hook = container.get_mut("lifecycle").and_then(|l| l.pointer_mut(&pointer));
        if let Some(http) = hook.and_then(Value::as_object_mut) {
            default_http(http);
        }
    }
    if let Some(resources) = container.get_mut("resources")
        && let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned()
    {
        let requests = object::map_mut(resources, &["requests"]);
        for (name, limit) in limits {
            object::default(requests, &name, limit);
        }
    }
}

fn default_http(http: &mut Map<String, Value>) {
    object::default(http, "path", "/");
    object::default(http, "scheme", "HTTP");
}

fn default_probe(probe: &mut Map<String, Value>) {
    object::default(probe, "timeoutSeconds", 1);
    object::default(probe, "periodSeconds", 10);
    object::default(probe, "successThreshold", 1);
    object::default(probe, "failureThreshold", 3);
    if let Some(http) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
        default_http(http);
    }
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        object::default(grpc, "service", "");
    }
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for (kind, mode) in
        [("secret", 0o644), ("configMap", 0o644), ("downwardAPI", 0o644), ("projected", 0o644)]
    {
        if let Some(source) = volume.get_mut(kind).and_then(Value::as_object_mut) {
            object::default(source, "defaultMode", mode);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        object::default(path, "type", "");
    }
    let refs = |items: Option<&mut Value>| {
        for item in items.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
                object::default(field, "apiVersion", "v1");
            }
        }
    };
    refs(volume.get_mut("downwardAPI").and_then(|d| d.get_mut("items")));
    let sources =
        volume.get_mut("projected").and_then(|p| p.get_mut("sources")).and_then(Value::as_array_mut);
    for source in sources.into_iter().flatten() {
        refs(source.get_mut("downwardAPI").and_then(|d| d.get_mut("items")));
        if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
            object::default(token, "expirationSeconds", 3600);
        }
    }
}

fn qos_class(object: &Value) -> &'static str {
    let lists = ["containers", "initContainers"].map(|list| object::list(object, &["spec", list]));
    let (mut guaranteed, mut best_effort) = (true, true);
    for container in lists.into_iter().flatten() {
        for resource in ["cpu", "memory"] {
            let limit = object::at(container, &["resources", "limits", resource]);
            let request = object::at(container, &["resources", "requests", resource]);
            best_effort &= limit.is_none() && request.is_none();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (best_effort, guaranteed) {
        (true, _) => "BestEffort",
        (_, true) => "Guaranteed",
        _ => "Burstable",
    }
}

fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    pod_check::spec(object.get("spec").unwrap_or(&Value::Null), "spec", errors);
}

fn fields(object: &Value) -> Vec<(&'static str, String)> {
    let text = |path: &[&str]| object::text(object, path).to_owned();
    vec![
        ("spec.nodeName", text(&["spec", "nodeName"])),
        ("spec.restartPolicy", text(&["spec", "restartPolicy"])),
        ("spec.schedulerName", text(&["spec", "schedulerName"])),
        ("spec.serviceAccountName", text(&["spec", "serviceAccountName"])),
        ("spec.hostNetwork", object["spec"]["hostNetwork"].as_bool().unwrap_or_default().to_string()),
        ("status.phase", text(&["status", "phase"])),
        ("status.podIP", text(&["status", "podIP"])),
        ("status.nominatedNodeName", text(&["status", "nominatedNodeName"])),
    ]
}

fn restartable(object: &Value, name: &str) -> bool {
    let inits = object::list(object, &["spec", "initContainers"]);
    inits
        .iter()
        .any(|c| object::text(c, &["name"]) == name && object::text(c, &["restartPolicy"]) == "Always")
}

/// The reason that `kubectl get pods` shows, with the ready and restarted containers.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: String,
}

fn summary(object: &Value) -> Summary {
    let status = |list: &str| object::list(object, &["status", list]).to_vec();
    let inits = object::list(object, &["spec", "initContainers"]);
    let sidecars = inits.iter().filter(|c| object::text(c, &["restartPolicy"]) == "Always").count();
    let phase = object::text(object, &["status", "phase"]);
    let own = object::text(object, &["status", "reason"]);
    let mut summary = Summary {
        reason: if own.is_empty() { phase } else { own }.to_owned(),
        ready: 0,
        total: object::list(object, &["spec", "containers"]).len() + sidecars,
        restarts: 0,
        last_restart: String::new(),
    };
    let mut initializing = false;
    let init_statuses = status("initContainerStatuses");
    for (index, container) in init_statuses.iter().enumerate() {
        let sidecar = restartable(object, object::text(container, &["name"]));
        let started = container.get("started") == Some(&Value::Bool(true));
        if sidecar && started {
            summary.ready += usize::from(container.get("ready") == Some(&Value::Bool(true)));
            summary.count_restarts(container);
            continue;
        }
        if object::int(container, &["state", "terminated", "exitCode"]) == Some(0) {
            continue;
        }
        summary.count_restarts(container);
        summary.reason = init_reason(container, index, inits.len());
        initializing = true;
        break;
    }
    if !initializing {
        running_reason(object, &status("containerStatuses"), &mut summary);
    }
    if object::terminating(object) {
        let lost = own == "NodeLost";
        let done = matches!(phase, "Succeeded" | "Failed");
        if lost {
            summary.reason = "Unknown".into();
        } else if !done {
            summary.reason = "Terminating".into();
        }
    }
    summary
}

impl Summary {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += object::int(container, &["restartCount"]).unwrap_or_default();
        let finished = object::text(container, &["lastState", "terminated", "finishedAt"]);
        if finished > self.last_restart.as_str() {
            finished.clone_into(&mut self.last_restart);
        }
    }
}

fn ended(state: &Value) -> String {
    let (reason, signal) =
        (object::text(state, &["reason"]), object::int(state, &["signal"]).unwrap_or_default());
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", object::int(state, &["exitCode"]).unwrap_or_default())
    }
}

fn init_reason(container: &Value, index: usize, total: usize) -> String {
    let state = &container["state"];
    let waiting = object::text(state, &["waiting", "reason"]);
    if let Some(terminated) = state.get("terminated") {
        format!("Init:{}", ended(terminated))
    } else if !waiting.is_empty() && waiting != "PodInitializing" {
        format!("Init:{waiting}")
    } else {
        format!("Init:{index}/{total}")
    }
}

fn running_reason(object: &Value, statuses: &[Value], summary: &mut Summary) {
    let mut running = false;
    for container in statuses.iter().rev() {
        summary.count_restarts(container);
        let state = &container["state"];
        let waiting = object::text(state, &["waiting", "reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if let Some(terminated) = state.get("terminated") {
            summary.reason = ended(terminated);
        } else if container.get("ready") == Some(&Value::Bool(true)) && state.get("running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let conditions = object::list(object, &["status", "conditions"]);
        let ready = conditions
            .iter()
            .any(|c| object::text(c, &["type"]) == "Ready" && object::text(c, &["status"]) == "True");
        summary.reason = if ready { "Running" } else { "NotReady" }.into();
    }
}

fn row(object: &Value) -> Vec<Value> {
    let summary = summary(object);
    let restarts = match (summary.restarts, summary.last_restart.as_str()) {
        (n, "") => n.to_string(),
        (n, time) => format!("{n} ({} ago)", table::since(time, jiff::Timestamp::now())),
    };
    let gates = object::list(object, &["spec", "readinessGates"]);
    let gate_ready = |gate: &&Value| {
        object::list(object, &["status", "conditions"])
            .iter()
            .any(|c| c.get("type") == gate.get("conditionType") && object::text(c, &["status"]) == "True")
    };
    let gates = match gates.len() {
        0 => "<none>".to_owned(),
        n => format!("{}/{n}", gates.iter().filter(gate_ready).count()),
    };
    vec![
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        table::or_none(object, &["status", "podIP"]),
        table::or_none(object, &["spec", "nodeName"]),
        table::or_none(object, &["status", "nominatedNodeName"]),
        gates.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(status: Value) -> Vec<Value> {
        let spec = json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]});
        row(&json!({"metadata": {}, "spec": spec, "status": status}))
    }

    #[test]
    fn the_status_column_tells_what_kubectl_tells() {
        let pending = cells(json!({"phase": "Pending"}));
        assert_eq!(pending[..3], [json!("0/2"), json!("Pending"), json!("0")]);
        let init = cells(
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
        );
        assert_eq!(init[1], "Init:0/1");
        let done = json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}]);
        let up = json!({"ready": true, "state": {"running": {}}});
        let both =
            cells(json!({"phase": "Running", "initContainerStatuses": done, "containerStatuses": [up, up]}));
        assert_eq!(both[..2], [json!("2/2"), json!("Running")]);
        let loops =
            json!({"ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
        let broken = cells(json!({"phase": "Running", "containerStatuses": [up, loops]}));
        assert_eq!(broken[..3], [json!("1/2"), json!("CrashLoopBackOff"), json!("3")]);
    }

    #[test]
    fn a_minimal_pod_gets_kubernetes_defaults() {
        let mut pod =
            json!({"spec": {"containers": [{"name": "a", "image": "x:1", "ports": [{"containerPort": 1}]}]}});
        default(&mut pod);
        assert_eq!(pod["spec"]["restartPolicy"], "Always");
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    }
}
