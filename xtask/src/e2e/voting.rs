//! The voting application's tutorial: routing by the source's labels, STRICT mutual TLS, a canary by cookie, promotion.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lateen_testkit::http::{self, Answer};

use super::cluster::{Cluster, eventually, path};

const FLAG: &str = "Cookie: featureflag=on";
const SOON: Duration = Duration::from_secs(20);
const PLAIN: &str = "Cats: 2 | Dogs: 4";
const SHARES: &str = "Cats: 2/6 (33%) | Dogs: 4/6 (67%)";
const NEW: &str = "Cats: 3/4 (75%) | Dogs: 1/4 (25%)";

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    cluster.install(&[])?;
    cluster.kubectl(&["create", "namespace", "voting"])?;
    cluster.inject("voting")?;
    let voting = Voting { cluster, address: cluster.gateway("istio-system", "istio-ingressgateway")? };
    voting.version_1_0()?;
    voting.analytics_1_1()?;
    voting.locked()?;
    voting.mutual_tls()?;
    voting.outsiders_are_refused()?;
    voting.only_those_named_reach_redis()?;
    voting.version_2_0_for_some()?;
    voting.votes_survive_their_database()?;
    voting.version_2_0_for_everybody()?;
    cluster.nothing_was_refused()
}

struct Voting<'a> {
    cluster: &'a Cluster,
    address: String,
}

