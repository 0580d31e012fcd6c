use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// What this process has used so far.
pub struct Usage {
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
    /// Resident memory now.
    pub rss_mib: f64,
    /// The most resident memory there was.
    pub peak_mib: f64,
}

impl Usage {
    /// Reads it from `/proc`.
    pub fn now() -> Result<Usage> {
        let mut cpu = 0;
        for task in fs::read_dir("/proc/self/task")? {
            // A thread may end while we look.
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            cpu += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        let status = fs::read_to_string("/proc/self/status")?;
        let mib = |key: &str| -> Result<f64> {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .with_context(|| format!("no {key}"))?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
            Ok(kib / 1024.0)
        };
        Ok(Usage { cpu: Duration::from_nanos(cpu), rss_mib: mib("VmRSS:")?, peak_mib: mib("VmHWM:")? })
    }
}

/// The wall clock in nanoseconds: the same in both processes.
pub fn nanos() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// A percentile of sorted values.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}
