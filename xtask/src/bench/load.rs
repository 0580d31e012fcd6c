//! The load generators: wrk for HTTP/1.1, h2load for h2c.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// What a run of load came to.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Requests answered.
    pub requests: f64,
    /// Median latency, microseconds, where the generator tells it.
    pub median_us: f64,
}

/// HTTP/1.1 keep-alive requests over `connections` for `seconds`.
pub fn wrk(core: usize, port: u16, connections: usize, seconds: u32) -> Result<Outcome> {
    let text = run(
        core,
        "wrk",
        &[
            "-t1",
            &format!("-c{connections}"),
            &format!("-d{seconds}s"),
            "--latency",
            &format!("http://127.0.0.1:{port}/"),
        ],
    )?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("some requests failed:\n{text}");
    }
    let requests =
        text.lines().find_map(|l| l.trim().split_once(" requests in ")).context(text.clone())?.0.parse()?;
    let median = text.lines().find_map(|l| l.trim().strip_prefix("50%")).context(text.clone())?.trim();
    Ok(Outcome { requests, median_us: microseconds(median).context(text.clone())? })
}

/// h2c requests, 64 at a time over 8 connections, for `seconds`.
pub fn h2load(core: usize, port: u16, seconds: u32) -> Result<Outcome> {
    let text = run(
        core,
        "h2load",
        &["-c8", "-m8", "-t1", "-D", &seconds.to_string(), &format!("http://127.0.0.1:{port}/")],
    )?;
    let line = text.lines().find(|l| l.starts_with("requests:")).context(text.clone())?;
    let number = |word: &str| -> Option<f64> {
        let before = line.split(word).next()?.trim_end();
        before.rsplit([' ', ',']).next()?.parse().ok()
    };
    let (done, failed) = (number("succeeded"), number("failed"));
    if failed != Some(0.0) {
        bail!("some requests failed:\n{text}");
    }
    Ok(Outcome { requests: done.context(text.clone())?, median_us: 0.0 })
}

fn run(core: usize, program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("taskset")
        .args(["-c", &core.to_string(), program])
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{program} failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// wrk's `812.00us`, `1.20ms`, `1.02s`.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::microseconds;

    #[test]
    fn latencies_are_read_in_every_unit() {
        assert_eq!(microseconds("812.00us"), Some(812.0));
        assert_eq!(microseconds("1.50ms"), Some(1500.0));
        assert_eq!(microseconds("2.00s"), Some(2e6));
    }
}
