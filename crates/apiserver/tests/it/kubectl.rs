//! Stock kubectl; skipped where there is none.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::{Scratch, builder};
use lateen_apiserver::Handle;
use tokio::io::AsyncWriteExt as _;

struct Kubectl {
    _server: Handle,
    scratch: Scratch,
}

impl Kubectl {
    /// A server and kubectl for it; None where kubectl is missing, which `LATEEN_PEERS=required` makes a failure.
    async fn start() -> Option<Self> {
        let found = std::process::Command::new("kubectl").args(["version", "--client"]).output();
        if !found.is_ok_and(|o| o.status.success()) {
            assert_ne!(std::env::var("LATEEN_PEERS").as_deref(), Ok("required"), "kubectl is required");
            eprintln!("skipped: there is no kubectl");
            return None;
        }
        let server = builder().start().await.unwrap();
        let scratch = Scratch::new();
        std::fs::write(scratch.path().join("config"), server.kubeconfig()).unwrap();
        Some(Self { _server: server, scratch })
    }

    async fn output(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = tokio::process::Command::new("kubectl");
        command.args(arguments).env("KUBECONFIG", self.scratch.path().join("config"));
        command.env("HOME", self.scratch.path()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // kubectl may end without reading.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output();
        tokio::time::timeout(std::time::Duration::from_secs(60), output).await.expect("in time").unwrap()
    }

    /// What a command prints when it succeeds.
    async fn ok(&self, arguments: &[&str]) -> String {
        self.with(arguments, "").await
    }

    async fn with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command complains about.
    async fn fails(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input).await;
        assert!(!output.status.success(), "{arguments:?} should fail");
        String::from_utf8(output.stderr).unwrap()
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'nginx:1', ports: [{containerPort: 80}]}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn everyday_commands_work() {
    let Some(kubectl) = Kubectl::start().await else { return };
    assert_eq!(kubectl.with(&["apply", "-f", "-"], DEPLOYMENT).await, "deployment.apps/web created\n");
    assert_eq!(kubectl.with(&["apply", "-f", "-"], DEPLOYMENT).await, "deployment.apps/web unchanged\n");
    let changed = DEPLOYMENT.replace("nginx:1", "nginx:2");
    let difference = kubectl.output(&["diff", "-f", "-"], &changed).await;
    let text = String::from_utf8(difference.stdout).unwrap();
    assert!(text.contains("-      - image: nginx:1") && text.contains("+      - image: nginx:2"), "{text}");
    assert_eq!(kubectl.with(&["apply", "-f", "-"], &changed).await, "deployment.apps/web configured\n");
    let table = kubectl.ok(&["get", "deploy", "web", "-o", "wide"]).await;
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    let columns = ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"];
    assert_eq!(header, columns);
    assert!(table.lines().nth(1).unwrap().starts_with("web    0/1     0            0"), "{table}");
    kubectl.ok(&["scale", "deploy/web", "--replicas=3"]).await;
    kubectl.ok(&["label", "deploy", "web", "tier=front"]).await;
    let path = "{.spec.replicas} {.metadata.labels.tier} {.metadata.generation}";
    assert_eq!(kubectl.ok(&["get", "deploy", "web", "-o", &format!("jsonpath={path}")]).await, "3 front 3");
    kubectl.ok(&["set", "image", "deploy/web", "c=nginx:3"]).await;
    kubectl.ok(&["rollout", "restart", "deploy/web"]).await;
    let status = kubectl.fails(&["rollout", "status", "deploy/web", "--timeout=1s"], "").await;
    assert!(status.contains("timed out"), "{status}");
    assert!(
        kubectl
            .ok(&["describe", "deploy", "web"])
            .await
            .contains("RollingUpdateStrategy:  25% max unavailable")
    );
    kubectl.ok(&["expose", "deploy", "web", "--port=80", "--type=NodePort"]).await;
    kubectl.ok(&["wait", "--for=jsonpath={.spec.type}=NodePort", "svc/web"]).await;
    let all = kubectl.output(&["get", "all"], "").await;
    assert!(String::from_utf8_lossy(&all.stdout).contains("service/web"));
    assert!(all.stderr.is_empty(), "old groups are no part of all: {}", String::from_utf8_lossy(&all.stderr));
    kubectl.ok(&["delete", "deploy,svc", "web"]).await;
    assert!(
        kubectl.fails(&["get", "deploy", "web"], "").await.contains("deployments.apps \"web\" not found")
    );
    assert!(
        kubectl.fails(&["get", "nonsense"], "").await.contains("the server doesn't have a resource type")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_speak_protobuf_work() {
    let Some(kubectl) = Kubectl::start().await else { return };
    assert_eq!(kubectl.ok(&["create", "namespace", "n"]).await, "namespace/n created\n");
    kubectl.ok(&["-n", "n", "create", "configmap", "c", "--from-literal=a=b"]).await;
    assert_eq!(kubectl.ok(&["-n", "n", "get", "cm", "c", "-o", "jsonpath={.data.a}"]).await, "b");
    kubectl
        .ok(&["-n", "n", "create", "deployment", "web", "--image=nginx", "--port=80", "--replicas=2"])
        .await;
    let path = "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].ports[0].containerPort}";
    assert_eq!(kubectl.ok(&["-n", "n", "get", "deploy", "web", "-o", path]).await, "2 80");
    kubectl.ok(&["-n", "n", "create", "secret", "generic", "s", "--from-literal=k=v"]).await;
    kubectl.ok(&["-n", "n", "create", "job", "j", "--image=x", "--", "ls"]).await;
    kubectl.ok(&["-n", "n", "create", "role", "r", "--verb=get", "--resource=pods"]).await;
    assert_eq!(kubectl.ok(&["create", "token", "default"]).await.split('.').count(), 3);
    assert_eq!(kubectl.ok(&["auth", "can-i", "list", "pods"]).await, "yes\n");
    assert!(kubectl.ok(&["auth", "whoami"]).await.contains("system:masters"));
    assert_eq!(kubectl.ok(&["delete", "namespace", "n"]).await, "namespace \"n\" deleted\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_schemas_are_understood() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let resources = kubectl.ok(&["api-resources"]).await;
    assert!(resources.lines().any(|l| l.split_whitespace().eq([
        "deployments",
        "deploy",
        "apps/v1",
        "true",
        "Deployment"
    ])));
    assert!(kubectl.ok(&["api-versions"]).await.contains("apps/v1\n"));
    assert!(kubectl.ok(&["explain", "pod.spec.containers.ports"]).await.contains("containerPort\t<integer>"));
    let unknown = DEPLOYMENT.replace("image:", "imagee:");
    let error = kubectl.fails(&["apply", "-f", "-"], &unknown).await;
    assert!(
        error.contains("strict decoding error: unknown field \"spec.template.spec.containers[0].imagee\""),
        "{error}"
    );
    let missing = "apiVersion: example.com/v1\nkind: None\nmetadata: {name: missing}\n";
    let error = kubectl.fails(&["apply", "-f", "-"], missing).await;
    assert!(error.contains("no matches for kind \"None\" in version \"example.com/v1\""), "{error}");
    let applied = kubectl.with(&["apply", "--server-side", "-f", "-"], DEPLOYMENT).await;
    assert_eq!(applied, "deployment.apps/web serverside-applied\n");
    let old = DEPLOYMENT.replace("apps/v1", "extensions/v1beta1").replace("name: web", "name: old");
    assert_eq!(kubectl.with(&["apply", "-f", "-"], &old).await, "deployment.extensions/old created\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn istio_resources_are_served_by_their_definitions() {
    let Some(kubectl) = Kubectl::start().await else { return };
    let definitions = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": lateen_api::crds()});
    kubectl.with(&["create", "-f", "-"], &definitions.to_string()).await;
    let service = "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: reviews}\n\
        spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}\n";
    let said = kubectl.with(&["apply", "-f", "-"], service).await;
    assert_eq!(said, "virtualservice.networking.istio.io/reviews created\n");
    let table = kubectl.ok(&["get", "vs"]).await;
    assert!(table.lines().nth(1).unwrap().contains("[\"reviews\"]"), "{table}");
    let wrong = service.replace("hosts:", "hostz:");
    let error = kubectl.fails(&["apply", "-f", "-"], &wrong).await;
    assert!(error.contains("unknown field \"spec.hostz\""), "{error}");
    if let Some(file) = upstream("istio-1.0/bookinfo/networking/destination-rule-all.yaml") {
        kubectl.ok(&["apply", "-f", file.to_str().unwrap()]).await;
        assert!(
            kubectl
                .ok(&["get", "dr", "-o", "name"])
                .await
                .contains("destinationrule.networking.istio.io/reviews")
        );
    }
}

/// Manifests of Istio's samples beside the repository.
fn upstream(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/upstream");
    let found = root.join(path);
    found.exists().then_some(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn bookinfo_of_both_ages_is_applied() {
    let Some(kubectl) = Kubectl::start().await else { return };
    for (release, kind) in [("istio-1.0", "deployment.extensions"), ("istio-1.32-dev", "deployment.apps")] {
        let Some(file) = upstream(&format!("{release}/bookinfo/platform/kube/bookinfo.yaml")) else {
            eprintln!("skipped: {release}'s samples are not here");
            continue;
        };
        let file = file.to_str().unwrap();
        let said = kubectl.ok(&["apply", "-f", file]).await;
        assert!(said.contains(&format!("{kind}/productpage-v1 created\n")), "{said}");
        assert_eq!(kubectl.ok(&["get", "deploy", "-o", "name"]).await.lines().count(), 6);
        kubectl.ok(&["delete", "-f", file]).await;
    }
}
