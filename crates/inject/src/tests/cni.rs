//! Pods whose traffic a CNI plugin captures.

use super::*;
use crate::capture_arguments;

fn cni() -> InjectConfig {
    InjectConfig { cni: true, native_sidecars: true, ..InjectConfig::default() }
}

/// The rules of the `restricted` Pod Security level for containers
/// (<https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>).
fn is_restricted(container: &Container) -> bool {
    let context = json!(container.security_context);
    context["allowPrivilegeEscalation"] == json!(false)
        && context["capabilities"] == json!({ "drop": ["ALL"] })
        && context["runAsNonRoot"] == json!(true)
        && context["runAsUser"] != json!(0)
        && context["seccompProfile"]["type"] == json!("RuntimeDefault")
}

#[test]
fn the_pod_needs_no_privilege_and_checks_its_capture() {
    let pod = injected(&pod(reviews()), &cni());
    let init = pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap();
    let names: Vec<_> = init.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["istio-validation", "istio-proxy"]);
    assert!(init.iter().all(is_restricted), "{}", json!(init));
    let arguments = init[0].args.as_ref().unwrap();
    assert_eq!(arguments[arguments.len() - 2..], ["--run-validation", "--skip-rule-apply"]);
    let status: Value =
        serde_json::from_str(&pod.metadata.annotations.as_ref().unwrap()["sidecar.istio.io/status"]).unwrap();
    assert_eq!(status["initContainers"], json!(["istio-validation", "istio-proxy"]));
}

#[test]
fn the_plugin_captures_as_the_init_container_would() {
    let mut mesh = InjectConfig::default();
    mesh.capture.include_ip_ranges = "10.0.0.0/8".into();
    mesh.capture.exclude_inbound_ports = "22".into();
    mesh.ports.status = 16020;
    let notes = [
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "3306"),
        ("traffic.sidecar.istio.io/excludeInterfaces", "eth1"),
        ("istio.io/reroute-virtual-interfaces", "br0"),
        ("sidecar.istio.io/interceptionMode", "TPROXY"),
    ];
    for (config, notes) in [(&InjectConfig::default(), &notes[..0]), (&mesh, &notes[..]), (&mesh, &[])] {
        let by_init = arguments(&injected(&annotated(notes), config));
        let by_plugin = injected(&annotated(notes), &InjectConfig { cni: true, ..config.clone() });
        let by_plugin = capture_arguments(&by_plugin).unwrap().unwrap().join(" ");
        assert_eq!(format!("capture {by_plugin}"), by_init);
    }
}

#[test]
fn the_plugin_captures_dns_whether_the_mesh_or_the_pod_says_so() {
    let metadata = json!({ "proxyMetadata": { "ISTIO_META_DNS_CAPTURE": "true" } });
    let mesh = InjectConfig { default_config: metadata.as_object().unwrap().clone(), ..cni() };
    let annotated = annotated(&[("proxy.istio.io/config", &metadata.to_string())]);
    for pod in [injected(&pod(reviews()), &mesh), injected(&annotated, &cni())] {
        let arguments = capture_arguments(&pod).unwrap().unwrap().join(" ");
        assert!(arguments.ends_with(" --redirect-dns --capture-all-dns"), "{arguments}");
    }
}

#[test]
fn pods_that_are_not_the_plugins_are_left_to_themselves() {
    let left = |pod: &Pod| assert_eq!(capture_arguments(pod).unwrap(), None);
    left(&pod(reviews()));
    left(&injected(&pod(reviews()), &InjectConfig::default()));
    left(&injected(&annotated(&[("sidecar.istio.io/interceptionMode", "NONE")]), &cni()));
    let gateway = json!({
        "metadata": { "name": "gw", "labels": { "sidecar.istio.io/inject": "true" },
                      "annotations": { "inject.istio.io/templates": "gateway" } },
        "spec": { "containers": [{ "name": "istio-proxy", "image": "auto" }] },
    });
    left(&injected(&pod(gateway), &cni()));
    let mut broken = injected(&pod(reviews()), &cni());
    let notes = broken.metadata.annotations.as_mut().unwrap();
    notes.insert("traffic.sidecar.istio.io/excludeOutboundPorts".into(), "many".into());
    assert!(capture_arguments(&broken).unwrap_err().to_string().contains("excludeOutboundPorts"));
}

#[test]
fn the_proxys_user_is_the_one_of_the_pod() {
    let mut value = reviews();
    let own =
        json!({ "name": "istio-proxy", "image": "auto", "securityContext": { "runAsUser": 1000640001 } });
    value["spec"]["containers"].as_array_mut().unwrap().push(own);
    let arguments = capture_arguments(&injected(&pod(value), &cni())).unwrap().unwrap();
    assert!(arguments.join(" ").contains("-u 1000640001"), "{arguments:?}");
}
