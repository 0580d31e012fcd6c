//! Requests at a steady rate, while something else happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lateen_testkit::http::{Answer, Connection};

/// Clients, each with one connection; every one keeps its share of the rate.
const CLIENTS: u32 = 16;
/// Failures that are told.
const TOLD: usize = 10;

/// Requests that are going on.
pub struct Load {
    started: Instant,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What came of one client's requests.
#[derive(Default)]
struct Tally {
    answered: usize,
    slowest: Duration,
    failures: Vec<String>,
}

impl Load {
    /// Starts `GET http://ADDRESS PATH`, `rate` times a second.
    pub fn start(address: &str, path: &str, rate: u32) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let started = Instant::now();
        let clients = (0..CLIENTS)
            .map(|number| {
                let (address, path, stop) = (address.to_owned(), path.to_owned(), Arc::clone(&stop));
                let interval = Duration::from_secs(1) * CLIENTS / rate;
                let first = started + interval * number / CLIENTS;
                std::thread::spawn(move || client(&address, &path, first, interval, &stop))
            })
            .collect();
        Load { started, stop, clients }
    }

    /// Ends it. Every request must have been answered with 200, and at least half of the rate kept (the machine may be slow).
    ///
    /// # Errors
    /// Some failed: they are told, with the second in which they did.
    pub fn finish(self, what: &str, rate: u32) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let Ok(tally) = client.join() else { bail!("a client of the load ended early") };
            all.answered += tally.answered;
            all.slowest = all.slowest.max(tally.slowest);
            all.failures.extend(tally.failures);
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let achieved = all.answered as f64 / seconds;
        println!(
            "{what}: {} requests in {seconds:.0} s ({achieved:.0}/s of {rate}), {} failed, slowest {:.0?}",
            all.answered,
            all.failures.len(),
            all.slowest
        );
        let told: Vec<&str> = all.failures.iter().take(TOLD).map(String::as_str).collect();
        ensure!(
            all.failures.is_empty(),
            "{what}: {} requests failed: {}",
            all.failures.len(),
            told.join("; ")
        );
        ensure!(
            achieved > f64::from(rate) / 2.0,
            "{what}: only {achieved:.0} requests a second instead of {rate}"
        );
        Ok(())
    }
}

fn client(address: &str, path: &str, first: Instant, interval: Duration, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    let mut due = first;
    while !stop.load(Ordering::Relaxed) {
        // Late requests are sent at once, so that the rate is kept.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += interval;
        let sent = Instant::now();
        match ask(&mut connection, address, path) {
            Ok(answer) if answer.status == 200 => tally.answered += 1,
            Ok(answer) => fail(&mut tally, first, format!("status {} {}", answer.status, answer.body)),
            Err(error) => fail(&mut tally, first, error.to_string()),
        }
        tally.slowest = tally.slowest.max(sent.elapsed());
    }
    tally
}

/// As a client that keeps its connection for as long as the other side does.
fn ask(connection: &mut Option<Connection>, address: &str, path: &str) -> std::io::Result<Answer> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(address)?,
    };
    let answer = open.request("GET", path, &[], "")?;
    if !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *connection = Some(open);
    }
    Ok(answer)
}

fn fail(tally: &mut Tally, first: Instant, reason: String) {
    let second = first.elapsed().as_secs_f64();
    let reason: String = reason.chars().take(120).collect();
    tally.failures.push(format!("at {second:.1} s {}", reason.trim()));
}
