//! The plugin as a container runtime calls it: with a network namespace, and pods in a real API.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::thread;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lateen_apiserver::{ApiServer, Handle};
use lateen_capture::Ruleset;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

type Test = fn(&Cluster);

fn main() {
    let required = std::env::var("LATEEN_PEERS").as_deref() == Ok("required");
    if let Err(reason) = enter() {
        assert!(!required, "no namespaces: {reason}");
        println!("skipped: this kernel gives no user and network namespace: {reason}");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(Cluster::start());
    let tests: [(&str, Test); 5] = [
        ("a_pod_of_the_mesh_is_captured_and_checked", a_pod_of_the_mesh_is_captured_and_checked),
        ("other_pods_are_passed_over", other_pods_are_passed_over),
        ("a_broken_annotation_fails_the_pod_by_name", a_broken_annotation_fails_the_pod_by_name),
        (
            "an_api_that_does_not_answer_is_tried_again_later",
            an_api_that_does_not_answer_is_tried_again_later,
        ),
        ("the_protocol_is_kept", the_protocol_is_kept),
    ];
    for (name, test) in tests {
        test(&cluster);
        println!("test {name} ... ok");
    }
}

/// Root makes network namespaces as it is, others in a user namespace.
fn enter() -> Result<(), String> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    if !(uid.is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok()) {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|e| e.to_string())?;
        let write = |file: &str, text: String| std::fs::write(file, text).map_err(|e| format!("{file}: {e}"));
        write("/proc/self/setgroups", "deny".into())?;
        write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
    up.is_ok_and(|status| status.success())
        .then_some(())
        .ok_or_else(|| "`ip link set lo up` failed".to_owned())
}

struct Cluster {
    _server: Handle,
    kubeconfig: std::path::PathBuf,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.kubeconfig));
    }
}

impl Cluster {
    async fn start() -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ApiServer::builder().listener(listener).start().await.unwrap();
        server.ready().await;
        let kubeconfig = std::env::temp_dir().join(format!("lateen-cni-{}.kubeconfig", std::process::id()));
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let config = Kubeconfig::from_yaml(server.kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let pods: Api<Pod> = Api::namespaced(Client::try_from(config).unwrap(), "default");
        let injected = json!({ "sidecar.istio.io/status": "{}" });
        let mut broken = injected.clone();
        broken["traffic.sidecar.istio.io/excludeOutboundPorts"] = json!("many");
        let proxy = json!([{ "name": "web", "image": "web" }, { "name": "istio-proxy", "image": "lateen" }]);
        for (name, annotations, containers, init) in [
            ("web", &injected, &proxy, json!([])),
            ("broken", &broken, &proxy, json!([])),
            ("plain", &json!({}), &json!([{ "name": "web", "image": "web" }]), json!([])),
            ("own", &injected, &proxy, json!([{ "name": "istio-init", "image": "lateen" }])),
        ] {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": name, "annotations": annotations },
                "spec": { "containers": containers, "initContainers": init },
            }))
            .unwrap();
            pods.create(&PostParams::default(), &pod).await.unwrap();
        }
        Cluster { _server: server, kubeconfig }
    }

    fn config(&self) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "istio-cni",
            "kubernetes": { "kubeconfig": self.kubeconfig, "exclude_namespaces": ["kube-system"] },
            "prevResult": { "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0" }], "ips": [] },
        })
    }
}

/// A pod's network.
struct Network(File);

impl Network {
    fn new() -> Network {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Network(made.join().unwrap())
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let run = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            run.join().unwrap()
        })
    }

    fn is_captured(&self) -> bool {
        self.inside(|| Ruleset::is_applied().unwrap())
    }
}

