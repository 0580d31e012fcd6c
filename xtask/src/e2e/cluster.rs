use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Options;

/// For the times that are printed.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A cluster, spoken to by the programs that people use.
pub struct Cluster {
    lateen: PathBuf,
    helm: PathBuf,
    node: Option<String>,
    proxy: Option<String>,
    /// Requests a second of scenarios that put it under load.
    pub rate: u32,
    cni_folders: (String, String),
}

impl Cluster {
    /// The cluster of KUBECONFIG.
    pub fn new(options: &Options) -> Result<Cluster> {
        if std::env::var_os("KUBECONFIG").is_none() {
            bail!("set KUBECONFIG: the scenarios install and remove a mesh on the cluster that it names");
        }
        let lateen = std::fs::canonicalize(&options.lateen).with_context(|| {
            format!("{}: build it, or name another with --lateen", options.lateen.display())
        })?;
        let cluster = Cluster {
            lateen,
            helm: options.helm.clone(),
            node: options.node.clone(),
            proxy: options.proxy.clone(),
            rate: options.rate,
            cni_folders: (options.cni_bin_dir.clone(), options.cni_conf_dir.clone()),
        };
        let version = cluster.kubectl(&["version"])?;
        println!("{}", version.trim());
        Ok(cluster)
    }

    /// Where the nodes have CNI plugins and network configurations.
    pub fn cni_folders(&self) -> (&str, &str) {
        (&self.cni_folders.0, &self.cni_folders.1)
    }

