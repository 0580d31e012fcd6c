//! A pod's status from what is known of its containers; pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus, VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Record;
use super::container::Policy;
use super::record::{Ended, State};
use crate::network::NODE_IP;

/// What is known of the pod beside its containers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Its address.
    pub ip: Option<Ipv4Addr>,
    /// When the node took it.
    pub start: Option<Timestamp>,
    /// Why the node ended it, if it did: reason and message.
    pub failed: Option<(&'static str, String)>,
}

/// Whether an init container runs beside the others.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The status as of `now`; conditions that did not change keep their times, and others' conditions stay.
pub(crate) fn pod_status(
    pod: &Pod,
    records: &BTreeMap<String, Record>,
    facts: &Facts,
    now: Timestamp,
) -> PodStatus {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let initialized = inits.iter().all(|c| init_done(c, records));
    // Containers that are always restarted end with their pod, or with the node, which starts them again.
    let ends = pod.metadata.deletion_timestamp.is_some() || Policy::of(pod) != Policy::Always;
    let phase = phase(spec, records, facts, (initialized, ends));
    let ready_of = |c: &Container| records.get(&c.name).is_some_and(|r| r.ready);
    let unready: Vec<&str> = spec
        .containers
        .iter()
        .chain(inits.iter().filter(|c| is_sidecar(c)))
        .filter(|c| !ready_of(c))
        .map(|c| c.name.as_str())
        .collect();
    let ended = matches!(phase, "Succeeded" | "Failed");
    let containers_ready = unready.is_empty() && !ended;
    let why = match phase {
        "Succeeded" => Some(("PodCompleted", None)),
        "Failed" => Some(("PodFailed", None)),
        _ if containers_ready => None,
        _ => Some((
            "ContainersNotReady",
            Some(format!("containers with unready status: [{}]", unready.join(" "))),
        )),
    };
    let gates = gates_open(pod, spec);
    let pending: Vec<&str> =
        inits.iter().filter(|c| !init_done(c, records)).map(|c| c.name.as_str()).collect();
    let initialization = match phase {
        // Kubernetes gives the reason of the end here, too.
        "Succeeded" => Some(("PodCompleted", None)),
        _ if initialized => None,
        _ => Some((
            "ContainersNotInitialized",
            Some(format!("containers with incomplete status: [{}]", pending.join(" "))),
        )),
    };
    let not_ready = match (&why, gates) {
        (None, false) => Some(("ReadinessGatesNotReady", None)),
        _ => why.clone(),
    };
    let wanted = [
        ("PodReadyToStartContainers", facts.ip.is_some() && !ended, None),
        ("Initialized", initialized, initialization),
        ("Ready", containers_ready && gates, not_ready),
        ("ContainersReady", containers_ready, why),
        ("PodScheduled", true, None),
    ];
    let old = pod.status.as_ref();
    PodStatus {
        phase: Some(phase.to_owned()),
        reason: facts.failed.as_ref().map(|(reason, _)| (*reason).to_owned()),
        message: facts.failed.as_ref().map(|(_, message)| message.clone()),
        conditions: Some(conditions(old, &wanted, pod.metadata.generation, now)),
        host_ip: Some(NODE_IP.to_string()),
        host_ips: Some(vec![HostIP { ip: NODE_IP.to_string() }]),
        pod_ip: facts.ip.map(|ip| ip.to_string()),
        pod_ips: facts.ip.map(|ip| vec![PodIP { ip: ip.to_string() }]),
        start_time: facts.start.map(Time),
        qos_class: Some(qos(spec).to_owned()),
        init_container_statuses: Some(inits.iter().map(|c| container_status(c, records, true)).collect())
            .filter(|s: &Vec<_>| !s.is_empty()),
        container_statuses: Some(
            spec.containers.iter().map(|c| container_status(c, records, false)).collect(),
        ),
        observed_generation: pod.metadata.generation,
        ..Default::default()
    }
}

/// Whether the next container may start after this init container.
pub(crate) fn init_done(container: &Container, records: &BTreeMap<String, Record>) -> bool {
    records.get(&container.name).is_some_and(|record| {
        if is_sidecar(container) { record.started || record.done } else { record.result() == Some(0) }
    })
}

fn phase(
    spec: &PodSpec,
    records: &BTreeMap<String, Record>,
    facts: &Facts,
    (initialized, ends): (bool, bool),
) -> &'static str {
    let result = |c: &Container| records.get(&c.name).and_then(Record::result);
    let inits = spec.init_containers.iter().flatten().filter(|c| !is_sidecar(c));
    if facts.failed.is_some() || inits.into_iter().any(|c| result(c).is_some_and(|code| code != 0)) {
        return "Failed";
    }
    let results: Vec<Option<i32>> = spec.containers.iter().map(result).collect();
    let begun = |c: &Container| {
        records.get(&c.name).is_some_and(|r| !matches!(r.state, State::Waiting { .. }) || r.last.is_some())
    };
    if ends && !results.is_empty() && results.iter().all(Option::is_some) {
        return if results.iter().all(|code| *code == Some(0)) { "Succeeded" } else { "Failed" };
    }
    if initialized && spec.containers.iter().any(begun) { "Running" } else { "Pending" }
}

