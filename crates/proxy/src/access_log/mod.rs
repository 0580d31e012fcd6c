//! Access logs: lines are formatted on the worker, into its own buffer, and written by a thread of their own.

mod buffer;
mod filter;
mod sink;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use buffer::{flush, flush_regularly};
pub use filter::{Comparison, Filter};
pub use sink::{Counts, Sink, Sinks};

use crate::format::{Format, JsonFormat};
use crate::request_info::{AccessLog, LogContext};

/// How a line is written.
#[derive(Debug)]
pub enum Line {
    /// A text format with its own line end.
    Text(Format),
    /// A JSON object a line.
    Json(JsonFormat),
}

/// Writes a line for each request that its filter lets pass.
#[derive(Debug)]
pub struct FileLog {
    line: Line,
    filter: Option<Filter>,
    sink: Arc<Sink>,
}

impl FileLog {
    /// A log of lines into a sink.
    pub fn new(line: Line, filter: Option<Filter>, sink: Arc<Sink>) -> Self {
        FileLog { line, filter, sink }
    }
}

impl AccessLog for FileLog {
    fn log(&self, context: &LogContext<'_>) {
        if self.filter.as_ref().is_some_and(|filter| !filter.passes(context)) {
            return;
        }
        buffer::line(&self.sink, |out| match &self.line {
            Line::Text(format) => format.render(context, b"-", out),
            Line::Json(format) => format.render(context, out),
        });
    }
}
