use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lateen_mesh::{Changes, Kind, Mesh};
use lateen_xds::TypeUrl;

use crate::ca::CaMetrics;
use crate::conflicts::Conflicts;
use crate::process::Started;
use crate::refusals::Refusals;

/// Upper bounds of the histograms, in seconds, as istiod has them.
const BOUNDS: [f64; 10] = [0.01, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0];

/// What the control plane counts, under istiod's names.
#[derive(Debug, Default)]
pub struct Metrics {
    started: Started,
    connected: AtomicU64,
    services: AtomicU64,
    virtual_services: AtomicU64,
    conflicts: Conflicts,
    pushes: [AtomicU64; TypeUrl::ALL.len()],
    rejects: [AtomicU64; TypeUrl::ALL.len()],
    events: Mutex<BTreeMap<(Kind, &'static str), u64>>,
    triggers: Mutex<BTreeMap<&'static str, u64>>,
    injections: [AtomicU64; 3],
    validations: [AtomicU64; 2],
    convergence: Histogram,
    push_time: Histogram,
    /// What the certificate authority counts.
    pub ca: CaMetrics,
    /// What was refused to callers that may not have it.
    pub refusals: Refusals,
}

/// The outcome of an injection.
#[derive(Clone, Copy, Debug)]
pub enum Injection {
    /// The pod got a sidecar.
    Injected = 0,
    /// The pod stays as it is.
    Skipped = 1,
    /// The pod could not be injected.
    Failed = 2,
}

impl Metrics {
    /// An event of a source: `add` or `delete`.
    pub fn on_event(&self, kind: Kind, event: &'static str) {
        *lock(&self.events).entry((kind, event)).or_default() += 1;
    }

    /// A snapshot was published.
    pub fn on_snapshot(&self, mesh: &Mesh, changes: &Changes) {
        self.services.store(mesh.services.all().len() as u64, Relaxed);
        let virtual_services = mesh.virtual_services.mesh.len()
            + mesh.virtual_services.gateways().map(|(_, list)| list.len()).sum::<usize>();
        self.virtual_services.store(virtual_services as u64, Relaxed);
        self.conflicts.count(mesh, changes.config);
        let mut triggers = lock(&self.triggers);
        if changes.config {
            *triggers.entry("config").or_default() += 1;
        }
        if !changes.endpoints.is_empty() {
            *triggers.entry("endpoint").or_default() += 1;
        }
        if !changes.workloads.is_empty() {
            *triggers.entry("proxy").or_default() += 1;
        }
    }

    /// A stream was opened.
    pub fn on_connect(&self) {
        self.connected.fetch_add(1, Relaxed);
    }

    /// How many streams are open.
    pub fn connected(&self) -> u64 {
        self.connected.load(Relaxed)
    }

    /// A stream was closed.
    pub fn on_disconnect(&self) {
        self.connected.fetch_sub(1, Relaxed);
    }

    /// A response was sent.
    pub fn on_push(&self, type_url: TypeUrl, took: Duration) {
        self.pushes[type_url.index()].fetch_add(1, Relaxed);
        self.push_time.observe(took);
    }

    /// A proxy refused a response.
    pub fn on_reject(&self, type_url: TypeUrl) {
        self.rejects[type_url.index()].fetch_add(1, Relaxed);
    }

    /// A proxy has acknowledged everything, that long after the change arrived.
    pub fn on_converged(&self, took: Duration) {
        self.convergence.observe(took);
    }

    /// A pod was looked at by the injector.
    pub fn on_injection(&self, outcome: Injection) {
        self.injections[outcome as usize].fetch_add(1, Relaxed);
    }