impl Voting<'_> {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["-n", "voting"], arguments].concat())
    }

    fn apply(&self, file: &str) -> Result<()> {
        eventually(SOON, || self.kubectl(&["apply", "-f", &step(file)]))?;
        self.cluster.wait_deployments("voting")
    }

    fn istioctl(&self, verb: &str, file: &str) -> Result<String> {
        self.cluster.lateen(&[verb, "-f", &step(file), "--namespace", "voting"])
    }

    fn page(&self, headers: &[&str]) -> Result<Answer> {
        let answer = http::request("GET", &self.address, "/", headers, "")?;
        ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
        Ok(answer)
    }

    /// What `grep results` finds on the page.
    fn results(&self, headers: &[&str]) -> Result<String> {
        let body = self.page(headers)?.body;
        let line = body.lines().find(|line| line.contains("results")).context("no results on the page")?;
        let inner = line.trim().strip_prefix("<div id=\"results\"> ").and_then(|l| l.strip_suffix(" </div>"));
        Ok(inner.with_context(|| format!("other results: {line}"))?.to_owned())
    }

    fn shows(&self, headers: &[&str], wanted: &str) -> Result<()> {
        eventually(SOON, || {
            for _ in 0..10 {
                let found = self.results(headers)?;
                ensure!(found == wanted, "{found:?} instead of {wanted:?}");
            }
            Ok(())
        })
    }

    fn vote(&self, headers: &[&str], choice: &str) -> Result<()> {
        let answer = http::request("POST", &self.address, "/", headers, &format!("vote={choice}"))?;
        ensure!(answer.status == 302, "status {}: {}", answer.status, answer.body);
        Ok(())
    }

    fn version_1_0(&self) -> Result<()> {
        self.apply("step-1-app.yaml")?;
        let said = self.istioctl("create", "step-1-gateway.yaml")?;
        ensure!(said.contains("Created config gateway/voting/voting-app-gateway at revision "), "{said}");
        self.shows(&[], "Cats: 0 | Dogs: 0")?;
        for choice in ["Cats", "Cats", "Dogs", "Dogs", "Dogs", "Dogs"] {
            self.vote(&[], choice)?;
        }
        self.shows(&[], PLAIN)?;
        let body = self.page(&[])?.body;
        ensure!(body.contains("host: voting-app-1-0-") && body.contains("store: redis"), "{body}");
        Ok(())
    }

    fn analytics_1_1(&self) -> Result<()> {
        self.apply("step-2-analytics-1.1.yaml")?;
        eventually(SOON, || {
            ensure!(self.results(&[])? == SHARES, "the new version does not answer yet");
            Ok(())
        })?;
        let seen = (0..30).map(|_| self.results(&[])).collect::<Result<Vec<_>>>()?;
        let shares = seen.iter().filter(|line| *line == SHARES).count();
        ensure!(seen.iter().all(|line| line == SHARES || line == PLAIN), "{seen:?}");
        ensure!((6..=24).contains(&shares), "analytics 1.1 answered {shares} of 30");
        Ok(())
    }

    fn locked(&self) -> Result<()> {
        let said = self.istioctl("replace", "step-2a-virtual-service.yaml")?;
        ensure!(said.contains("Updated config virtual-service/voting/voting-app to revision "), "{said}");
        let said = self.istioctl("create", "step-2b-routing.yaml")?;
        ensure!(said.contains("Created config peer-authentication/voting/default at revision "), "{said}");
        self.shows(&[], SHARES)?;
        for _ in 0..50 {
            let found = self.results(&[])?;
            ensure!(found == SHARES, "{found:?} after traffic was locked");
        }
        Ok(())
    }

    fn mutual_tls(&self) -> Result<()> {
        for (service, port) in [("voting-app", 8080), ("voting-analytics", 8080), ("voting-storage", 6379)] {
            let host = format!("{service}.voting.svc.cluster.local");
            let said = self.cluster.lateen(&["authn", "tls-check", &host])?;
            let line = said.lines().nth(1).unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let (target, rule) = (format!("{host}:{port}"), format!("{service}/voting"));
            ensure!(words == [&target, "OK", "mTLS", "mTLS", "default/voting", &rule], "{said}");
        }
        Ok(())
    }

    /// A pod without a sidecar gets nothing in plain text.
    fn outsiders_are_refused(&self) -> Result<()> {
        let outsider = ["run", "outsider", "--image=docker.io/curlimages/curl:8.16.0", "--restart=Never"];
        let rest = ["--labels=sidecar.istio.io/inject=false", "--command", "--", "sleep", "infinity"];
        self.kubectl(&[&outsider[..], &rest].concat())?;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/outsider", "--timeout=60s"])?;
        let asked =
            self.kubectl(&["exec", "outsider", "--", "curl", "-s", "-m", "5", "http://voting-app:8080/"]);
        ensure!(asked.is_err(), "the page answers in plain text: {asked:?}");
        self.kubectl(&["delete", "pod", "outsider", "--grace-period=0", "--force"]).map(drop)
    }

    /// What Redis answers to a pod.
    fn ping(&self, deployment: &str, container: &str) -> Result<()> {
        let target = format!("deploy/{deployment}");
        let ask = ["redis-cli", "-h", "voting-storage", "ping"];
        let said = self.kubectl(&[&["exec", &*target, "-c", container, "--"], &ask[..]].concat())?;
        if said.trim() == "PONG" { Ok(()) } else { bail!("Redis says {said:?} to {deployment}") }
    }

    fn only_those_named_reach_redis(&self) -> Result<()> {
        self.ping("voting-app-1-0", "voting-app")?;
        self.ping("voting-analytics-1-1", "voting-analytics")?;
        ensure!(
            self.ping("voting-analytics-1-0", "voting-analytics").is_err(),
            "analytics 1.0 reaches Redis"
        );
        Ok(())
    }

    fn version_2_0_for_some(&self) -> Result<()> {
        let said = self.istioctl("replace", "step-3-routing-2.0.yaml")?;
        ensure!(said.lines().filter(|line| line.starts_with("Updated config ")).count() == 6, "{said}");
        volume(self.cluster)?;
        self.apply("step-3-app-2.0.yaml")?;
        self.shows(&[FLAG], "Cats: 0/0 (0%) | Dogs: 0/0 (0%)")?;
        for choice in ["Cats", "Cats", "Cats", "Dogs"] {
            self.vote(&[FLAG], choice)?;
        }
        for _ in 0..20 {
            let (old, new) = (self.page(&[])?.body, self.page(&[FLAG])?.body);
            ensure!(old.contains("store: redis") && old.contains(SHARES), "{old}");
            ensure!(new.contains("store: mysql") && new.contains(NEW), "{new}");
        }
        Ok(())
    }

    fn votes_survive_their_database(&self) -> Result<()> {
        self.kubectl(&["delete", "pod", "-l", "app=voting-storage,version=2.0"])?;
        self.cluster.wait_deployments("voting")?;
        self.shows(&[FLAG], NEW)
    }

    fn version_2_0_for_everybody(&self) -> Result<()> {
        self.istioctl("replace", "step-4-promote-2.0.yaml")?;
        self.shows(&[], NEW)?;
        let old = ["voting-app-1-0", "voting-analytics-1-0", "voting-analytics-1-1", "voting-storage-1-0"];
        self.kubectl(&[&["delete", "deployment"], &old[..]].concat())?;
        self.vote(&[], "Dogs")?;
        self.shows(&[], "Cats: 3/5 (60%) | Dogs: 2/5 (40%)")?;
        self.shows(&[FLAG], "Cats: 3/5 (60%) | Dogs: 2/5 (40%)")
    }
}

fn step(file: &str) -> String {
    path(&format!("samples/voting/{file}"))
}

/// A volume for the claim where the cluster makes none itself: a new folder of the node.
fn volume(cluster: &Cluster) -> Result<()> {
    if !cluster.kubectl(&["get", "storageclass", "-o", "name"])?.is_empty() {
        return Ok(());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let volume = format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: lateen-e2e}}\nspec:\n  \
         capacity: {{storage: 1Gi}}\n  accessModes: [ReadWriteOnce]\n  persistentVolumeReclaimPolicy: Delete\n  \
         hostPath: {{path: /tmp/lateen-e2e-{now}, type: DirectoryOrCreate}}\n"
    );
    cluster.apply_text(&volume, &[]).map(drop)
}
