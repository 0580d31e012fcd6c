//! Envoy's command strings (`%REQ(:PATH)%`), compiled once and written without allocation.
//!
//! Source: Envoy, "Substitution Formatter".

mod json;
mod operator;
mod parse;
#[cfg(test)]
pub(crate) mod tests;
mod time;
mod write;

pub use json::JsonFormat;
pub(crate) use time::write_iso;

use crate::request_info::{LogContext, ValueFormat};
use operator::Operator;

/// A compiled text format.
#[derive(Debug)]
pub struct Format {
    parts: Box<[Part]>,
}

#[derive(Debug)]
enum Part {
    Literal(Box<[u8]>),
    Operator(Command),
}

/// An operator with its length limit.
#[derive(Debug)]
struct Command {
    operator: Operator,
    /// Most bytes of the value (`:Z`).
    max: Option<usize>,
}

impl Format {
    /// Compiles a format.
    ///
    /// # Errors
    /// An operator that is not known or not well-formed, in words.
    pub fn parse(text: &str) -> Result<Format, String> {
        parse::parts(text).map(|parts| Format { parts: parts.into() })
    }

    /// The text, when there is no operator in it.
    pub fn literal(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Writes the text; `missing` stands for values that are not there.
    pub fn render(&self, context: &LogContext<'_>, missing: &[u8], out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Operator(command) => {
                    if !command.write(context, out) {
                        out.extend_from_slice(missing);
                    }
                }
            }
        }
    }
}

impl Command {
    /// Appends the value; false, and nothing appended, when there is none.
    fn write(&self, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if !write::write(&self.operator, context, out) {
            out.truncate(start);
            return false;
        }
        if let Some(max) = self.max {
            out.truncate(start + max.min(out.len() - start));
        }
        true
    }
}

impl ValueFormat for Format {
    fn write(&self, context: &LogContext<'_>, out: &mut Vec<u8>) {
        self.render(context, b"", out);
    }
}
