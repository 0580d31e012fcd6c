//! Access loggers.

use std::sync::Arc;

use lateen_xds::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use lateen_xds::pb::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use prost::Name as _;

use super::pb::{core, log};
use super::{At, Context, Converted, any, route, take, values};
use crate::access_log::{Comparison, FileLog, Filter, Line};
use crate::format::{Format, JsonFormat};
use crate::request_info::{AccessLog as Logger, ResponseFlags};

/// Envoy's default format.
const ENVOY_DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
    \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// Reads access loggers.
pub(super) fn read_all(
    list: &[log::AccessLog],
    context: &Context,
    at: &At<'_>,
) -> Converted<Vec<Arc<dyn Logger>>> {
    list.iter().enumerate().map(|(index, logger)| read(logger, context, &at.index(index))).collect()
}

fn read(message: &log::AccessLog, context: &Context, at: &At<'_>) -> Converted<Arc<dyn Logger>> {
    use log::AccessLog;
    use log::access_log::ConfigType;
    take!(message, at, AccessLog { filter, config_type } ignore { name });
    let filter = match filter {
        Some(filter) => Some(read_filter(filter, &at.field("filter"))?),
        None => None,
    };
    let Some(ConfigType::TypedConfig(config)) = config_type else {
        return Err(at.field("typed_config").missing());
    };
    let at = at.field("typed_config");
    let (path, line) = match any::name(config) {
        kind if kind == FileAccessLog::full_name() => {
            let file: FileAccessLog = any::decode(config, &at)?;
            take!(&file, at, FileAccessLog { path, access_log_format });
            (path.clone(), file_format(access_log_format, &at)?)
        }
        kind if kind == StdoutAccessLog::full_name() => {
            let stream: StdoutAccessLog = any::decode(config, &at)?;
            let format = stream.access_log_format.as_ref();
            let format = format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
            ("/dev/stdout".to_owned(), substitution(format, &at)?)
        }
        kind if kind == StderrAccessLog::full_name() => {
            let stream: StderrAccessLog = any::decode(config, &at)?;
            let format = stream.access_log_format.as_ref();
            let format = format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
            ("/dev/stderr".to_owned(), substitution(format, &at)?)
        }
        kind => return Err(at.unsupported(format!("the access logger {kind}"))),
    };
    let sink =
        context.sinks.open(&path).map_err(|error| at.field("path").error(format!("{path}: {error}")))?;
    Ok(Arc::new(FileLog::new(line, filter, sink)))
}

fn text(format: &str, at: &At<'_>) -> Converted<Line> {
    Format::parse(format).map(Line::Text).map_err(|reason| at.error(reason))
}

fn json(format: &super::pb::protobuf::Struct, omit_empty: bool, at: &At<'_>) -> Converted<Line> {
    JsonFormat::parse(format, omit_empty).map(Line::Json).map_err(|reason| at.error(reason))
}

fn file_format(format: &Option<file_access_log::AccessLogFormat>, at: &At<'_>) -> Converted<Line> {
    use file_access_log::AccessLogFormat;
    match format {
        None => text(ENVOY_DEFAULT, at),
        Some(AccessLogFormat::Format(format)) if format.is_empty() => text(ENVOY_DEFAULT, at),
        Some(AccessLogFormat::Format(format)) => text(format, &at.field("format")),
        Some(AccessLogFormat::JsonFormat(format)) => json(format, false, &at.field("json_format")),
        Some(AccessLogFormat::TypedJsonFormat(format)) => json(format, false, &at.field("typed_json_format")),
        Some(AccessLogFormat::LogFormat(format)) => substitution(Some(format), at),
    }
}

fn substitution(format: Option<&core::SubstitutionFormatString>, at: &At<'_>) -> Converted<Line> {
    use core::SubstitutionFormatString;
    use core::substitution_format_string::Format as Kind;
    let Some(format) = format else { return text(ENVOY_DEFAULT, at) };
    let at = &at.field("log_format");
    take!(format, at, SubstitutionFormatString { omit_empty_values, formatters, format } ignore {
        content_type, json_format_options,
    });
    // Operators of these extensions are known without them.
    let known = |name: &str| ["req_without_query", "metadata"].iter().any(|known| name.ends_with(known));
    if let Some(formatter) = formatters.iter().find(|formatter| !known(&formatter.name)) {
        return Err(at.field("formatters").unsupported(&formatter.name));
    }
    match format {
        Some(Kind::TextFormat(format)) => text(format, &at.field("text_format")),
        Some(Kind::JsonFormat(format)) => json(format, *omit_empty_values, &at.field("json_format")),
        Some(Kind::TextFormatSource(source)) => {
            let at = at.field("text_format_source");
            let bytes = values::data_source(source, &at)?;
            let format = String::from_utf8(bytes).map_err(|_| at.error("is not text"))?;
            text(&format, &at)
        }
        None => text(ENVOY_DEFAULT, at),
    }
}

fn read_filter(filter: &log::AccessLogFilter, at: &At<'_>) -> Converted<Filter> {
    use log::access_log_filter::FilterSpecifier;
    Ok(match filter.filter_specifier.as_ref().ok_or_else(|| at.missing())? {
        FilterSpecifier::StatusCodeFilter(filter) => {
            let (op, value) = comparison(&filter.comparison, &at.field("status_code_filter"))?;
            Filter::Status(op, value)
        }
        FilterSpecifier::DurationFilter(filter) => {
            let (op, value) = comparison(&filter.comparison, &at.field("duration_filter"))?;
            Filter::Duration(op, value)
        }
        FilterSpecifier::ResponseFlagFilter(filter) => {
            let mut flags = ResponseFlags::default();
            for name in &filter.flags {
                match ResponseFlags::ALL.iter().find(|(_, short, _)| short == name) {
                    Some((flag, ..)) => flags.insert(*flag),
                    None => return Err(at.field("response_flag_filter").unsupported(name)),
                }
            }
            Filter::Flags(flags)
        }
        FilterSpecifier::HeaderFilter(filter) => {
            let header = filter.header.clone().into_iter().collect::<Vec<_>>();
            Filter::Header(route::header_matchers(&header, &at.field("header_filter"))?)
        }
        FilterSpecifier::NotHealthCheckFilter(_) => Filter::All(Vec::new()),
        FilterSpecifier::AndFilter(and) => {
            let field = at.field("and_filter");
            let inner = and.filters.iter().enumerate().map(|(i, inner)| read_filter(inner, &field.index(i)));
            Filter::All(inner.collect::<Result<_, _>>()?)
        }
        FilterSpecifier::OrFilter(or) => {
            let field = at.field("or_filter");
            let inner = or.filters.iter().enumerate().map(|(i, inner)| read_filter(inner, &field.index(i)));
            Filter::Any(inner.collect::<Result<_, _>>()?)
        }
        _ => return Err(at.unsupported("this kind of filter")),
    })
}

fn comparison(message: &Option<log::ComparisonFilter>, at: &At<'_>) -> Converted<(Comparison, u64)> {
    use log::comparison_filter::Op;
    let message = message.as_ref().ok_or_else(|| at.field("comparison").missing())?;
    let op = match Op::try_from(message.op) {
        Ok(Op::Eq) => Comparison::Equal,
        Ok(Op::Ge) => Comparison::AtLeast,
        Ok(Op::Le) => Comparison::AtMost,
        Ok(Op::Ne) => Comparison::Not,
        Err(_) => return Err(at.field("op").unsupported(message.op)),
    };
    Ok((op, message.value.as_ref().map_or(0, |value| value.default_value.into())))
}