fn gates_open(pod: &Pod, spec: &PodSpec) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    spec.readiness_gates
        .iter()
        .flatten()
        .all(|gate| conditions.iter().any(|c| c.type_ == gate.condition_type && c.status == "True"))
}

type Wanted<'a> = (&'a str, bool, Option<(&'static str, Option<String>)>);

fn conditions(
    old: Option<&PodStatus>,
    wanted: &[Wanted<'_>],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<PodCondition> {
    let before = old.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let own = wanted.iter().map(|(kind, is, why)| {
        let status = if *is { "True" } else { "False" };
        let same = before.iter().find(|c| c.type_ == *kind && c.status == status);
        PodCondition {
            type_: (*kind).to_owned(),
            status: status.to_owned(),
            reason: why.as_ref().map(|(reason, _)| (*reason).to_owned()),
            message: why.as_ref().and_then(|(_, message)| message.clone()),
            observed_generation: generation,
            last_transition_time: same.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now))),
            ..Default::default()
        }
    });
    let foreign = before.iter().filter(|c| wanted.iter().all(|(kind, ..)| c.type_ != *kind)).cloned();
    own.chain(foreign).collect()
}

fn container_status(
    container: &Container,
    records: &BTreeMap<String, Record>,
    init: bool,
) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    let record = records.get(&container.name).cloned().unwrap_or_else(|| Record::new(init, 0));
    let state = match &record.state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some((*reason).to_owned()),
                message: message.clone(),
            }),
            ..Default::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..Default::default()
        },
        State::Terminated(ended) => terminated(ended),
    };
    // An init container is ready once it has done its work.
    let ready = if init && !is_sidecar(container) { record.result() == Some(0) } else { record.ready };
    ContainerStatus {
        name: container.name.clone(),
        image_id: record.id.as_ref().map(|_| image_id(&image)).unwrap_or_default(),
        image: full_name(&image),
        resources: Some(container.resources.clone().unwrap_or_default()),
        allocated_resources: container.resources.as_ref().and_then(|resources| resources.requests.clone()),
        volume_mounts: container.volume_mounts.as_ref().map(|mounts| mounts.iter().map(mounted).collect()),
        container_id: record.id.as_ref().map(|id| format!("lateen://{id}")),
        ready,
        started: Some(record.started && record.is_running()),
        restart_count: record.restarts.cast_signed(),
        state: Some(state),
        last_state: Some(record.last.as_ref().map(terminated).unwrap_or_default()),
        ..Default::default()
    }
}

fn mounted(mount: &VolumeMount) -> VolumeMountStatus {
    let read_only = mount.read_only.filter(|read_only| *read_only);
    VolumeMountStatus {
        mount_path: mount.mount_path.clone(),
        name: mount.name.clone(),
        read_only,
        recursive_read_only: read_only.map(|_| "Disabled".to_owned()),
    }
}

/// An image's name as container runtimes write it out: with a registry and a tag.
fn full_name(image: &str) -> String {
    let host =
        image.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
    let name = match (host, image.contains('/')) {
        _ if image.is_empty() => return String::new(),
        (true, _) => image.to_owned(),
        (false, true) => format!("docker.io/{image}"),
        (false, false) => format!("docker.io/library/{image}"),
    };
    let tagged = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if tagged { name } else { format!("{name}:latest") }
}

fn image_id(image: &str) -> String {
    if image.is_empty() { String::new() } else { format!("lateen://{image}") }
}

fn terminated(ended: &Ended) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: ended.code,
            signal: ended.signal,
            reason: Some(ended.reason.to_owned()),
            message: ended.message.clone(),
            started_at: ended.started.map(Time),
            finished_at: Some(Time(ended.finished)),
            container_id: Some(format!("lateen://{}", ended.id)),
        }),
        ..Default::default()
    }
}

