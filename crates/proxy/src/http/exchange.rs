//! One request from its head to its log line: the phases of the request path, top down.

use super::downstream::{Connection, Downstream, Incoming};
use super::h1::{BodyKind, Frame};
use super::routing::Matched;
use super::{Headers, RequestHead, ResponseHead, edits, egress, forward, ingress, redirect};
use crate::config::{Action, HttpFilter, Route, ServerHeader};
use crate::error::{Failure, LocalReply, Source, grpc_status_of};
use crate::filters::{cors, ext_authz, fault, jwt, rbac};
use crate::request_info::{LogContext, RequestInfo, ResponseFlags, Verdict};
use crate::timer::LazyTimer;
use crate::trace::{self, Trace};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::Instant;

/// One request and all that is known about it.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Its connection.
    pub connection: &'a Connection,
    /// Its head, as it goes upstream.
    pub head: RequestHead,
    /// How its body is framed.
    pub body: BodyKind,
    /// The protocol that the client wants to upgrade to.
    pub upgrade: Option<Bytes>,
    /// Facts for log and metrics.
    pub info: RequestInfo,
    /// Pieces of the body that filters have read; they go upstream first.
    pub buffered: VecDeque<Frame>,
    /// Edits of the response that filters asked for.
    pub response_edits: ext_authz::ResponseEdits,
    /// What it was matched with.
    pub matched: Matched,
    /// Whether it comes from outside.
    pub external: bool,
    /// The response's head, once it was sent.
    pub response: Option<ResponseHead>,
    /// The response's trailers.
    pub trailers: Option<Headers>,
    /// Its trace, where requests are traced.
    pub trace: Option<Box<Trace>>,
    /// The timer of the connection or stream.
    pub timer: &'a mut LazyTimer,
}

