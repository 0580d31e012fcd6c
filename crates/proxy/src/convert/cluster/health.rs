//! Active health checks.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

use super::super::pb::{core, protobuf, types};
use super::super::{At, Converted, take, values};
use crate::config::{HealthCheck as Check, HttpProbe, Intervals, Probe};
use core::health_check as inner;

/// Envoy's default of `no_traffic_interval`.
const NO_TRAFFIC: Duration = Duration::from_secs(60);
/// Shortest time between two checks of an endpoint.
const SHORTEST: Duration = Duration::from_millis(1);

/// The one check of a cluster.
pub(super) fn read(checks: &[core::HealthCheck], at: &At<'_>) -> Converted<Option<Check>> {
    match checks {
        [] => Ok(None),
        [check] => check_of(check, &at.index(0)).map(Some),
        // As Envoy.
        _ => Err(at.error("a cluster takes one health check at most")),
    }
}

fn check_of(check: &core::HealthCheck, at: &At<'_>) -> Converted<Check> {
    use core::HealthCheck;
    take!(check, at, HealthCheck {
        timeout, interval, initial_jitter, interval_jitter, interval_jitter_percent, unhealthy_threshold,
        healthy_threshold, alt_port, no_traffic_interval, no_traffic_healthy_interval, unhealthy_interval,
        unhealthy_edge_interval, healthy_edge_interval, health_checker,
    } ignore {
        reuse_connection, event_log_path, event_logger, event_service, always_log_health_check_failures,
        always_log_health_check_success,
    } refuse { tls_options, transport_socket_match_criteria });
    let time = |value: &Option<protobuf::Duration>, name: &str, default: Option<Duration>| {
        let at = at.field(name);
        match values::optional_duration(value, &at)?.or(default) {
            None => Err(at.missing()),
            Some(time) if time < SHORTEST => Err(at.error("must be at least 1ms")),
            Some(time) => Ok(time),
        }
    };
    let jitter = |value, name: &str| -> Converted<Duration> {
        Ok(values::optional_duration(value, &at.field(name))?.unwrap_or_default())
    };
    let threshold = |value: &Option<protobuf::UInt32Value>, name: &str| {
        value.map(|value| value.value.max(1)).ok_or_else(|| at.field(name).missing())
    };
    let healthy = time(interval, "interval", None)?;
    let unhealthy = time(unhealthy_interval, "unhealthy_interval", Some(healthy))?;
    let no_traffic = time(no_traffic_interval, "no_traffic_interval", Some(NO_TRAFFIC))?;
    let intervals = Intervals {
        healthy,
        healthy_edge: time(healthy_edge_interval, "healthy_edge_interval", Some(healthy))?,
        unhealthy,
        unhealthy_edge: time(unhealthy_edge_interval, "unhealthy_edge_interval", Some(unhealthy))?,
        no_traffic,
        no_traffic_healthy: time(
            no_traffic_healthy_interval,
            "no_traffic_healthy_interval",
            Some(no_traffic),
        )?,
    };
    Ok(Check {
        timeout: time(timeout, "timeout", None)?,
        intervals,
        jitter: jitter(interval_jitter, "interval_jitter")?,
        jitter_percent: *interval_jitter_percent,
        initial_jitter: jitter(initial_jitter, "initial_jitter")?,
        unhealthy_threshold: threshold(unhealthy_threshold, "unhealthy_threshold")?,
        healthy_threshold: threshold(healthy_threshold, "healthy_threshold")?,
        port: alt_port.map(|port| values::port(port.value, &at.field("alt_port"))).transpose()?,
        probe: probe(health_checker, at)?,
    })
}

