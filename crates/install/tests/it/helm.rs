//! The real Helm: it renders the charts to the same objects that are installed without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use lateen_install::{Chart, Release, Values};
use serde_json::Value;

/// Helm's program: `LATEEN_HELM`, or `helm` on the path.
fn helm() -> Option<PathBuf> {
    let program = std::env::var_os("LATEEN_HELM").map_or_else(|| PathBuf::from("helm"), PathBuf::from);
    if Command::new(&program).arg("version").output().is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    assert!(std::env::var("LATEEN_PEERS").as_deref() != Ok("required"), "helm is missing");
    eprintln!("skipped: there is no helm");
    None
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts")
}

/// Values that reach every condition of the templates, by chart.
const CASES: [(&str, &[&str]); 18] = [
    ("cni", &[]),
    (
        "cni",
        &[
            "global.imagePullPolicy=IfNotPresent",
            "global.imagePullSecrets={a}",
            "cni.chained=false",
            "cni.cniConfFileName=10-net.conflist",
            "cni.excludeNamespaces={a,b}",
            "cni.repair.repairPods=false",
            "cni.repair.deletePods=true",
            "cni.affinity.nodeAffinity.x=y",
            "cni.podLabels.team=mesh",
            "cni.podAnnotations.note=n",
        ],
    ),
    ("cni", &["cni.repair.repairPods=false", "cni.repair.labelPods=true", "cni.tolerations=null"]),
    ("istio", &["cni.enabled=true", "cni.repair.enabled=false"]),
    ("base", &[]),
    ("base", &["base.enableCRDTemplates=false", "base.aggregateRoles=false", "defaultRevision="]),
    ("base", &["base.enableCRDTemplates=false", "defaultRevision=canary"]),
    ("istiod", &[]),
    (
        "istiod",
        &["revision=canary", "pilot.autoscaleEnabled=false", "pilot.replicaCount=3", "pilot.configMap=false"],
    ),
    (
        "istiod",
        &[
            "global.imagePullPolicy=IfNotPresent",
            "global.imagePullSecrets={a,b}",
            "global.priorityClassName=system-cluster-critical",
            "global.configValidation=false",
            "global.operatorManageWebhooks=true",
            "global.defaultPodDisruptionBudget.enabled=false",
            "pilot.env.A=1",
            "pilot.env.B=true",
            "pilot.env.EXTERNAL_CA=ISTIOD_RA_KUBERNETES_API",
            "global.certSigners={example.com/mesh}",
            "pilot.nodeSelector.disk=ssd",
            "pilot.affinity.nodeAffinity.x=y",
            "pilot.tolerations[0].key=x",
            "pilot.podLabels.team=mesh",
            "pilot.podAnnotations.note=n",
            "pilot.deploymentLabels.team=mesh",
            "pilot.serviceAnnotations.note=n",
            "pilot.autoscaleBehavior.scaleDown.stabilizationWindowSeconds=60",
            "pilot.topologySpreadConstraints[0].maxSkew=1",
            "pilot.rollingMaxSurge=1",
        ],
    ),
    (
        "istiod",
        &[
            "sidecarInjectorWebhook.enableNamespacesByDefault=true",
            "meshConfig.defaultConfig.concurrency=2",
            "global.tag=7",
        ],
    ),
    ("gateway", &[]),
    ("gateway", &["name=istio-eastwest", "revision=canary", "perRevision=true", "service.type=NodePort"]),
    (
        "gateway",
        &[
            "service.loadBalancerIP=10.1.2.3",
            "service.loadBalancerClass=x/y",
            "service.loadBalancerSourceRanges={10.0.0.0/8}",
            "service.externalTrafficPolicy=Local",
            "service.annotations.note=n",
            "autoscaling.enabled=false",
            "podDisruptionBudget.minAvailable=1",
            "global.network=n1",
            "global.meshID=m1",
            "labels.team=edge",
            "podAnnotations.note=n",
            "env.A=b",
            "nodeSelector.disk=ssd",
            "tolerations[0].key=x",
            "proxyConfig.concurrency=1",
        ],
    ),
    ("istio", &[]),
    ("istio", &["gateways.istio-ingressgateway.type=NodePort", "gateways.istio-egressgateway.type=NodePort"]),
    (
        "istio",
        &[
            "base.enableCRDTemplates=false",
            "gateways.istio-egressgateway.enabled=false",
            "gateways.istio-ingressgateway.serviceAnnotations.note=n",
            "gateways.istio-ingressgateway.podDisruptionBudget=null",
            "meshConfig.trustDomain=example.org",
        ],
    ),
    (
        "istio",
        &[
            "gateways.istio-ingressgateway.type=ClusterIP",
            "gateways.istio-ingressgateway.externalTrafficPolicy=Local",
        ],
    ),
];