/// A call in a thread of its own, as a process of its own would be.
fn call(command: &str, network: &Network, pod: (&str, &str), config: &Value) -> (Value, bool) {
    let arguments = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={}", pod.0, pod.1);
    let variables = [
        ("CNI_COMMAND", command.to_owned()),
        ("CNI_NETNS", network.path()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_ARGS", arguments),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let input = config.to_string();
    let (answer, well) = thread::spawn(move || lateen_cni::call(variables, &input)).join().unwrap();
    (serde_json::from_str(&answer).unwrap_or_default(), well)
}

fn a_pod_of_the_mesh_is_captured_and_checked(cluster: &Cluster) {
    let (network, config) = (Network::new(), cluster.config());
    let web = ("default", "web");
    assert!(!call("CHECK", &network, web, &config).1, "nothing is captured yet");
    let (result, well) = call("ADD", &network, web, &config);
    assert!(well, "{result}");
    assert_eq!(result, config["prevResult"], "the result of the plugins before is handed on");
    assert!(network.is_captured());
    assert!(call("ADD", &network, web, &config).1, "a runtime may ask again");
    assert_eq!(call("CHECK", &network, web, &config), (Value::Null, true));
    network.inside(|| Ruleset::remove().unwrap());
    let (error, well) = call("CHECK", &network, web, &config);
    assert!(!well && error["code"] == 101, "{error}");
    assert_eq!(call("DEL", &network, web, &config), (Value::Null, true));
}

fn other_pods_are_passed_over(cluster: &Cluster) {
    let config = cluster.config();
    let mut nowhere = config.clone();
    nowhere["kubernetes"]["kubeconfig"] = json!("/does/not/exist");
    for (pod, config) in [
        (("default", "plain"), &config),
        (("default", "own"), &config),
        (("default", "never-there"), &config),
        // Namespaces that are left out need no API: what the network itself runs on is there.
        (("kube-system", "dns"), &nowhere),
    ] {
        let network = Network::new();
        let (result, well) = call("ADD", &network, pod, config);
        assert!(well, "{pod:?}: {result}");
        assert_eq!(result, config["prevResult"]);
        assert!(!network.is_captured(), "{pod:?}");
    }
}

fn a_broken_annotation_fails_the_pod_by_name(cluster: &Cluster) {
    let network = Network::new();
    let (error, well) = call("ADD", &network, ("default", "broken"), &cluster.config());
    assert!(!well && error["code"] == 100, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("excludeOutboundPorts"), "{error}");
    assert!(!network.is_captured());
}

fn an_api_that_does_not_answer_is_tried_again_later(cluster: &Cluster) {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap();
    let path = cluster.kubeconfig.with_extension("closed");
    std::fs::write(&path, text.replace(server.trim_matches('"'), &format!("https://{closed}"))).unwrap();
    let mut config = cluster.config();
    config["kubernetes"]["kubeconfig"] = json!(path);
    let network = Network::new();
    let (error, well) = call("ADD", &network, ("default", "web"), &config);
    std::fs::remove_file(&path).unwrap();
    assert!(!well && error["code"] == 11, "{error}");
    assert!(!network.is_captured());
}

fn the_protocol_is_kept(cluster: &Cluster) {
    let network = Network::new();
    let (versions, well) = call("VERSION", &network, ("", ""), &json!({ "cniVersion": "0.4.0" }));
    assert!(well && versions["cniVersion"] == "0.4.0", "{versions}");
    assert!(versions["supportedVersions"].as_array().unwrap().contains(&json!("1.0.0")));
    assert!(call("STATUS", &network, ("", ""), &cluster.config()).1);
    assert!(call("GC", &network, ("", ""), &cluster.config()).1);
    let mut first = cluster.config();
    first.as_object_mut().unwrap().remove("prevResult");
    let (error, well) = call("ADD", &network, ("default", "web"), &first);
    assert!(!well && error["code"] == 7 && error["msg"].as_str().unwrap().contains("chained"), "{error}");
    assert_eq!(call("NONSENSE", &network, ("", ""), &cluster.config()).0["code"], 4);
}
