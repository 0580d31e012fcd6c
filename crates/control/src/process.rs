//! What the process itself costs, under the names that Prometheus' client libraries use.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Clock ticks of a second in `/proc`: `USER_HZ`, which is 100 on every architecture that Linux runs on today.
const TICKS: f64 = 100.0;

/// When the process began to serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    at: Instant,
    since_1970: Duration,
}

impl Default for Started {
    fn default() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Started { at: Instant::now(), since_1970 }
    }
}

impl Started {
    /// Appends the metrics in Prometheus' text format. What the system does not tell is left out.
    pub fn render(&self, out: &mut String) {
        let mut gauge = |name: &str, kind: &str, help: &str, value: f64| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let uptime = self.at.elapsed().as_secs_f64();
        gauge("istiod_uptime_seconds", "gauge", "Current istiod server uptime in seconds.", uptime);
        let started = self.since_1970.as_secs_f64();
        gauge("process_start_time_seconds", "gauge", "Start time of the process since 1970.", started);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (field, name, help) in [
            ("VmRSS:", "process_resident_memory_bytes", "Resident memory size in bytes."),
            ("VmSize:", "process_virtual_memory_bytes", "Virtual memory size in bytes."),
        ] {
            if let Some(kilobytes) = status_field(&status, field) {
                gauge(name, "gauge", help, kilobytes * 1024.0);
            }
        }
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let help = "Total user and system CPU time spent in seconds.";
            gauge("process_cpu_seconds_total", "counter", help, seconds);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            gauge("process_open_fds", "gauge", "Number of open file descriptors.", files.count() as f64);
        }
    }
}

/// A field of `/proc/self/status` that is in kilobytes.
fn status_field(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches("kB").trim_end().parse().ok()
}

/// The process's time on CPUs: fields 14 and 15 of `/proc/self/stat`, counted behind the name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(status_field("Name:\tx\nVmRSS:\t   2048 kB\n", "VmRSS:"), Some(2048.0));
    }

    #[test]
    fn this_process_has_memory_and_has_been_up() {
        let mut out = String::new();
        Started::default().render(&mut out);
        for name in ["istiod_uptime_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"] {
            assert!(out.lines().any(|line| line.starts_with(name)), "{name} in\n{out}");
        }
    }
}