#[test]
fn helm_renders_what_is_installed_without_it() {
    let Some(helm) = helm() else { return };
    for (name, set) in CASES {
        let chart = Chart::all().into_iter().find(|chart| chart.name == name).unwrap();
        let mut release = Release::new(chart, "my-istio", "istio-system").unwrap();
        for argument in set {
            release.values().set(argument).unwrap();
        }
        let own = by_name(release.manifest().unwrap().objects);
        let mut command = Command::new(&helm);
        command.args(["template", "my-istio", "--namespace", "istio-system", "--kube-version", "1.34.0"]);
        command.arg(charts().join(name));
        set.iter().for_each(|argument| {
            command.args(["--set", argument]);
        });
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name} {set:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let theirs: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let theirs = by_name(theirs.into_iter().filter(|object| !object.is_null()).collect());
        assert_eq!(own.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name} {set:?}");
        for (key, object) in own {
            assert_eq!(object, theirs[&key], "{key} of {name} {set:?}");
        }
    }
}

/// Objects by kind, namespace and name, made comparable: who installs differs, and texts in YAML may be written otherwise.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let text = |object: &Value, pointer: &str| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    objects
        .into_iter()
        .map(|mut object| {
            let key = format!(
                "{} {}/{}",
                text(&object, "/kind"),
                text(&object, "/metadata/namespace"),
                text(&object, "/metadata/name")
            );
            normalise(&mut object);
            (key, object)
        })
        .collect()
}

fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match (key.as_str(), value.as_str()) {
                    ("app.kubernetes.io/managed-by", Some("Helm")) => *value = "lateen".into(),
                    ("mesh" | "values", Some(text)) => *value = serde_saphyr::from_str(text).unwrap(),
                    _ => normalise(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        _ => {}
    }
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    let Some(helm) = helm() else { return };
    for chart in Chart::all() {
        let output =
            Command::new(&helm).args(["lint", "--strict"]).arg(charts().join(chart.name)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn helm_refuses_wrong_values_by_the_schema() {
    let Some(helm) = helm() else { return };
    for (chart, set, path) in [
        ("istio", "gateways.istio-ingressgateway.type=Loadbalancer", "/gateways/istio-ingressgateway/type"),
        ("istiod", "pilot.replicas=3", "replicas"),
        ("gateway", "service.externalTrafficPolicy=local", "/service/externalTrafficPolicy"),
    ] {
        let output = Command::new(&helm)
            .args(["template", "x", "--set", set])
            .arg(charts().join(chart))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).replace('.', "/");
        assert!(!output.status.success() && error.contains(path), "{error}");
    }
}

#[test]
fn presets_of_the_gateway_chart_render_with_helm_too() {
    let Some(helm) = helm() else { return };
    for preset in ["external", "internal"] {
        let file = charts().join(format!("gateway/presets/{preset}.yaml"));
        let mut release = Release::new(Chart::gateway(), "g", "aks-istio-ingress").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        release.values().overlay(&Values::parse(preset, &text).unwrap());
        let own = by_name(release.manifest().unwrap().objects);
        let output = Command::new(&helm)
            .args(["template", "g", "-n", "aks-istio-ingress", "--kube-version", "1.34.0", "-f"])
            .arg(&file)
            .arg(charts().join("gateway"))
            .output()
            .unwrap();
        let theirs: Vec<Value> =
            serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
        assert_eq!(own, by_name(theirs.into_iter().filter(|object| !object.is_null()).collect()));
    }
}