fn probe(checker: &Option<inner::HealthChecker>, at: &At<'_>) -> Converted<Probe> {
    use inner::{GrpcHealthCheck, HealthChecker, TcpHealthCheck};
    match checker {
        Some(HealthChecker::HttpHealthCheck(check)) => {
            http(check, &at.field("http_health_check")).map(|probe| Probe::Http(Box::new(probe)))
        }
        Some(HealthChecker::TcpHealthCheck(check)) => {
            let at = at.field("tcp_health_check");
            take!(check, at, TcpHealthCheck { send, receive } refuse { proxy_protocol_config });
            let field = at.field("receive");
            let receive = receive.iter().enumerate();
            let receive = receive.map(|(index, piece)| payload(piece, &field.index(index)));
            Ok(Probe::Tcp {
                send: match send {
                    Some(send) => payload(send, &at.field("send"))?,
                    None => Bytes::new(),
                },
                receive: receive.collect::<Converted<_>>()?,
            })
        }
        Some(HealthChecker::GrpcHealthCheck(check)) => {
            let at = at.field("grpc_health_check");
            take!(check, at, GrpcHealthCheck { service_name, authority, initial_metadata });
            Ok(Probe::Grpc {
                service: service_name.clone(),
                authority: some(authority),
                metadata: headers(initial_metadata, &at.field("initial_metadata"))?,
            })
        }
        Some(HealthChecker::CustomHealthCheck(custom)) => {
            Err(at.field("custom_health_check").unsupported(&custom.name))
        }
        None => Err(at.field("health_checker").missing()),
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn http(check: &inner::HttpHealthCheck, at: &At<'_>) -> Converted<HttpProbe> {
    use inner::HttpHealthCheck;
    take!(check, at, HttpHealthCheck {
        host, path, request_headers_to_add, expected_statuses, retriable_statuses, codec_client_type, method,
    } ignore { response_buffer_size } refuse {
        send, receive, request_headers_to_remove, service_name_matcher,
    });
    if !path.starts_with('/') {
        return Err(at.field("path").error(format!("{path:?} does not begin with /")));
    }
    let http2 = match types::CodecClientType::try_from(*codec_client_type) {
        Ok(types::CodecClientType::Http1) => false,
        Ok(types::CodecClientType::Http2) => true,
        _ => return Err(at.field("codec_client_type").unsupported("HTTP/3")),
    };
    let mut expected = ranges(expected_statuses, &at.field("expected_statuses"))?;
    if expected.is_empty() {
        expected.push(200..=200);
    }
    Ok(HttpProbe {
        http2,
        method: match core::RequestMethod::try_from(*method) {
            Ok(core::RequestMethod::MethodUnspecified) => http::Method::GET,
            Ok(core::RequestMethod::Connect) => return Err(at.field("method").unsupported("CONNECT")),
            Ok(method) => {
                method.as_str_name().parse().map_err(|_| at.field("method").unsupported(method as i32))?
            }
            Err(_) => return Err(at.field("method").unsupported(method)),
        },
        path: path.clone(),
        host: some(host),
        headers: headers(request_headers_to_add, &at.field("request_headers_to_add"))?,
        expected,
        retriable: ranges(retriable_statuses, &at.field("retriable_statuses"))?,
    })
}

fn ranges(ranges: &[types::Int64Range], at: &At<'_>) -> Converted<Vec<RangeInclusive<u16>>> {
    let range = |(index, range): (usize, &types::Int64Range)| match (range.start, range.end) {
        (start @ 100..600, end @ 101..=600) if start < end => Ok(start as u16..=(end - 1) as u16),
        (start, end) => Err(at.index(index).error(format!("[{start}, {end}) is no range of statuses"))),
    };
    ranges.iter().enumerate().map(range).collect()
}

/// Headers with constant values.
fn headers(options: &[core::HeaderValueOption], at: &At<'_>) -> Converted<Vec<(String, String)>> {
    let header = |(index, option): (usize, &core::HeaderValueOption)| {
        let at = at.index(index);
        let header = option.header.as_ref().ok_or_else(|| at.field("header").missing())?;
        let name = header.key.parse::<http::HeaderName>().map_err(|_| {
            at.field("header").field("key").error(format!("{:?} is no name of a header", header.key))
        })?;
        if header.value.contains('%') || http::HeaderValue::from_str(&header.value).is_err() {
            return Err(at
                .field("header")
                .field("value")
                .unsupported(format!("the value {:?}", header.value)));
        }
        Ok((name.as_str().to_owned(), header.value.clone()))
    };
    options.iter().enumerate().map(header).collect()
}

/// Bytes, given in hexadecimal or in base64.
fn payload(payload: &inner::Payload, at: &At<'_>) -> Converted<Bytes> {
    match &payload.payload {
        Some(inner::payload::Payload::Binary(bytes)) => Ok(Bytes::from(bytes.clone())),
        Some(inner::payload::Payload::Text(text)) => {
            let wrong = || at.field("text").error(format!("{text:?} is not hexadecimal"));
            let digits: Vec<u32> =
                text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>().ok_or_else(wrong)?;
            if !digits.len().is_multiple_of(2) || digits.is_empty() {
                return Err(wrong());
            }
            Ok(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
        }
        None => Err(at.field("text").missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::tests::cluster_of;

    const HTTP: &str = "{timeout: 1s, interval: 5s, unhealthy_threshold: 2, healthy_threshold: 1, \
                        http_health_check: {path: /ok, expected_statuses: [{start: 200, end: 300}]}}";

    fn check(yaml: &str) -> Result<Box<Check>, String> {
        cluster_of(&format!("{{name: c, load_assignment: {{cluster_name: c}}, health_checks: {yaml}}}"))
            .map(|cluster| cluster.health_check.unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_http_check_is_read_with_envoys_defaults() {
        let check = check(&format!("[{HTTP}]")).unwrap();
        let Probe::Http(probe) = &check.probe else { panic!("{check:?}") };
        assert_eq!((probe.path.as_str(), &probe.expected), ("/ok", &vec![200..=299]));
        assert_eq!(
            (check.intervals.unhealthy, check.intervals.no_traffic),
            (Duration::from_secs(5), NO_TRAFFIC)
        );
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(
            check(&format!("[{HTTP}, {HTTP}]")).unwrap_err(),
            "health_checks: a cluster takes one health check at most"
        );
        let of = |probe: &str| {
            let base = "timeout: 1s, interval: 5s, unhealthy_threshold: 2, healthy_threshold: 1";
            check(&format!("[{{{base}, {probe}}}]")).unwrap_err()
        };
        assert_eq!(
            of("http_health_check: {path: ok}"),
            "health_checks[0].http_health_check.path: \"ok\" does not begin with /"
        );
        assert_eq!(
            of("tcp_health_check: {send: {text: 0x}}"),
            "health_checks[0].tcp_health_check.send.text: \"0x\" is not hexadecimal"
        );
        assert!(
            check("[{timeout: 1s, tcp_health_check: {}}]").unwrap_err().contains("interval: is required")
        );
    }
}