    /// Runs kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(Path::new("kubectl"), arguments, None)
    }

    /// Runs `lateen`.
    pub fn lateen(&self, arguments: &[&str]) -> Result<String> {
        run(&self.lateen, arguments, None)
    }

    /// Runs Helm.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        run(&self.helm, arguments, None)
    }

    /// `kubectl apply` of a text, as `| kubectl apply -f -`.
    pub fn apply_text(&self, text: &str, more: &[&str]) -> Result<String> {
        let arguments: Vec<&str> = ["apply", "-f", "-"].iter().chain(more).copied().collect();
        run(Path::new("kubectl"), &arguments, Some(text))
    }

    /// `kubectl apply` of one of the project's manifests.
    pub fn apply(&self, sample: &str) -> Result<String> {
        self.kubectl(&["apply", "-f", &path(sample)])
    }

    /// One value out of an object.
    pub fn value(&self, what: &[&str], jsonpath: &str) -> Result<String> {
        let output = format!("jsonpath={jsonpath}");
        let arguments: Vec<&str> = ["get"].iter().chain(what).copied().chain(["-o", &output]).collect();
        self.kubectl(&arguments)
    }

    /// `ADDRESS:PORT` of a gateway's plain HTTP: the load balancer's, or a NodePort where the cluster has none.
    pub fn gateway(&self, namespace: &str, service: &str) -> Result<String> {
        let what = ["service", service, "-n", namespace];
        let kind = self.value(&what, "{.spec.type}")?;
        let balanced = eventually(Duration::from_secs(20), || {
            let ip = self.value(&what, "{.status.loadBalancer.ingress[0].ip}")?;
            if ip.is_empty() && kind == "LoadBalancer" {
                bail!("no load balancer's address");
            }
            Ok(ip)
        });
        let port = |field: &str| self.value(&what, &format!("{{.spec.ports[?(@.name==\"http2\")].{field}}}"));
        match balanced {
            Ok(ip) if !ip.is_empty() => Ok(format!("{ip}:{}", port("port")?)),
            _ => Ok(format!("{}:{}", self.node()?, port("nodePort")?)),
        }
    }

    /// Installs with `lateen`, ready for tutorials; `set` are further values.
    pub fn install(&self, set: &[&str]) -> Result<()> {
        let mut arguments = vec!["install", "-y", "--profile", "demo"];
        let proxy = self.proxy_values();
        set.iter()
            .copied()
            .chain(proxy.iter().map(String::as_str))
            .for_each(|value| arguments.extend(["--set", value]));
        self.lateen(&arguments).map(drop)
    }

    /// Values that make another program every proxy, if one is asked for.
    pub fn proxy_values(&self) -> Vec<String> {
        let places = [
            "pilot.env.LATEEN_PROXY_BINARY",
            "gateways.istio-ingressgateway.env.PROXY_BINARY",
            "gateways.istio-egressgateway.env.PROXY_BINARY",
        ];
        let value = |path: &String| places.map(|place| format!("{place}={path}"));
        self.proxy.as_ref().map(value).into_iter().flatten().collect()
    }

    /// Puts a namespace into the mesh.
    pub fn inject(&self, namespace: &str) -> Result<()> {
        self.kubectl(&["label", "namespace", namespace, "istio-injection=enabled", "--overwrite"]).map(drop)
    }

    /// Nothing that the control plane sent was refused by a proxy, and nothing that it asked for by the API.
    pub fn nothing_was_refused(&self) -> Result<()> {
        let all = ["logs", "-n", "istio-system", "-l", "app=istiod", "--tail=-1", "--max-log-requests=10"];
        let log = self.kubectl(&all)?;
        let signs = ["refused configuration", "orbidden"];
        let is_refusal = |line: &&str| signs.iter().any(|sign| line.contains(sign));
        let refused: Vec<&str> = log.lines().filter(is_refusal).collect();
        if refused.is_empty() { Ok(()) } else { bail!("{}", refused.join("\n")) }
    }

    /// Where NodePorts are reached.
    pub fn node(&self) -> Result<String> {
        match &self.node {
            Some(node) => Ok(node.clone()),
            None => self.value(&["nodes"], "{.items[0].status.addresses[?(@.type==\"InternalIP\")].address}"),
        }
    }

    /// Waits until the Deployments of a namespace are available.
    pub fn wait_deployments(&self, namespace: &str) -> Result<()> {
        let all = ["wait", "--for=condition=Available", "deployment", "--all", "--timeout=120s", "-n"];
        let waited = self.kubectl(&[&all[..], &[namespace]].concat());
        if waited.is_err() {
            println!("{}", self.kubectl(&["get", "pods", "-A", "-o", "wide"])?);
            println!("{}", self.kubectl(&["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"])?);
        }
        waited.map(drop)
    }

    /// Removes what scenarios leave: applications, the mesh, its definitions and namespaces.
    pub fn clean(&self) -> Result<()> {
        let nothing = "--ignore-not-found";
        self.kubectl(&["label", "namespace", "default", "istio-injection-", "istio.io/rev-"])?;
        let applications = ["bookinfo/bookinfo.yaml", "sleep/sleep.yaml", "canary/node-app.yaml"]
            .map(|name| path(&format!("samples/{name}")));
        for sample in &applications {
            self.kubectl(&["delete", "-f", sample, nothing, "--wait=false"])?;
        }
        self.kubectl(&["delete", "namespace", "aks-istio-ingress", "by-hand", "voting", nothing])?;
        self.kubectl(&["delete", "job", "caller", nothing])?;
        self.kubectl(&["delete", "persistentvolume", "lateen-e2e", nothing, "--wait=false"])?;
        self.kubectl(&["wait", "pod", "--all", "-n", "default", "--for=delete", "--timeout=90s"])?;
        // What Helm wrote, lateen leaves alone: both are asked.
        let _ = self.helm(&["uninstall", "istio", "-n", "istio-system", "--wait"]);
        self.lateen(&["uninstall", "--purge", "-y"])?;
        let labelled =
            "mutatingwebhookconfiguration,validatingwebhookconfiguration,clusterrole,clusterrolebinding";
        self.kubectl(&["delete", labelled, "-l", "app.kubernetes.io/part-of=istio", nothing])?;
        self.kubectl(&["delete", "namespace", "istio-system", nothing, "--wait=true"])?;
        self.kubectl(&["delete", "crd", "-l", "app.kubernetes.io/part-of=istio", nothing])?;
        Ok(())
    }
}

/// A file of the project.
pub fn path(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).display().to_string()
}

fn run(program: &Path, arguments: &[&str], input: Option<&str>) -> Result<String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    println!("{:6.1}s $ {name} {}", STARTED.elapsed().as_secs_f64(), arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
        stdin.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{name} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Tries until it works, or tells the last reason.
pub fn eventually<T>(patience: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > patience => {
                return Err(error.context(format!("still so after {patience:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
