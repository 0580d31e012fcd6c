//! Istio's reference of annotations, those of pods: <https://istio.io/latest/docs/reference/config/annotations/>.

use super::*;

/// What an annotation has to do.
enum Effect {
    /// This text is found at this JSON pointer of the injected pod; `{proxy}` and `{init}` stand for the containers.
    At(&'static str, &'static str),
    /// The text is among the init container's arguments.
    Argument(&'static str),
    /// The pod is left alone.
    NotInjected,
    /// It is accepted and changes nothing in the pod: docs/injection.md says why.
    Nothing,
}
use Effect::{Argument, At, NotInjected, Nothing};

const REFERENCE: [(&str, &str, Effect); 43] = [
    ("inject.istio.io/templates", "sidecar", At("{proxy}/args/1", "sidecar")),
    ("istio.io/reroute-virtual-interfaces", "br0", Argument("-k br0")),
    ("prometheus.istio.io/merge-metrics", "false", At("/metadata/annotations/prometheus.io~1port", "")),
    ("proxy.istio.io/config", "concurrency: 3", At("{proxy}/env/9/value", "\"concurrency\":3")),
    ("proxy.istio.io/overrides", "{}", Nothing),
    ("readiness.status.sidecar.istio.io/applicationPorts", "80", Nothing),
    (
        "readiness.status.sidecar.istio.io/failureThreshold",
        "7",
        At("{proxy}/readinessProbe/failureThreshold", "7"),
    ),
    (
        "readiness.status.sidecar.istio.io/initialDelaySeconds",
        "8",
        At("{proxy}/readinessProbe/initialDelaySeconds", "8"),
    ),
    ("readiness.status.sidecar.istio.io/periodSeconds", "9", At("{proxy}/readinessProbe/periodSeconds", "9")),
    ("sidecar.istio.io/agentLogLevel", "default:debug", At("{proxy}/args/6", "default:debug")),
    ("sidecar.istio.io/bootstrapOverride", "mine", At("/spec/volumes/8/configMap/name", "mine")),
    ("sidecar.istio.io/componentLogLevel", "rbac:debug", At("{proxy}/args/5", "rbac:debug")),
    ("sidecar.istio.io/controlPlaneAuthPolicy", "NONE", Nothing),
    ("sidecar.istio.io/discoveryAddress", "istiod:15012", Nothing),
    ("sidecar.istio.io/enableCoreDump", "true", Nothing),
    ("sidecar.istio.io/extraStatTags", "tag", Nothing),
    ("sidecar.istio.io/inject", "false", NotInjected),
    ("sidecar.istio.io/interceptionMode", "TPROXY", Argument("-m TPROXY")),
    ("sidecar.istio.io/logLevel", "debug", At("{proxy}/args/4", "debug")),
    ("sidecar.istio.io/nativeSidecar", "true", At("/spec/initContainers/1/name", "istio-proxy")),
    ("sidecar.istio.io/proxyCPU", "11m", At("{proxy}/resources/requests/cpu", "11m")),
    ("sidecar.istio.io/proxyCPULimit", "12m", At("{proxy}/resources/limits/cpu", "12m")),
    ("sidecar.istio.io/proxyImage", "mine:1", At("{proxy}/image", "mine:1")),
    ("sidecar.istio.io/proxyMemory", "13Mi", At("{proxy}/resources/requests/memory", "13Mi")),
    ("sidecar.istio.io/proxyMemoryLimit", "14Mi", At("{proxy}/resources/limits/memory", "14Mi")),
    (
        "sidecar.istio.io/rewriteAppHTTPProbers",
        "false",
        At("/spec/containers/0/readinessProbe/httpGet/path", "/health"),
    ),
    ("sidecar.istio.io/statsCompression", "gzip", Nothing),
    ("sidecar.istio.io/statsHistogramBuckets", "{}", Nothing),
    ("sidecar.istio.io/statsInclusionPrefixes", "a", Nothing),
    ("sidecar.istio.io/statsInclusionRegexps", "a", Nothing),
    ("sidecar.istio.io/statsInclusionSuffixes", "a", Nothing),
    ("sidecar.istio.io/status", "{}", At("/metadata/annotations/sidecar.istio.io~1status", "istio-proxy")),
    ("sidecar.istio.io/userVolume", r#"[{"name":"v","emptyDir":{}}]"#, At("/spec/volumes/8/name", "v")),
    (
        "sidecar.istio.io/userVolumeMount",
        r#"[{"name":"v","mountPath":"/v"}]"#,
        At("{proxy}/volumeMounts/8/mountPath", "/v"),
    ),
    ("status.sidecar.istio.io/port", "16020", Argument("-d 15090,15021,16020")),
    ("traffic.sidecar.istio.io/excludeInboundPorts", "22", Argument("-d 15090,15021,15020,22")),
    ("traffic.sidecar.istio.io/excludeInterfaces", "eth1", Argument("-c eth1")),
    ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.0.0.0/8", Argument("-x 10.0.0.0/8")),
    ("traffic.sidecar.istio.io/excludeOutboundPorts", "3306", Argument("-o 3306")),
    ("traffic.sidecar.istio.io/includeInboundPorts", "80", Argument("-b 80")),
    ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8", Argument("-i 10.0.0.0/8")),
    ("traffic.sidecar.istio.io/includeOutboundPorts", "27017", Argument("-q 27017")),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", "br1", Argument("-k br1")),
];

#[test]
fn every_annotation_of_the_reference_does_what_it_should() {
    let plain = json!(injected(&annotated(&[]), &InjectConfig::default()));
    for (name, value, effect) in &REFERENCE {
        let before = annotated(&[(name, value)]);
        let target = Target { namespace: "default", namespace_labels: None };
        let injection = inject(&before, &target, &InjectConfig::default()).unwrap();
        assert_eq!(injection.decision.inject, !matches!(effect, NotInjected), "{name}");
        let after = json!(injection.pod);
        match effect {
            NotInjected => assert_eq!(injection.pod, before, "{name}"),
            Argument(expected) => {
                let all = arguments(&injection.pod);
                assert!(all.contains(expected), "{name}: {all}");
                assert!(
                    !arguments(&injected(&annotated(&[]), &InjectConfig::default())).contains(expected),
                    "{name}"
                );
            }
            At(place, expected) => {
                let place = place.replace("{proxy}", "/spec/containers/1");
                let text =
                    after.pointer(&place).map(ToString::to_string).unwrap_or_default().replace('\\', "");
                assert!(text.contains(expected), "{name}: {place} is {text}");
            }
            Nothing => {
                let mut after = after;
                after["metadata"]["annotations"].as_object_mut().unwrap().remove(*name);
                assert_eq!(after, plain, "{name}");
            }
        }
    }
}

#[test]
fn what_changes_nothing_is_told_in_the_manual() {
    let manual = include_str!("../../../../docs/injection.md");
    for (name, _, effect) in &REFERENCE {
        let short = name.split_once('/').map_or(*name, |(_, short)| short);
        assert!(!matches!(effect, Nothing) || manual.contains(short), "{name} is not in docs/injection.md");
    }
}
