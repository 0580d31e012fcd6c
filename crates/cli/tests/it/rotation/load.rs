//! Requests at a pace: to the gateway, and by a pod through its own sidecar.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use lateen_testkit::http::Connection;
use serde::{Deserialize, Serialize};

/// How long and how hard.
pub struct Run {
    pub life: u64,
    pub duration: Duration,
    /// By both sides together.
    pub requests_per_second: u32,
    /// How long a new root is only made known, in seconds.
    pub propagation: u64,
}

impl Run {
    /// What `LATEEN_ROTATION` says: `full` or nothing.
    pub fn of(mode: &str) -> Run {
        let seconds = Duration::from_secs;
        match mode {
            "full" => Run { life: 30, duration: seconds(300), requests_per_second: 1000, propagation: 10 },
            _ => Run { life: 6, duration: seconds(14), requests_per_second: 150, propagation: 2 },
        }
    }
}

/// Where requests go: an address, and the header `Host`.
pub type Target = (String, &'static str);

/// What became of the requests.
#[derive(Default, Serialize, Deserialize)]
pub struct Tally {
    pub answered: u64,
    pub connections: u64,
    pub failed: Vec<String>,
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    connections: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// Each side has as many.
const CLIENTS: u32 = 10;

/// Asks the targets in turn at half of the run's pace, for as long as it takes.
pub fn send(run: &Run, targets: &[Target]) -> Tally {
    let (stop, counts) = (AtomicBool::new(false), Counts::default());
    let end = Instant::now() + run.duration;
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let target = &targets[number as usize % targets.len()];
            let (stop, counts) = (&stop, &counts);
            scope.spawn(move || client(run, number, target, stop, counts));
        }
        wait_until(end);
        stop.store(true, Relaxed);
    });
    Tally {
        answered: counts.answered.into_inner(),
        connections: counts.connections.into_inner(),
        failed: counts.failed.into_inner().unwrap(),
    }
}

pub fn open(target: &Target) -> std::io::Result<Connection> {
    Connection::open(&target.0)
}

/// Asks once; tells whether the connection stays open.
pub fn once(connection: &mut Connection, host: &str) -> Result<bool, String> {
    let answer =
        connection.request("GET", "/status/200", &[host], "").map_err(|error| format!("{host}: {error}"))?;
    match answer.status {
        200 => Ok(!answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))),
        status => Err(format!("{host}: {status} {} {:?}", answer.body, answer.headers)),
    }
}

/// One client: requests at a pace over one connection, every tenth over a connection of its own.
fn client(run: &Run, number: u32, target: &Target, stop: &AtomicBool, counts: &Counts) {
    let pace = Duration::from_secs(1) * CLIENTS * 2 / run.requests_per_second;
    let mut kept: Option<Connection> = None;
    let mut next = Instant::now() + pace * number / CLIENTS;
    for request in 1_u64.. {
        wait_until(next);
        if stop.load(Relaxed) {
            return;
        }
        // What a slow machine could not do in time is not made up for.
        next = (next + pace).max(Instant::now());
        let mut own = if request.is_multiple_of(10) { None } else { kept.take() };
        let outcome = match own.take() {
            Some(connection) => Ok(connection),
            None => {
                counts.connections.fetch_add(1, Relaxed);
                open(target).map_err(|error| format!("connect: {error}"))
            }
        };
        let outcome = outcome.and_then(|mut connection| Ok((once(&mut connection, target.1)?, connection)));
        match outcome {
            Ok((open, connection)) => {
                counts.answered.fetch_add(1, Relaxed);
                if open && kept.is_none() {
                    kept = Some(connection);
                }
            }
            Err(error) => counts.failed.lock().unwrap().push(error),
        }
    }
}

pub fn wait_until(when: Instant) {
    while let Some(left) = when.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// The command of a pod's container that does the same when it is asked to, for `lateen up --image`.
pub fn command() -> String {
    let program = std::env::current_exe().unwrap();
    format!("{} --exact rotation::load::in_a_pod --ignored --nocapture", program.display())
}

/// Where it is asked to.
pub const PAGE: &str = "http://127.0.0.1:9000/";

#[test]
#[ignore = "a client, which another test runs in a pod"]
fn in_a_pod() {
    let listener = TcpListener::bind("127.0.0.1:9000").unwrap();
    for mut stream in listener.incoming().map_while(Result::ok) {
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let mode = line.split([' ', '/']).nth(2).unwrap_or_default();
        let target = |name: &str, host| (format!("{name}.clock:8000"), host);
        let targets = [target("keep", "Host: keep.clock:8000"), target("fresh", "Host: fresh.clock:8000")];
        let tally = send(&Run::of(mode), &targets);
        let text = serde_json::to_string(&tally).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).unwrap();
    }
}