    /// A resource was validated.
    pub fn on_validation(&self, passed: bool) {
        self.validations[usize::from(passed)].fetch_add(1, Relaxed);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = Text(String::with_capacity(4096));
        let version = env!("CARGO_PKG_VERSION");
        out.head("pilot_info", "gauge", "Pilot version and build information.");
        out.line("pilot_info", &format!("version=\"{version}\""), 1);
        out.gauge(
            "pilot_xds",
            "Number of endpoints connected to this pilot using XDS.",
            self.connected.load(Relaxed),
        );
        out.gauge("pilot_services", "Total services known to pilot.", self.services.load(Relaxed));
        let virtual_services = self.virtual_services.load(Relaxed);
        out.gauge("pilot_virt_services", "Total virtual services known to pilot.", virtual_services);
        for (name, help, count) in self.conflicts.read() {
            out.gauge(name, help, count);
        }
        self.render_pushes(&mut out);
        out.head("pilot_k8s_cfg_events", "counter", "Events from k8s config.");
        for ((kind, event), count) in &*lock(&self.events) {
            out.line("pilot_k8s_cfg_events", &format!("event=\"{event}\",type=\"{kind}\""), *count);
        }
        out.head("pilot_push_triggers", "counter", "Total number of times a push was triggered.");
        for (reason, count) in &*lock(&self.triggers) {
            out.line("pilot_push_triggers", &format!("type=\"{reason}\""), *count);
        }
        out.head("pilot_inbound_updates", "counter", "Total number of updates received by pilot.");
        for (update, count) in self.inbound_updates() {
            out.line("pilot_inbound_updates", &format!("type=\"{update}\""), count);
        }
        let requests = self.injections.iter().map(|count| count.load(Relaxed)).sum();
        out.head("sidecar_injection_requests_total", "counter", "Sidecar injection requests.");
        out.line("sidecar_injection_requests_total", "", requests);
        let names = ["success", "skip", "failure"];
        for (name, count) in names.iter().zip(&self.injections) {
            let name = format!("sidecar_injection_{name}_total");
            out.head(&name, "counter", "Sidecar injection requests by outcome.");
            out.line(&name, "", count.load(Relaxed));
        }
        for (name, count) in ["failed", "passed"].iter().zip(&self.validations) {
            let name = format!("galley_validation_{name}");
            out.head(&name, "counter", "Resource validations by outcome.");
            out.line(&name, "", count.load(Relaxed));
        }
        let help = "Delay in seconds between config change and a proxy receiving all required configuration.";
        self.convergence.render("pilot_proxy_convergence_time", help, &mut out);
        self.started.render(&mut out.0);
        self.push_time.render("pilot_xds_push_time", "Total time in seconds Pilot takes to push.", &mut out);
        self.ca.render(&mut out);
        self.refusals.render(&mut out);
        out.0
    }

    /// Events by what they changed: `eds`, `svc`, `config`.
    fn inbound_updates(&self) -> [(&'static str, u64); 3] {
        let mut updates = [("eds", 0), ("svc", 0), ("config", 0)];
        for ((kind, _), count) in &*lock(&self.events) {
            let at = match kind {
                Kind::EndpointSlice | Kind::Pod | Kind::Node | Kind::WorkloadEntry => 0,
                Kind::Service => 1,
                _ => 2,
            };
            updates[at].1 += count;
        }
        updates
    }

    fn render_pushes(&self, out: &mut Text) {
        out.head("pilot_xds_pushes", "counter", "Pilot build and send errors for lds, rds, cds and eds.");
        for type_url in TypeUrl::ALL {
            let kind = type_url.short().to_lowercase();
            let count = self.pushes[type_url.index()].load(Relaxed);
            out.line("pilot_xds_pushes", &format!("type=\"{kind}\""), count);
        }
        for type_url in [TypeUrl::Cluster, TypeUrl::Endpoints, TypeUrl::Listener, TypeUrl::Route] {
            let kind = type_url.short().to_lowercase();
            let name = format!("pilot_xds_{kind}_reject");
            let help = format!("Pilot rejected {} configs.", type_url.short());
            out.gauge(&name, &help, self.rejects[type_url.index()].load(Relaxed));
        }
        out.head(
            "pilot_total_xds_rejects",
            "counter",
            "Total number of XDS responses from pilot rejected by proxy.",
        );
        for type_url in TypeUrl::ALL {
            let kind = type_url.short().to_lowercase();
            let count = self.rejects[type_url.index()].load(Relaxed);
            if count > 0 {
                out.line("pilot_total_xds_rejects", &format!("type=\"{kind}\""), count);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A histogram of durations.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(at) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[at].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn render(&self, name: &str, help: &str, out: &mut Text) {
        out.head(name, "histogram", help);
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += bucket.load(Relaxed);
            out.line(&format!("{name}_bucket"), &format!("le=\"{bound}\""), below);
        }
        let count = self.count.load(Relaxed);
        out.line(&format!("{name}_bucket"), "le=\"+Inf\"", count);
        let seconds = self.micros.load(Relaxed) as f64 / 1e6;
        // Writing to a String cannot fail.
        let _ = writeln!(out.0, "{name}_sum {seconds}");
        out.line(&format!("{name}_count"), "", count);
    }
}

/// Prometheus' text format. Writing to a String cannot fail, so results are dropped.
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(crate) fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    pub(crate) fn signed_gauge(&mut self, name: &str, help: &str, value: i64) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_appear_under_istiods_names() {
        let metrics = Metrics::default();
        metrics.on_connect();
        metrics.on_push(TypeUrl::Cluster, Duration::from_millis(50));
        metrics.on_reject(TypeUrl::Route);
        metrics.on_event(Kind::VirtualService, "add");
        metrics.on_converged(Duration::from_secs(2));
        let text = metrics.render();
        for line in [
            "pilot_xds 1",
            "pilot_xds_pushes{type=\"cds\"} 1",
            "pilot_xds_rds_reject 1",
            "pilot_total_xds_rejects{type=\"rds\"} 1",
            "pilot_k8s_cfg_events{event=\"add\",type=\"VirtualService\"} 1",
            "pilot_proxy_convergence_time_bucket{le=\"1\"} 0",
            "pilot_proxy_convergence_time_bucket{le=\"3\"} 1",
            "pilot_proxy_convergence_time_count 1",
            "pilot_proxy_convergence_time_sum 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
