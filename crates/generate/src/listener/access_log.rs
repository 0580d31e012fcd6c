//! The access log, in the format that MeshConfig or a Telemetry asks for.

use lateen_mesh::Settings;
use lateen_mesh::telemetry::{self, LogFormat};
use lateen_xds::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use lateen_xds::pb::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source, substitution_format_string,
};
use lateen_xds::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use lateen_xds::pb::google::protobuf::value::Kind;
use lateen_xds::pb::google::protobuf::{ListValue, Struct, Value};

use super::log_filter;
use crate::proto::any;
use crate::proxy::Flavour;

/// Istio's default text format.
const TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% \
    %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// Istio's default JSON format: key and operator.
const JSON: [(&str, &str); 23] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
];

/// The access loggers of a listener's filters: one for each file that MeshConfig or a Telemetry names.
pub(crate) fn of(settings: &Settings, flavour: Flavour) -> Vec<AccessLog> {
    settings.observed.logs.iter().map(|log| logger(log, flavour)).collect()
}

/// The access loggers of a listener itself, as Istio has them: for connections that no filter chain takes, of which no
/// filter could tell.
pub(crate) fn of_refused(settings: &Settings, flavour: Flavour) -> Vec<AccessLog> {
    let refused = || log_filter::flagged("NR");
    let mut logs = of(settings, flavour);
    for log in &mut logs {
        log.filter = Some(match log.filter.take() {
            Some(filter) => log_filter::both(refused(), filter),
            None => refused(),
        });
    }
    logs
}

fn logger(log: &telemetry::AccessLog, flavour: Flavour) -> AccessLog {
    let text = |text: &str| {
        substitution_format_string::Format::TextFormatSource(DataSource {
            specifier: Some(data_source::Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        })
    };
    let format = match &log.format {
        LogFormat::Text => text(TEXT),
        LogFormat::CustomText(custom) => text(custom),
        LogFormat::Json => substitution_format_string::Format::JsonFormat(json(None)),
        LogFormat::CustomJson(custom) => substitution_format_string::Format::JsonFormat(json(Some(custom))),
    };
    let file = FileAccessLog {
        path: log.path.to_string(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(SubstitutionFormatString {
            format: Some(format),
            omit_empty_values: log.omit_empty,
            ..SubstitutionFormatString::default()
        })),
    };
    AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: log.expression.as_deref().and_then(|expression| log_filter::of(expression, flavour)),
        config_type: any(&file).map(access_log::ConfigType::TypedConfig),
    }
}

/// The custom JSON format where it is a JSON object, else Istio's.
fn json(custom: Option<&str>) -> Struct {
    let custom =
        custom.and_then(|c| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(c).ok());
    let fields = match custom {
        Some(custom) => custom.into_iter().map(|(key, given)| (key, value(given))).collect(),
        None => JSON.iter().map(|(key, text)| ((*key).to_owned(), value((*text).into()))).collect(),
    };
    Struct { fields }
}

fn value(given: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match given {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.into_iter().map(value).collect() }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(key, given)| (key, value(given))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}
