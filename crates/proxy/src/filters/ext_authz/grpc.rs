//! Asking a gRPC service: one unary call, framed here.

#![allow(deprecated, reason = "services still send the fields that Envoy calls deprecated")]

use super::MAX_ANSWER;
use super::verdict::{Allowed, Denied, HeaderEdit, TIMED_OUT, Verdict};
use crate::config::{AppendAction, GrpcAuthz};
use crate::convert::metadata::object;
use crate::error::Failure;
use crate::http::{Headers, RequestHead, Scheme};
use crate::upstream::call::{Answer, Call, call};
use crate::worker::Worker;
use bytes::{BufMut, Bytes, BytesMut};
use lateen_xds::pb::envoy::config::core::v3::HeaderValueOption;
use lateen_xds::pb::envoy::service::auth::v3::check_response::HttpResponse;
use lateen_xds::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use prost::Message;
use std::rc::Rc;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Asks, and reads the answer.
pub(super) async fn ask(worker: &Rc<Worker>, service: &GrpcAuthz, message: CheckRequest) -> Verdict {
    match response(worker, service, message).await {
        Ok(response) => verdict(response),
        Err(reason) => Verdict::Error(reason),
    }
}

/// One call.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn response(
    worker: &Worker,
    service: &GrpcAuthz,
    message: CheckRequest,
) -> Result<CheckResponse, &'static str> {
    let mut headers = Headers::new();
    headers.append_static("te", "trailers");
    headers.append_static("content-type", "application/grpc");
    headers.append("grpc-timeout", format!("{}m", service.timeout.as_millis().clamp(1, 99_999_999)));
    for (name, value) in &service.metadata {
        headers.append_own(name.clone(), value.clone());
    }
    let head = RequestHead {
        method: http::Method::POST,
        authority: service.authority.clone(),
        path: Bytes::from_static(PATH.as_bytes()),
        scheme: Scheme::Http,
        headers,
    };
    // gRPC over HTTP/2: a flag (not compressed), the length, the message.
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(length + 5);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).map_err(|_| "the request is too long")?);
    message.encode(&mut body).map_err(|_| "the request cannot be encoded")?;
    let asked =
        Call { head: &head, body: body.freeze(), http2: true, limit: service.timeout, most: MAX_ANSWER };
    let answer = call(worker, &service.cluster, asked).await.map_err(|failure| reason(&failure))?;
    decode(&answer)
}

/// Why there is no answer.
pub(super) fn reason(failure: &Failure) -> &'static str {
    match failure {
        Failure::Timeout | Failure::ConnectTimeout => TIMED_OUT,
        Failure::NoCluster(_) => "the service's cluster is not known",
        Failure::NoHealthyUpstream => "no endpoint of the service is healthy",
        _ => "the service could not be reached",
    }
}

fn decode(answer: &Answer) -> Result<CheckResponse, &'static str> {
    if answer.head.status != 200 {
        return Err("the service answered with an HTTP error");
    }
    let status = answer.trailers.as_ref().unwrap_or(&answer.head.headers).get("grpc-status");
    if status != Some(b"0") {
        return Err("the service answered with a gRPC error");
    }
    let (flag, rest) = answer.body.split_first().ok_or("the service answered with nothing")?;
    let (length, message) = rest.split_at_checked(4).ok_or("the service's answer is cut off")?;
    let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    if *flag != 0 || message.len() != length {
        return Err("the service's answer is framed wrongly");
    }
    CheckResponse::decode(message).map_err(|_| "the service's answer cannot be decoded")
}

/// Whether a response says yes.
pub(super) fn is_ok(response: &CheckResponse) -> bool {
    response.status.as_ref().is_none_or(|status| status.code == 0)
}

fn verdict(response: CheckResponse) -> Verdict {
    let ok = is_ok(&response);
    let metadata = response.dynamic_metadata.as_ref().map(object).unwrap_or_default();
    match response.http_response {
        Some(HttpResponse::OkResponse(answer)) if ok => {
            let mut allowed = allowed(answer);
            allowed.metadata.extend(metadata);
            Verdict::Ok(Box::new(allowed))
        }
        Some(HttpResponse::DeniedResponse(answer)) if !ok => {
            let mut denied = denied(answer);
            denied.metadata = metadata;
            Verdict::Denied(Box::new(denied))
        }
        _ if ok => Verdict::Ok(Box::new(Allowed { metadata, ..Allowed::default() })),
        _ => Verdict::Denied(Box::new(Denied {
            status: 403,
            headers: Vec::new(),
            body: Bytes::new(),
            metadata,
        })),
    }
}

/// An edit of a header. `append` is what the older field means where it says yes.
fn edit(option: HeaderValueOption, append: AppendAction) -> Option<HeaderEdit> {
    let header = option.header?;
    let value = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
    let action = match (option.append, option.append_action) {
        (Some(older), _) if older.value => append,
        (Some(_), _) | (None, 2) => AppendAction::OverwriteIfExistsOrAdd,
        (None, 1) => AppendAction::AddIfAbsent,
        (None, 3) => AppendAction::OverwriteIfExists,
        // As Envoy: what says nothing of appending replaces.
        (None, _) => AppendAction::OverwriteIfExistsOrAdd,
    };
    Some(HeaderEdit::new(&header.key, value, action))
}

fn allowed(answer: OkHttpResponse) -> Allowed {
    let append = AppendAction::AppendIfExistsOrAdd;
    let query = answer.query_parameters_to_set.into_iter();
    Allowed {
        headers: answer.headers.into_iter().filter_map(|option| edit(option, append)).collect(),
        remove: answer.headers_to_remove,
        set_query: query.map(|parameter| (parameter.key, parameter.value)).collect(),
        remove_query: answer.query_parameters_to_remove,
        response: answer
            .response_headers_to_add
            .into_iter()
            .filter_map(|option| edit(option, append))
            .collect(),
        metadata: answer.dynamic_metadata.as_ref().map(object).unwrap_or_default(),
    }
}

fn denied(answer: DeniedHttpResponse) -> Denied {
    let status = answer.status.and_then(|status| u16::try_from(status.code).ok());
    let append = AppendAction::AppendIfExistsOrAdd;
    Denied {
        status: status.filter(|status| (200..600).contains(status)).unwrap_or(403),
        headers: super::http_service::for_client(
            answer.headers.into_iter().filter_map(|option| edit(option, append)).collect(),
        ),
        body: answer.body.into(),
        metadata: serde_json::Map::new(),
    }
}
