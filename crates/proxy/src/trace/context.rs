//! The headers that carry a trace.
//!
//! Source: openzipkin/b3-propagation; W3C Trace Context, section 3.2 (`traceparent`).

use crate::config::Propagation;
use crate::http::Headers;
use bytes::Bytes;

/// Where a request stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub id: u64,
    /// The span above.
    pub parent: Option<u64>,
    /// The trace is recorded.
    pub sampled: bool,
    /// Trace ids are written with 128 bits.
    pub wide: bool,
    /// The span's id is the client's, too.
    pub shared: bool,
}

/// What a client's headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    trace: u128,
    wide: bool,
    /// None: the client has only decided.
    id: Option<u64>,
    parent: Option<u64>,
    sampled: Option<bool>,
}

impl SpanContext {
    /// A trace that begins here.
    pub fn new(sampled: bool, wide: bool, random: &mut dyn FnMut() -> u64) -> Self {
        let low = u128::from(random().max(1));
        let trace = if wide { u128::from(random()) << 64 | low } else { low };
        SpanContext { trace, id: random().max(1), parent: None, sampled, wide, shared: false }
    }
}

impl Parent {
    /// The span below, which may share the client's id; a new trace where there is only a decision. Where the client
    /// has decided whether the trace is recorded, that counts.
    pub fn child(
        self,
        decided: bool,
        (shared, wide): (bool, bool),
        random: &mut dyn FnMut() -> u64,
    ) -> SpanContext {
        let sampled = self.sampled.unwrap_or(decided);
        match self.id {
            None => SpanContext::new(sampled, wide, random),
            Some(id) => SpanContext {
                trace: self.trace,
                wide: self.wide,
                id: if shared { id } else { random().max(1) },
                parent: if shared { self.parent } else { Some(id) },
                sampled,
                shared,
            },
        }
    }
}

/// Reads a client's trace; what is malformed is none.
pub fn extract(propagation: Propagation, headers: &Headers) -> Option<Parent> {
    match propagation {
        Propagation::B3 => b3(headers),
        Propagation::B3AndW3c => b3(headers).or_else(|| w3c(headers)),
        Propagation::W3c => w3c(headers),
    }
}

/// Hexadecimal digits, and nothing else, of one of these lengths; zero is no id.
fn hex(text: &str, lengths: &[usize]) -> Option<u128> {
    let digits = lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|id| digits && *id != 0)
}

fn b3(headers: &Headers) -> Option<Parent> {
    let of = |name| headers.get_str(name);
    if let Some(single) = of("b3") {
        return b3_single(single);
    }
    let sampled = match (of("x-b3-sampled"), of("x-b3-flags")) {
        (_, Some("1")) | (Some("1" | "true"), _) => Some(true),
        (Some("0" | "false"), _) => Some(false),
        _ => None,
    };
    match (of("x-b3-traceid"), of("x-b3-spanid")) {
        (Some(trace), Some(id)) => Some(Parent {
            trace: hex(trace, &[16, 32])?,
            wide: trace.len() == 32,
            id: Some(hex(id, &[16])? as u64),
            parent: of("x-b3-parentspanid").and_then(|parent| hex(parent, &[16])).map(|id| id as u64),
            sampled,
        }),
        _ => sampled.map(decision),
    }
}

fn decision(sampled: bool) -> Parent {
    Parent { trace: 0, wide: true, id: None, parent: None, sampled: Some(sampled) }
}

/// `b3: traceid-spanid-sampled-parentspanid`, of which the last two may be missing, or a decision alone.
fn b3_single(text: &str) -> Option<Parent> {
    let flag = |text: &str| match text {
        "1" | "d" => Some(true),
        "0" => Some(false),
        _ => None,
    };
    let mut parts = text.split('-');
    let first = parts.next()?;
    let Some(id) = parts.next() else { return flag(first).map(decision) };
    Some(Parent {
        trace: hex(first, &[16, 32])?,
        wide: first.len() == 32,
        id: Some(hex(id, &[16])? as u64),
        sampled: parts.next().and_then(flag),
        parent: parts.next().and_then(|parent| hex(parent, &[16])).map(|id| id as u64),
    })
}

fn w3c(headers: &Headers) -> Option<Parent> {
    let mut parts = headers.get_str("traceparent")?.split('-');
    let (version, trace, id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Version ff is forbidden; version 00 has no more parts, later ones may.
    if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    u8::from_str_radix(version, 16).ok()?;
    let flags = u8::from_str_radix(flags.get(..2)?, 16).ok()?;
    Some(Parent {
        trace: hex(trace, &[32])?,
        wide: true,
        id: Some(hex(id, &[16])? as u64),
        parent: None,
        sampled: Some(flags & 1 == 1),
    })
}

/// Writes a trace for the next hop.
pub fn inject(propagation: Propagation, context: &SpanContext, headers: &mut Headers) {
    if propagation != Propagation::W3c {
        headers.remove("b3");
        let trace =
            if context.wide { format!("{:032x}", context.trace) } else { format!("{:016x}", context.trace) };
        headers.set("x-b3-traceid", trace);
        headers.set("x-b3-spanid", format!("{:016x}", context.id));
        match context.parent {
            Some(parent) => headers.set("x-b3-parentspanid", format!("{parent:016x}")),
            None => drop(headers.remove("x-b3-parentspanid")),
        }
        headers.set_static("x-b3-sampled", if context.sampled { "1" } else { "0" });
    }
    if propagation != Propagation::B3 {
        let (trace, id, flags) = (context.trace, context.id, u8::from(context.sampled));
        headers.set("traceparent", Bytes::from(format!("00-{trace:032x}-{id:016x}-{flags:02x}")));
    }
}
