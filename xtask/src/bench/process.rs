//! Programs under measurement: pinned to a core, with their CPU time and memory.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Linux reports CPU time in ticks of 10 ms (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A program that ends with this value.
pub struct Pinned {
    child: Child,
}

impl Pinned {
    /// Starts a program on one core.
    pub fn start(core: usize, program: &Path, arguments: &[&str], log: &Path) -> Result<Pinned> {
        let output = fs::File::create(log)?;
        let child = Command::new("taskset")
            .args(["-c", &core.to_string()])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Pinned { child })
    }

    /// Waits until it accepts connections.
    pub fn wait_for(&mut self, address: SocketAddr, log: &Path) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status}: {}", fs::read_to_string(log).unwrap_or_default());
            }
            if start.elapsed() > Duration::from_secs(20) {
                bail!("does not listen on {address}: {}", fs::read_to_string(log).unwrap_or_default());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// CPU seconds so far, of the process and its children.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0;
        for pid in self.family()? {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // Fields are counted from the end of the command's name, which may hold spaces: proc(5).
            let fields: Vec<&str> =
                stat.rsplit_once(')').context("a stat line without a name")?.1.split_whitespace().collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Resident memory in KiB once the process is idle: allocators give freed memory back some seconds later.
    pub fn settled_rss_kib(&self) -> Result<u64> {
        const STEADY: usize = 8;
        let (mut last, mut steady) = (self.rss_kib()?, 0);
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.rss_kib()?;
            steady = if now == last { steady + 1 } else { 0 };
            last = now;
            if steady == STEADY {
                break;
            }
        }
        Ok(last)
    }

    /// Resident memory in KiB, of the process and its children.
    pub fn rss_kib(&self) -> Result<u64> {
        let mut kib = 0;
        for pid in self.family()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
            kib += line.trim().trim_end_matches(" kB").parse::<u64>()?;
        }
        Ok(kib)
    }

    fn family(&self) -> Result<Vec<u32>> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        Ok(std::iter::once(pid).chain(children.split_whitespace().filter_map(|c| c.parse().ok())).collect())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        // nginx' master ends its workers on SIGTERM only.
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(3) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port of the loopback interface.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