/// Serves one request. Afterwards the response is complete, or was aborted.
pub async fn serve<D: Downstream>(
    connection: &Connection,
    incoming: Incoming,
    down: &mut D,
    timer: &mut LazyTimer,
) {
    let mut info = RequestInfo::new(connection.info.clone(), Some(incoming.protocol));
    info.bytes.request_headers = incoming.wire_len as u64;
    let expect_continue = incoming.expect_continue;
    let mut exchange = Exchange {
        connection,
        head: incoming.head,
        body: incoming.body,
        upgrade: incoming.upgrade,
        info,
        buffered: VecDeque::new(),
        response_edits: Vec::new(),
        matched: Matched::default(),
        external: true,
        response: None,
        trailers: None,
        trace: None,
        timer,
    };
    let stats = connection.stats();
    stats.downstream_rq_total.inc();
    stats.downstream_rq_active.inc();
    let result = match exchange.greet(expect_continue, down).await {
        Ok(()) => exchange.run(down).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = result {
        exchange.fail(failure, down).await;
    }
    exchange.complete();
}

impl Exchange<'_> {
    /// Answers `Expect: 100-continue`, so that the client sends the body.
    async fn greet<D: Downstream>(&mut self, expected: bool, down: &mut D) -> Result<(), Failure> {
        if !expected {
            return Ok(());
        }
        if self.connection.manager.proxy_100_continue {
            self.head.headers.set_static("expect", "100-continue");
            return Ok(());
        }
        self.head.headers.remove("expect");
        down.push_head(&ResponseHead { status: 100, headers: Headers::new() }, false, None);
        poll_fn(|cx| down.poll_flush(cx)).await
    }

    async fn run<D: Downstream>(&mut self, down: &mut D) -> Result<(), Failure> {
        if self.head.method == http::Method::CONNECT {
            let reply = LocalReply::new(403, "", ResponseFlags::default(), "upgrade_failed");
            return self.reply(reply, down).await;
        }
        match ingress::prepare(self.connection, &mut self.head, &mut self.info) {
            Ok(external) => self.external = external,
            Err(reply) => return self.reply(*reply, down).await,
        }
        self.choose_route();
        self.begin_trace();
        if self.upgrade.is_some() && !self.upgrade_allowed() {
            let reply = LocalReply::new(403, "", ResponseFlags::default(), "upgrade_failed");
            return self.reply(reply, down).await;
        }
        if let Some(reply) = self.filter_request(down).await? {
            return self.reply(reply, down).await;
        }
        self.act(down).await
    }

    fn begin_trace(&mut self) {
        let Connection { manager, worker, .. } = self.connection;
        let Some(tracing) = &manager.tracing else { return };
        let route = self.matched.route.as_deref();
        self.trace = Some(Box::new(trace::begin(tracing, route, &mut self.head, worker)));
    }

    /// Matches the request with a route; again, where a filter has changed what routes look at.
    pub fn choose_route(&mut self) {
        let Connection { manager, worker, .. } = self.connection;
        self.matched = Matched::new(manager.routes.load(), &self.head, &self.info.metadata, worker);
        self.info.route = self.matched.route.clone();
        self.info.virtual_host = self.matched.host.as_ref().map(|host| host.name.clone());
        self.info.upstream.cluster = self.matched.cluster.as_ref().and_then(|slot| slot.load().clone());
    }

    /// Runs the filters in order; a reply ends the request here.
    async fn filter_request<D: Downstream>(&mut self, down: &mut D) -> Result<Option<LocalReply>, Failure> {
        let connection = self.connection;
        for filter in &connection.manager.filters {
            let reply = match filter {
                HttpFilter::Fault(policy) => fault::apply(self, policy, down).await?,
                HttpFilter::Cors(policy) => cors::preflight(self, policy),
                HttpFilter::Rbac(name, policy) => rbac::check(self, name, policy),
                // What asks others is boxed: every stream, idle or not, would hold room for it.
                HttpFilter::ExtAuthz(name, filter) => {
                    Box::pin(ext_authz::check(self, name, filter, down)).await?
                }
                HttpFilter::Jwt(name, filter) => jwt::check(self, name, filter, down).await?,
                HttpFilter::Extension(name, extension) => {
                    if self.matched.is_disabled(name) {
                        continue;
                    }
                    match extension.on_request(&mut self.head, &mut self.info) {
                        Verdict::Continue => None,
                        Verdict::Reply(reply) => Some(reply),
                    }
                }
            };
            if reply.is_some() {
                return Ok(reply);
            }
        }
        Ok(None)
    }

    fn upgrade_allowed(&self) -> bool {
        let Some(wanted) = self.upgrade.as_deref() else { return true };
        let find = |list: &[(Box<str>, bool)]| {
            list.iter().find(|(name, _)| name.as_bytes() == wanted).map(|(_, on)| *on)
        };
        let of_route = match self.matched.route.as_ref().map(|route| &route.action) {
            Some(Action::Forward(action)) => find(&action.upgrades),
            _ => None,
        };
        of_route.or_else(|| find(&self.connection.manager.upgrades)).unwrap_or(false)
    }

    async fn act<D: Downstream>(&mut self, down: &mut D) -> Result<(), Failure> {
        if self.matched.host.is_some()
            && self.connection.info.tls.is_none()
            && self.matched.requires_tls(self.external)
        {
            let reply = redirect::to_https(&self.head);
            return self.reply(reply, down).await;
        }
        let Some(route) = self.matched.route.clone() else {
            self.connection.stats().no_route.inc();
            let reply = LocalReply::new(404, "", ResponseFlags::NR, "route_not_found");
            return self.reply(reply, down).await;
        };
        self.connection.stats().rq_total.inc();
        match &route.action {
            Action::Forward(action) => forward::run(self, action, down).await,
            Action::Redirect(redirect) => {
                self.connection.stats().rq_redirect.inc();
                let reply = redirect::reply(redirect, &route.matches, &self.head);
                self.reply(reply, down).await
            }
            Action::Direct(direct) => {
                self.connection.stats().rq_direct_response.inc();
                let reply = LocalReply {
                    body: direct.body.clone(),
                    ..LocalReply::new(direct.status, "", ResponseFlags::default(), "direct_response")
                };
                self.reply(reply, down).await
            }
            Action::None => {
                let reply = LocalReply::new(404, "", ResponseFlags::NR, "route_not_found");
                self.reply(reply, down).await
            }
        }
    }

    /// The route that was matched and is forwarded.
    pub fn route(&self) -> Option<&Arc<Route>> {
        self.matched.route.as_ref()
    }

    /// Answers with a reply of our own.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn reply<D: Downstream>(&mut self, reply: LocalReply, down: &mut D) -> Result<(), Failure> {
        self.info.flags.insert(reply.flags);
        self.info.details = Some(reply.details.clone());
        let mut headers = Headers::new();
        let mut head = if self.info.grpc && reply.status != 0 {
            grpc_reply(&reply, &mut headers);
            self.info.grpc_status = Some(reply.grpc_status.unwrap_or_else(|| grpc_status_of(reply.status)));
            ResponseHead { status: 200, headers }
        } else {
            if !reply.body.is_empty() {
                headers.append("content-length", itoa::Buffer::new().format(reply.body.len()).to_owned());
                headers.append_static("content-type", "text/plain");
            }
            ResponseHead { status: reply.status, headers }
        };
        for (name, value) in &reply.headers {
            head.headers.set(name, value.clone());
        }
        let empty = reply.body.is_empty() || self.info.grpc;
        self.send_head(head, empty, None, down);
        if !empty && self.head.method != http::Method::HEAD {
            self.info.bytes.sent += reply.body.len() as u64;
            down.push_frame(Frame::Data(reply.body));
        }
        if !empty {
            down.push_frame(Frame::End);
        }
        self.timer.set(Some(Instant::now() + std::time::Duration::from_secs(30)));
        self.flush(down).await
    }

    /// Waits until everything is sent.
    ///
    /// # Errors
    /// The client is gone, or does not read.
    pub async fn flush<D: Downstream>(&mut self, down: &mut D) -> Result<(), Failure> {
        poll_fn(|cx| {
            if let Poll::Ready(result) = down.poll_flush(cx) {
                return Poll::Ready(result);
            }
            self.timer.poll(cx).map(|()| Err(Failure::ClientClosed))
        })
        .await
    }

    /// Sends a response's head, with what filters, routes and the manager add to it.
    pub fn send_head<D: Downstream>(
        &mut self,
        mut head: ResponseHead,
        end: bool,
        upgrade: Option<&[u8]>,
        down: &mut D,
    ) {
        self.info.code = head.status;
        if self.matched.host.is_some() {
            egress::response_headers(self, &mut head);
            edits::response(&self.matched, &self.head, &mut head, &self.info);
        }
        for filter in self.connection.manager.filters.iter().rev() {
            match filter {
                HttpFilter::Extension(_, extension) => {
                    extension.on_response(&self.head, &mut head, &mut self.info);
                }
                HttpFilter::Cors(policy) => cors::response(self, policy, &mut head),
                HttpFilter::Fault(_)
                | HttpFilter::Rbac(..)
                | HttpFilter::Jwt(..)
                | HttpFilter::ExtAuthz(..) => {}
            }
        }
        for edit in &self.response_edits {
            edit.apply(&mut head.headers);
        }
        self.manager_headers(&mut head);
        if let (Some(trace), Some(tracing)) = (&mut self.trace, &self.connection.manager.tracing) {
            trace.respond(tracing, &mut head.headers);
        }
        self.info.timings.response_start = Some(self.info.elapsed());
        self.info.bytes.response_headers = head.headers.wire_len() as u64 + 17;
        down.push_head(&head, end, upgrade);
        self.response = Some(head);
    }

    fn manager_headers(&mut self, head: &mut ResponseHead) {
        let manager = &self.connection.manager;
        match manager.server_header {
            ServerHeader::Overwrite => head.headers.set("server", manager.server_name.clone()),
            ServerHeader::AppendIfAbsent if !head.headers.contains("server") => {
                head.headers.append("server", manager.server_name.clone());
            }
            ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
        }
        if !head.headers.contains("date") {
            head.headers.append("date", self.connection.worker.date(self.info.start_wall));
        }
        if let Some(via) = &manager.via {
            head.headers.append("via", via.clone());
        }
        if manager.request_id_in_response
            && let Some(id) = self.head.headers.get("x-request-id")
        {
            let id = Bytes::copy_from_slice(id);
            head.headers.set("x-request-id", id);
        }
    }

    /// Ends a request that failed: by a reply where nothing was sent yet, else by aborting the response.
    async fn fail<D: Downstream>(&mut self, failure: Failure, down: &mut D) {
        self.info.upstream.failure = failure.transport_reason().map(Into::into);
        let begun = self.response.is_some();
        if failure.source() == Source::Client || begun {
            self.info.flags.insert(failure.flag());
            self.info.details = Some(failure.late_details().into());
            if !begun && let Failure::ClientProtocol(_) = &failure {
                let reply = failure.reply(false);
                // The answer is a courtesy: a client that is gone already gets none.
                let _ = self.reply(reply, down).await;
            }
            down.abort();
            return;
        }
        let reply = failure.reply(self.info.upstream.attempts > 1);
        if self.reply(reply, down).await.is_err() {
            self.info.flags.insert(ResponseFlags::DC);
            down.abort();
        }
    }

    /// The request has ended: counts and logs it.
    fn complete(&mut self) {
        self.info.timings.end = Some(self.info.elapsed());
        if self.info.grpc && self.info.grpc_status.is_none() {
            let of = |headers: &Headers| headers.get_str("grpc-status").and_then(|text| text.parse().ok());
            self.info.grpc_status = self
                .trailers
                .as_ref()
                .and_then(of)
                .or_else(|| self.response.as_ref().and_then(|response| of(&response.headers)));
        }
        let stats = self.connection.stats();
        stats.downstream_rq_active.dec();
        stats.downstream_rq_completed.inc();
        stats.downstream_rq_time.record_time(self.info.timings.end.unwrap_or_default());
        match self.info.code {
            100..200 => stats.downstream_rq_1xx.inc(),
            200..300 => stats.downstream_rq_2xx.inc(),
            300..400 => stats.downstream_rq_3xx.inc(),
            400..500 => stats.downstream_rq_4xx.inc(),
            500.. => stats.downstream_rq_5xx.inc(),
            _ => {}
        }
        let context = LogContext {
            info: &self.info,
            request: Some(&self.head),
            response: self.response.as_ref(),
            trailers: self.trailers.as_ref(),
        };
        for log in &self.connection.manager.access_logs {
            log.log(&context);
        }
        if let (Some(trace), Some(tracing)) = (&self.trace, &self.connection.manager.tracing) {
            trace.finish(tracing, &context, &self.connection.worker);
        }
    }
}

/// A local reply to a gRPC request is a response of trailers alone.
fn grpc_reply(reply: &LocalReply, headers: &mut Headers) {
    headers.append_static("content-type", "application/grpc");
    let status = reply.grpc_status.unwrap_or_else(|| grpc_status_of(reply.status));
    headers.append("grpc-status", itoa::Buffer::new().format(status).to_owned());
    if !reply.body.is_empty() {
        let mut message = Vec::with_capacity(reply.body.len());
        for byte in &reply.body {
            match byte {
                b' '..=b'~' if *byte != b'%' => message.push(*byte),
                other => message.extend_from_slice(format!("%{other:02X}").as_bytes()),
            }
        }
        headers.append("grpc-message", message);
    }
}
