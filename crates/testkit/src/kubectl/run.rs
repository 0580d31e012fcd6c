//! Runs the chapters on a cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::mask::Mask;
use super::script::{Chapter, Step};
use super::{Answer, file};

/// How long a preparation may take to succeed.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long one command may take, in seconds.
const LIMIT: &str = "100";

/// kubectl's own version, `v1.MINOR`: what it prints differs between versions.
///
/// # Errors
/// There is no kubectl.
pub fn client_version() -> Result<String> {
    let output =
        Command::new("kubectl").args(["version", "--client"]).output().context("there is no kubectl")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap_or_default();
    Ok(version.split('.').take(2).collect::<Vec<_>>().join("."))
}

/// Runs chapters on the cluster of a kubeconfig, as many at a time as `workers`; the answers are in the order of the
/// chapters. What they leave on the cluster is removed.
///
/// # Errors
/// The cluster does not answer, or gives no namespace. A preparation that does not succeed is told on stderr.
pub fn run(kubeconfig: &Path, chapters: &[Chapter], workers: usize) -> Result<Vec<Answer>> {
    let scratch = std::env::temp_dir().join(format!("kubectl-compare-{}", std::process::id()));
    let cluster = Cluster::new(kubeconfig, &scratch)?;
    let together: Vec<usize> = (0..chapters.len()).filter(|n| !chapters[*n].alone).rev().collect();
    let done = Mutex::new(chapters.iter().map(|_| None).collect::<Vec<Option<Result<Vec<Answer>>>>>());
    let waiting = Mutex::new(together);
    let work = || {
        // The lock goes before the chapter runs.
        while let Some(number) = { lock(&waiting).pop() } {
            let answers = cluster.chapter(&chapters[number]);
            lock(&done)[number] = Some(answers);
        }
    };
    std::thread::scope(|scope| (0..workers.max(1)).for_each(|_| drop(scope.spawn(work))));
    for (number, chapter) in chapters.iter().enumerate().filter(|(_, chapter)| chapter.alone) {
        lock(&done)[number] = Some(cluster.chapter(chapter));
    }
    let mut all = Vec::new();
    for answers in done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().flatten()
    {
        all.extend(answers?);
    }
    std::fs::remove_dir_all(&scratch).ok();
    Ok(all)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Cluster {
    /// A kubeconfig that holds its certificates itself.
    kubeconfig: String,
    node: String,
    mask: Mask,
    scratch: PathBuf,
}

/// A chapter's own place.
struct Place<'a> {
    cluster: &'a Cluster,
    home: PathBuf,
    namespace: String,
}

impl Cluster {
    fn new(kubeconfig: &Path, scratch: &Path) -> Result<Cluster> {
        let ask = |arguments: &[&str]| -> Result<String> {
            let mut command = Command::new("kubectl");
            let output = command.args(arguments).env("KUBECONFIG", kubeconfig).output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let node = ask(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
        let kubeconfig = ask(&["config", "view", "--raw", "--minify", "--flatten"])?;
        let user = ask(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])?;
        let mask = Mask::new(&node, &user)?;
        Ok(Cluster { kubeconfig, node, mask, scratch: scratch.to_owned() })
    }

    fn chapter(&self, chapter: &Chapter) -> Result<Vec<Answer>> {
        let place = self.place(chapter)?;
        let mut answers = Vec::new();
        for step in &chapter.steps {
            match step {
                Step::Until(line) => {
                    // What follows shows what is missing; the other commands still say something.
                    if let Err(error) = place.until(line) {
                        eprintln!("chapter {}: {error}", chapter.name);
                    }
                }
                Step::Command { line, sorted } => {
                    let mut output = self.mask.apply(&printed(&place.shell(line)?));
                    if *sorted {
                        let mut lines: Vec<&str> = output.lines().filter(|line| !line.is_empty()).collect();
                        lines.sort_unstable();
                        output = lines.join("\n");
                    }
                    answers.push(Answer { chapter: chapter.name.clone(), command: line.clone(), output });
                }
            }
        }
        place.shell("kubectl delete namespace $NS --wait=false")?;
        Ok(answers)
    }

    fn place(&self, chapter: &Chapter) -> Result<Place<'_>> {
        let home = self.scratch.join(&chapter.name);
        std::fs::create_dir_all(&home)?;
        std::fs::write(home.join("kubeconfig"), &self.kubeconfig)?;
        let place = Place { cluster: self, home, namespace: format!("kubectl-{}", chapter.name) };
        place.until("kubectl config set-context --current --namespace=$NS")?;
        place.until("kubectl delete namespace $NS --ignore-not-found")?;
        place.until("kubectl create namespace $NS")?;
        place.until("kubectl get serviceaccount default && kubectl get configmap kube-root-ca.crt")?;
        Ok(place)
    }
}

impl Place<'_> {
    /// Runs a line in a shell, among the manifests.
    fn shell(&self, line: &str) -> Result<Output> {
        Command::new("timeout")
            .args([LIMIT, "bash", "-c", line])
            .current_dir(file("manifests"))
            .env("KUBECONFIG", self.home.join("kubeconfig"))
            .env("HOME", &self.home)
            .env("NS", &self.namespace)
            .env("NODE", &self.cluster.node)
            .envs([("LC_ALL", "C"), ("TZ", "UTC"), ("TERM", "dumb"), ("COLUMNS", "200")])
            .env_remove("EDITOR")
            .env_remove("KUBE_EDITOR")
            .stdin(Stdio::null())
            .output()
            .context("cannot start bash")
    }

    fn until(&self, line: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let output = self.shell(line)?;
            if output.status.success() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("`{line}` does not succeed: {}", printed(&output).trim());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What was printed, and the exit code of a command that failed.
fn printed(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => text,
        Some(code) => format!("{}\n[exit {code}]", text.trim_end()).trim_start().to_owned(),
        None => format!("{}\n[killed]", text.trim_end()),
    }
}
