use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use lateen_xds::pb::google::protobuf::value::Kind;
use lateen_xds::pb::google::protobuf::{Struct, Value};

use super::{Format, JsonFormat};
use crate::config::{Cluster, Route, TrafficDirection};
use crate::http::{Headers, RequestHead, ResponseHead, Scheme};
use crate::request_info::{ConnectionInfo, LogContext, Protocol, RequestInfo, ResponseFlags};

/// Istio's default format (istio.io, "Envoy Access Logs").
const ISTIO: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
    %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

pub(crate) fn info() -> RequestInfo {
    let address = |text: &str| text.parse().unwrap();
    let connection = ConnectionInfo {
        id: 7,
        worker: 0,
        listener: "l".into(),
        direction: TrafficDirection::Outbound,
        filter_chain: "".into(),
        local: address("10.0.0.9:9080"),
        socket_local: address("10.0.0.9:9080"),
        source: None,
        remote: address("10.0.0.1:40000"),
        direct_remote: address("10.0.0.1:40000"),
        server_name: None,
        tls: None,
        transport_failure: None,
        start: std::time::Instant::now(),
        start_wall: UNIX_EPOCH,
    };
    let mut info = RequestInfo::new(Arc::new(connection), Some(Protocol::Http11));
    info.start_wall = UNIX_EPOCH + Duration::from_millis(1_769_860_800_123);
    info.code = 200;
    info.details = Some("via_upstream".into());
    info.bytes.sent = 5183;
    info.timings.end = Some(Duration::from_micros(12_900));
    info.upstream.host = Some(address("10.0.0.2:9080"));
    info.upstream.local = Some(address("10.0.0.1:50000"));
    let cluster = Cluster::fixed("outbound|9080||reviews.default.svc.cluster.local", []);
    info.upstream.cluster = Some(Arc::new(cluster));
    info.route = Some(Arc::new(Route { name: "default".into(), ..Route::default() }));
    info
}

pub(crate) fn request() -> RequestHead {
    let mut headers = Headers::new();
    headers.append_static("user-agent", "curl/8");
    headers.append_static("x-request-id", "id-1");
    RequestHead {
        method: http::Method::GET,
        authority: Bytes::from_static(b"reviews:9080"),
        path: Bytes::from_static(b"/reviews/0?a=b"),
        scheme: Scheme::Http,
        headers,
    }
}

fn text(format: &str, info: &RequestInfo, missing: &[u8]) -> String {
    let (request, mut headers) = (request(), Headers::new());
    headers.append_static("x-envoy-upstream-service-time", "11");
    let response = ResponseHead { status: 200, headers };
    let context = LogContext { info, request: Some(&request), response: Some(&response), trailers: None };
    let mut out = Vec::new();
    Format::parse(format).unwrap().render(&context, missing, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn istios_default_line_is_written_byte_for_byte() {
    assert_eq!(
        text(ISTIO, &info(), b"-"),
        "[2026-01-31T12:00:00.123Z] \"GET /reviews/0?a=b HTTP/1.1\" 200 - via_upstream - \"-\" 0 5183 12 11 \"-\" \
         \"curl/8\" \"id-1\" \"reviews:9080\" \"10.0.0.2:9080\" outbound|9080||reviews.default.svc.cluster.local \
         10.0.0.1:50000 10.0.0.9:9080 10.0.0.1:40000 - default\n"
    );
}

#[test]
fn flags_and_lengths_and_percent_signs() {
    let mut info = info();
    info.flags.insert(ResponseFlags::UF);
    info.flags.insert(ResponseFlags::URX);
    assert_eq!(text("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", &info, b"-").split(' ').next(), Some("UF,URX"));
    assert_eq!(text("100%% %REQ(USER-AGENT):4%|%REQ(NONE?USER-AGENT)%", &info, b"-"), "100% curl|curl/8");
    assert_eq!(text("%REQ_WITHOUT_QUERY(:PATH)%", &info, b"-"), "/reviews/0");
    assert_eq!(text("a%REQ(NONE)%b", &info, b""), "ab");
}

#[test]
fn metadata_are_told_by_their_path() {
    let mut info = info();
    info.metadata.set(&"jwt".into(), "payload", serde_json::json!({"sub": "alice", "groups": ["a", "b"]}));
    assert_eq!(text("%DYNAMIC_METADATA(jwt:payload:sub)%", &info, b"-"), "alice");
    assert_eq!(text("%DYNAMIC_METADATA(jwt:payload:groups)%", &info, b"-"), r#"["a","b"]"#);
    assert_eq!(text("%DYNAMIC_METADATA(jwt:other)%", &info, b"-"), "-");
    assert_eq!(text("%DYNAMIC_METADATA(rbac)%", &info, b"-"), "-");
}

#[test]
fn times_follow_their_format() {
    let format = "%START_TIME(%Y/%m/%d %H:%M:%S.%3f %s %j %a %b)%";
    assert_eq!(text(format, &info(), b"-"), "2026/01/31 12:00:00.123 1769860800 031 Sat Jan");
}

#[test]
fn malformed_formats_say_what_is_wrong() {
    let error = |text: &str| Format::parse(text).unwrap_err();
    assert_eq!(error("%NO_SUCH%"), "the operator `%NO_SUCH%` is not known");
    assert_eq!(error("%REQ(x"), "the argument of `%REQ` is not closed by `)`");
    assert_eq!(error("%PROTOCOL"), "`%PROTOCOL` is not closed by `%`");
    assert_eq!(error("%REQ(A):x%"), "`:x` of `%REQ` is not a length");
    assert_eq!(error("%REQ%"), "the operator `%REQ%` needs a header's name");
}

#[test]
fn json_keeps_numbers_and_knows_null() {
    let string = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = [
        ("code", string("%RESPONSE_CODE%")),
        ("agent", string("%REQ(USER-AGENT)%")),
        ("none", string("%REQ(NONE)%")),
        ("mixed", string("<%REQ(NONE)%\">")),
    ];
    let fields = Struct { fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect() };
    let (info, request) = (info(), request());
    let context = LogContext { info: &info, request: Some(&request), response: None, trailers: None };
    let render = |omit| {
        let mut out = Vec::new();
        JsonFormat::parse(&fields, omit).unwrap().render(&context, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(render(false), "{\"agent\":\"curl/8\",\"code\":200,\"mixed\":\"<-\\\">\",\"none\":null}\n");
    assert_eq!(render(true), "{\"agent\":\"curl/8\",\"code\":200,\"mixed\":\"<\\\">\"}\n");
}