/// Kubernetes' quality-of-service classes.
fn qos(spec: &PodSpec) -> &'static str {
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let (mut any, mut guaranteed) = (false, true);
    for container in all {
        let resources = container.resources.as_ref();
        let limits = resources.and_then(|r| r.limits.as_ref());
        let requests = resources.and_then(|r| r.requests.as_ref());
        for name in ["cpu", "memory"] {
            let limit = limits.and_then(|l| l.get(name));
            let request = requests.and_then(|r| r.get(name));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn two() -> Pod {
        pod(serde_json::json!({
            "initContainers": [{"name": "istio-init"}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "app", "resources": {"limits": {"cpu": "1"}}}]
        }))
    }

    fn ended(code: i32) -> State {
        State::Terminated(Ended {
            code,
            signal: None,
            reason: "Completed",
            message: None,
            started: None,
            finished: Timestamp::UNIX_EPOCH,
            id: "x".into(),
        })
    }

    fn record(state: State, ready: bool, done: bool) -> Record {
        Record { state, ready, started: ready, done, ..Record::new(false, 0) }
    }

    fn running() -> State {
        State::Running { since: Timestamp::UNIX_EPOCH }
    }

    fn status(pod: &Pod, records: &[(&str, Record)]) -> PodStatus {
        let records = records.iter().map(|(n, r)| ((*n).to_owned(), r.clone())).collect();
        pod_status(pod, &records, &Facts::default(), Timestamp::UNIX_EPOCH)
    }

    fn condition(status: &PodStatus, kind: &str) -> (String, Option<String>) {
        let found = status.conditions.iter().flatten().find(|c| c.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    #[test]
    fn a_pod_goes_from_pending_to_running_to_ready() {
        let pod = two();
        let pending = status(&pod, &[("istio-init", record(running(), false, false))]);
        assert_eq!(pending.phase.as_deref(), Some("Pending"));
        assert_eq!(
            condition(&pending, "Initialized"),
            ("False".into(), Some("ContainersNotInitialized".into()))
        );
        let init = ("istio-init", record(ended(0), false, true));
        let side = ("proxy", record(running(), true, false));
        let started = status(&pod, &[init.clone(), side.clone(), ("app", record(running(), false, false))]);
        assert_eq!(started.phase.as_deref(), Some("Running"));
        assert_eq!(condition(&started, "Ready"), ("False".into(), Some("ContainersNotReady".into())));
        let ready = status(&pod, &[init, side, ("app", record(running(), true, false))]);
        assert_eq!(condition(&ready, "Ready"), ("True".into(), None));
        assert!(ready.init_container_statuses.unwrap().iter().all(|s| s.ready));
    }

    #[test]
    fn a_jobs_pod_succeeds_though_its_sidecar_still_runs() {
        let records = [
            ("istio-init", record(ended(0), false, true)),
            ("proxy", record(running(), true, false)),
            ("app", record(ended(0), false, true)),
        ];
        let mut job = two();
        job.spec.as_mut().unwrap().restart_policy = Some("Never".into());
        let done = status(&job, &records);
        assert_eq!(done.phase.as_deref(), Some("Succeeded"));
        assert_eq!(condition(&done, "Ready"), ("False".into(), Some("PodCompleted".into())));
    }

    #[test]
    fn a_pod_that_ended_with_the_node_is_not_complete() {
        let records = [
            ("istio-init", record(ended(0), false, true)),
            ("proxy", record(ended(0), false, true)),
            ("app", record(ended(0), false, true)),
        ];
        let mut pod = two();
        assert_eq!(status(&pod, &records).phase.as_deref(), Some("Running"));
        pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(status(&pod, &records).phase.as_deref(), Some("Succeeded"));
    }

    #[test]
    fn a_container_that_will_be_started_again_is_no_failure() {
        let records = [
            ("istio-init", record(ended(0), false, true)),
            ("proxy", record(running(), true, false)),
            ("app", record(ended(1), false, false)),
        ];
        assert_eq!(status(&two(), &records).phase.as_deref(), Some("Running"));
        let failed = status(&two(), &[("istio-init", record(ended(1), false, true))]);
        assert_eq!(failed.phase.as_deref(), Some("Failed"));
    }

    #[test]
    fn unchanged_conditions_keep_their_time_and_foreign_ones_stay() {
        let mut pod = two();
        let gate =
            PodCondition { type_: "example.com/gate".into(), status: "True".into(), ..Default::default() };
        let mut first = status(&pod, &[]);
        first.conditions.as_mut().unwrap().push(gate);
        pod.status = Some(first);
        let later = Timestamp::from_second(100).unwrap();
        let second = pod_status(&pod, &BTreeMap::new(), &Facts::default(), later);
        let times: Vec<_> =
            second.conditions.iter().flatten().filter_map(|c| c.last_transition_time.clone()).collect();
        assert!(times.iter().all(|t| t.0 == Timestamp::UNIX_EPOCH));
        assert!(second.conditions.iter().flatten().any(|c| c.type_ == "example.com/gate"));
    }

    #[test]
    fn images_are_named_in_full() {
        for (image, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("me/app:1", "docker.io/me/app:1"),
            ("localhost/app:1", "localhost/app:1"),
            ("example.com:5000/app", "example.com:5000/app:latest"),
            ("", ""),
        ] {
            assert_eq!(full_name(image), full);
        }
    }

    #[test]
    fn quality_of_service_follows_resources() {
        let of = |resources: serde_json::Value| {
            let pod = pod(serde_json::json!({"containers": [{"name": "c", "resources": resources}]}));
            qos(pod.spec.as_ref().unwrap())
        };
        assert_eq!(of(serde_json::json!({})), "BestEffort");
        assert_eq!(of(serde_json::json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(of(serde_json::json!({"limits": {"cpu": "1", "memory": "1Mi"}})), "Guaranteed");
    }
}
