//! JSON formats: a struct whose strings are formats.

use lateen_xds::pb::google::protobuf::Struct;
use lateen_xds::pb::google::protobuf::value::Kind;

use super::operator::Operator;
use super::{Format, Part, write};
use crate::request_info::LogContext;

/// A compiled JSON format.
#[derive(Debug)]
pub struct JsonFormat {
    root: Node,
    omit_empty: bool,
}

#[derive(Debug)]
enum Node {
    /// JSON text that never changes.
    Constant(Box<[u8]>),
    Format(Format),
    List(Vec<Node>),
    /// Keys as JSON strings with their colon, sorted.
    Map(Vec<(Box<[u8]>, Node)>),
}

impl JsonFormat {
    /// Compiles a format.
    ///
    /// # Errors
    /// An operator that is not known, with its key.
    pub fn parse(fields: &Struct, omit_empty: bool) -> Result<JsonFormat, String> {
        Ok(JsonFormat { root: map(fields)?, omit_empty })
    }

    /// Writes the object and a line end.
    pub fn render(&self, context: &LogContext<'_>, out: &mut Vec<u8>) {
        self.node(&self.root, context, out);
        out.push(b'\n');
    }

    /// Writes a node; false when its value is missing and left out.
    fn node(&self, node: &Node, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
        match node {
            Node::Constant(text) => out.extend_from_slice(text),
            Node::Format(format) => return self.format(format, context, out),
            Node::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    if !self.node(item, context, out) {
                        out.extend_from_slice(b"null");
                    }
                }
                out.push(b']');
            }
            Node::Map(entries) => {
                out.push(b'{');
                let mut first = true;
                for (key, item) in entries {
                    let start = out.len();
                    if !first {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    if self.node(item, context, out) {
                        first = false;
                    } else {
                        out.truncate(start);
                    }
                }
                out.push(b'}');
            }
        }
        true
    }

    /// One operator alone keeps its type; text around it makes a string.
    fn format(&self, format: &Format, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
        let [Part::Operator(command)] = &*format.parts else {
            let mut text = Vec::new();
            format.render(context, if self.omit_empty { b"" } else { b"-" }, &mut text);
            string(&text, out);
            return true;
        };
        if let (Operator::Number(number), None) = (&command.operator, command.max) {
            return match write::number(*number, context) {
                Some(value) => {
                    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
                    true
                }
                None => self.missing(out),
            };
        }
        let mut text = Vec::new();
        if !command.write(context, &mut text) {
            return self.missing(out);
        }
        string(&text, out);
        true
    }

    fn missing(&self, out: &mut Vec<u8>) -> bool {
        if !self.omit_empty {
            out.extend_from_slice(b"null");
        }
        !self.omit_empty
    }
}

fn map(fields: &Struct) -> Result<Node, String> {
    let mut entries = Vec::with_capacity(fields.fields.len());
    for (key, value) in &fields.fields {
        let node = value
            .kind
            .as_ref()
            .map_or(Ok(constant("null")), node)
            .map_err(|error| format!("{key}: {error}"))?;
        let mut quoted = Vec::new();
        string(key.as_bytes(), &mut quoted);
        quoted.push(b':');
        entries.push((quoted.into_boxed_slice(), node));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Node::Map(entries))
}

fn constant(text: &str) -> Node {
    Node::Constant(text.as_bytes().into())
}

fn node(kind: &Kind) -> Result<Node, String> {
    Ok(match kind {
        Kind::NullValue(_) => constant("null"),
        Kind::BoolValue(value) => constant(if *value { "true" } else { "false" }),
        Kind::NumberValue(value) => constant(&value.to_string()),
        Kind::StringValue(text) => Node::Format(Format::parse(text)?),
        Kind::StructValue(fields) => map(fields)?,
        Kind::ListValue(list) => {
            let items =
                list.values.iter().map(|value| value.kind.as_ref().map_or(Ok(constant("null")), node));
            Node::List(items.collect::<Result<_, _>>()?)
        }
    })
}

/// Writes a JSON string; what is not UTF-8 is replaced.
fn string(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in String::from_utf8_lossy(text).bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}
