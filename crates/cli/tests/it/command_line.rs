//! The command line as the tutorials use it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{Mesh, User, has_program, missing_peer, samples};

fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    text
}

fn lateen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lateen")).args(arguments).output().unwrap()
}

#[test]
fn help_teaches_every_verb() {
    let said = text(&lateen(&["--help"]));
    for verb in ["up", "down", "status", "kube-inject", "validate", "crds", "proxy", "agent", "control"] {
        assert!(said.contains(verb), "{verb} is not in:\n{said}");
    }
}

#[test]
fn validate_names_every_field_that_is_wrong() {
    let file = std::env::temp_dir().join(format!("lateen-validate-{}.yaml", std::process::id()));
    fs::write(
        &file,
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  \
         http:\n  - rout: []\n    timeout: soon\n",
    )
    .unwrap();
    let output = lateen(&["validate", "-f", file.to_str().unwrap()]);
    let said = text(&output);
    fs::remove_file(&file).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("spec.http[0].rout") && said.contains("spec.http[0].timeout"), "{said}");
}

#[test]
fn the_projects_own_samples_are_valid() {
    let output = lateen(&["validate", "-f", samples().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_malformed_bootstrap_is_refused_with_its_place() {
    let file = std::env::temp_dir().join(format!("lateen-bootstrap-{}.yaml", std::process::id()));
    fs::write(&file, "static_resources:\n  listeners:\n  - name: a\n    adress: {}\n").unwrap();
    let output = lateen(&["proxy", "-c", file.to_str().unwrap(), "--mode", "validate"]);
    fs::remove_file(&file).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("adress"), "{}", text(&output));
}

#[test]
fn called_istioctl_it_speaks_as_the_tutorials_show() {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    let mesh = Mesh::up(User::Current, &[]);
    let istioctl = mesh.state.join("istioctl");
    symlink(env!("CARGO_BIN_EXE_lateen"), &istioctl).unwrap();
    let run = |arguments: &[&str]| {
        let output =
            Command::new(&istioctl).args(arguments).env("KUBECONFIG", mesh.kubeconfig()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        text(&output)
    };
    mesh.kubectl(&["create", "namespace", "voting"]);
    let file = samples().join("bookinfo/destination-rule-all.yaml");
    let file = file.to_str().unwrap();
    let said = run(&["create", "-f", file, "--namespace", "voting"]);
    let first = said.lines().next().unwrap();
    let revision =
        first.strip_prefix("Created config destination-rule/voting/productpage at revision ").unwrap();
    assert!(revision.parse::<u64>().is_ok(), "{said}");
    let said = run(&["replace", "-f", file, "-n", "voting"]);
    assert!(said.starts_with("Updated config destination-rule/voting/productpage to revision "), "{said}");
    assert!(run(&["get", "destinationrules", "-n", "voting"]).contains("reviews"));
    assert!(run(&["delete", "-f", file, "-n", "voting"]).contains("destination-rule/voting/productpage"));
    assert_eq!(mesh.kubectl(&["get", "dr", "-n", "voting", "-o", "name"]), "");
    manual_injection_gives_the_same_pod_as_automatic(&mesh, &run);
}

fn manual_injection_gives_the_same_pod_as_automatic(mesh: &Mesh, run: &dyn Fn(&[&str]) -> String) {
    for namespace in ["manual", "automatic"] {
        mesh.kubectl(&["create", "namespace", namespace]);
    }
    mesh.kubectl(&["label", "namespace", "automatic", "istio-injection=enabled"]);
    let file = samples().join("bookinfo/bookinfo.yaml");
    let injected = mesh.state.join("injected.yaml");
    let text = run(&["kube-inject", "-f", file.to_str().unwrap()]);
    fs::write(&injected, text).unwrap();
    let apply = |file: &Path, namespace: &str| {
        mesh.kubectl(&["apply", "-n", namespace, "-f", file.to_str().unwrap()])
    };
    apply(&injected, "manual");
    apply(&file, "automatic");
    let shape = |namespace: &str| {
        let path = "jsonpath={range .items[*]}{.spec.initContainers[*].args}{.spec.containers[*].name}\
                    {.spec.containers[?(@.name==\"istio-proxy\")].args}\
                    {.spec.containers[?(@.name==\"istio-proxy\")].ports}\
                    {.spec.containers[?(@.name==\"istio-proxy\")].env[*].name}{\"\\n\"}{end}";
        mesh.kubectl(&[
            "wait",
            "-n",
            namespace,
            "--for=condition=Available",
            "deployment",
            "--all",
            "--timeout=60s",
        ]);
        mesh.kubectl(&["get", "pods", "-n", namespace, "-l", "app=details", "-o", path])
    };
    assert_eq!(shape("manual"), shape("automatic"));
}
