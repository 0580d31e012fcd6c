use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::buffer::line;
use super::{Comparison, Filter, Sink, flush_regularly};
use crate::format::tests::{info, request};
use crate::request_info::{LogContext, ResponseFlags};

/// A file that tells of every write.
struct Target(mpsc::Sender<Vec<u8>>);

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that takes nothing until it is told to.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.recv().map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dropped(sink: &Sink) -> u64 {
    sink.counts().dropped.load(Ordering::Relaxed)
}

#[test]
fn a_thread_without_a_flusher_hands_every_line_over_at_once() {
    let (sender, receiver) = mpsc::channel();
    let sink = Arc::new(Sink::start(Target(sender)).unwrap());
    for text in ["a\n", "b\n", "c\n"] {
        line(&sink, |out| out.extend_from_slice(text.as_bytes()));
    }
    drop(sink);
    assert_eq!(receiver.iter().flatten().collect::<Vec<_>>(), b"a\nb\nc\n");
}

#[tokio::test]
async fn a_worker_collects_lines_and_writes_them_once_it_is_idle() {
    let (sender, receiver) = mpsc::channel();
    let sink = Arc::new(Sink::start(Target(sender)).unwrap());
    let local = tokio::task::LocalSet::new();
    let first = local
        .run_until(async {
            tokio::task::spawn_local(flush_regularly());
            tokio::task::yield_now().await;
            for _ in 0..100 {
                line(&sink, |out| out.extend_from_slice(b"line\n"));
            }
            assert!(receiver.try_recv().is_err(), "lines wait for each other");
            tokio::task::spawn_blocking(move || receiver.recv_timeout(Duration::from_secs(10))).await
        })
        .await;
    assert_eq!(first.unwrap().unwrap(), b"line\n".repeat(100));
}

#[tokio::test]
async fn a_file_that_is_stuck_costs_lines_and_no_time() {
    let (go, stuck) = mpsc::channel();
    let sink = Arc::new(Sink::start(Stuck(stuck)).unwrap());
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            tokio::task::spawn_local(flush_regularly());
            tokio::task::yield_now().await;
            let (text, mut lines) = ([b'x'; 1024], 0);
            while dropped(&sink) == 0 {
                line(&sink, |out| out.extend_from_slice(&text));
                lines += 1;
                assert!(lines < 16 << 10, "what waits is bounded");
            }
            drop(go);
        })
        .await;
}

#[test]
fn filters_combine() {
    let (mut info, request) = (info(), request());
    info.code = 503;
    info.flags.insert(ResponseFlags::UH);
    let context = LogContext { info: &info, request: Some(&request), response: None, trailers: None };
    let errors = || Filter::Status(Comparison::AtLeast, 500);
    assert!(errors().passes(&context));
    assert!(Filter::Flags(ResponseFlags::default()).passes(&context));
    assert!(!Filter::Flags(ResponseFlags::NR).passes(&context));
    assert!(!Filter::All(vec![errors(), Filter::Status(Comparison::Equal, 500)]).passes(&context));
    assert!(Filter::Any(vec![Filter::Status(Comparison::Equal, 500), errors()]).passes(&context));
}
