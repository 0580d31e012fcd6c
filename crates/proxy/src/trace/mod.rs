//! Traces: which requests are traced, the headers that carry a trace from hop to hop, and spans.
//!
//! Source: Envoy, "Tracing" and `HttpConnectionManager.Tracing`. A manager without tracing costs one look at an option.

mod context;
mod decorator;
mod otlp;
mod send;
mod span;
#[cfg(test)]
mod tests;
mod tracers;
mod zipkin;

pub use context::SpanContext;
pub use send::Waiting;
pub use tracers::Tracers;

use decorator::Decoration;

use crate::config::{Route, Sampling, Tracing};
use crate::http::{Headers, RequestHead};
use crate::request_info::LogContext;
use crate::worker::Worker;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;

/// A request that is traced, or whose trace is passed on.
#[derive(Debug)]
pub struct Trace {
    /// The request's span.
    pub context: SpanContext,
    /// The id of the span below, for the upstream.
    below: Option<u64>,
    /// When the upstream was first asked, from the request's start.
    asked: Duration,
    /// What the two proxies tell each other of its name, unless the configuration gives it.
    decoration: Option<Decoration>,
}

/// Where in a UUID the decision is marked, and how (Envoy, "UUID request id extension").
const MARK_AT: usize = 14;
const MARK_NONE: u8 = b'4';
const MARK_SAMPLED: u8 = b'9';
const MARK_FORCED: u8 = b'a';
const MARK_CLIENT: u8 = b'b';

/// Decides whether a request is traced, and begins its span.
pub fn begin(tracing: &Tracing, route: Option<&Route>, head: &mut RequestHead, worker: &Worker) -> Trace {
    let of_route = route.and_then(|route| route.tracing.as_ref());
    let sampling = of_route.map_or(tracing.sampling, |route| route.sampling);
    let decided = decide(tracing, sampling, head, worker);
    let tracer = &tracing.tracer;
    let context = match context::extract(tracer.propagation, &head.headers) {
        Some(parent) => {
            let how = (tracer.shared && tracing.inbound && !tracing.upstream_span, tracer.wide);
            parent.child(decided, how, &mut || worker.random64())
        }
        None => SpanContext::new(decided, tracer.wide, &mut || worker.random64()),
    };
    let decorator = route.and_then(|route| route.decorator.as_ref());
    // A name of the configuration goes before both, and nobody is told it.
    let given = tracing.operation.is_some() || of_route.is_some_and(|route| route.operation.is_some());
    let decoration = (!given).then(|| Decoration::of_request(tracing.inbound, decorator, &mut head.headers));
    Trace { context, below: None, asked: Duration::ZERO, decoration }
}

fn decide(tracing: &Tracing, sampling: Sampling, head: &mut RequestHead, worker: &Worker) -> bool {
    let id = head.headers.get("x-request-id").filter(|id| id.len() == 36);
    let marked = id.map(|id| id[MARK_AT]).filter(|_| tracing.by_request_id);
    if let Some(MARK_SAMPLED | MARK_FORCED | MARK_CLIENT) = marked {
        return sampling.overall.hits(worker.random64());
    }
    // Proxies with the same share decide alike.
    let number = id
        .filter(|_| tracing.by_request_id)
        .and_then(|id| u64::from_str_radix(std::str::from_utf8(id.get(..8)?).ok()?, 16).ok());
    let mark = if head.headers.contains("x-client-trace-id") && sampling.client.hits(worker.random64()) {
        MARK_CLIENT
    } else if head.headers.contains("x-envoy-force-trace") {
        MARK_FORCED
    } else if sampling.random.hits(number.unwrap_or_else(|| worker.random64())) {
        MARK_SAMPLED
    } else {
        MARK_NONE
    };
    if mark == MARK_NONE || !sampling.overall.hits(worker.random64()) {
        return false;
    }
    if let Some(mut id) = id.map(<[u8]>::to_vec).filter(|_| tracing.mark_request_id) {
        id[MARK_AT] = mark;
        head.headers.set("x-request-id", Bytes::from(id));
    }
    true
}

impl Trace {
    /// Writes the trace to the headers that go upstream.
    pub fn inject(&mut self, tracing: &Tracing, head: &mut RequestHead, elapsed: Duration, worker: &Worker) {
        self.asked = elapsed;
        if !tracing.passes_on {
            return;
        }
        let mut context = self.context;
        if tracing.upstream_span {
            let id = *self.below.get_or_insert_with(|| worker.random64().max(1));
            context = SpanContext { id, parent: Some(self.context.id), ..context };
        }
        context::inject(tracing.tracer.propagation, &context, &mut head.headers);
    }

    /// Takes the name of the operation out of the response, or puts it there.
    pub fn respond(&mut self, tracing: &Tracing, headers: &mut Headers) {
        if let Some(decoration) = &mut self.decoration {
            decoration.of_response(tracing.inbound, headers);
        }
    }

    /// Hands over the spans of a request that has ended.
    pub fn finish(&self, tracing: &Tracing, context: &LogContext<'_>, worker: &Rc<Worker>) {
        if !self.context.sampled {
            return;
        }
        let spans = span::of(self, tracing, context);
        send::queue(worker, &tracing.tracer, spans);
    }
}
