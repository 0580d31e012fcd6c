use std::io::{self, Write};
use std::sync::mpsc;

use super::{Comparison, Filter, Sink};
use crate::format::tests::{info, request};
use crate::request_info::{LogContext, ResponseFlags};

struct Sender(mpsc::Sender<Vec<u8>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_sink_has_written_every_line_in_order() {
    let (sender, receiver) = mpsc::channel();
    let sink = Sink::start(Sender(sender)).unwrap();
    for line in ["a\n", "b\n", "c\n"] {
        sink.write(line.as_bytes());
    }
    drop(sink);
    assert_eq!(receiver.iter().flatten().collect::<Vec<_>>(), b"a\nb\nc\n");
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
