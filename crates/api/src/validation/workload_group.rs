//! Rules of WorkloadGroup and ProxyConfig.

use super::common::{labels, not_negative, port};
use super::{headers, selection};
use crate::networking::proxy_config::ProxyConfigSpec;
use crate::networking::workload_group::{
    HealthCheckMethod, HttpHealthCheck, ReadinessProbe, WorkloadGroupSpec,
};
use crate::wire::report::Report;

/// Reports every error of a WorkloadGroup's spec.
pub fn validate(spec: &WorkloadGroupSpec, report: &mut Report) {
    if spec.template.is_none() {
        report.error_at("template", "template is required");
    }
    if let Some(metadata) = &spec.metadata {
        report.field("metadata", |r| labels(r, "labels", &metadata.labels));
    }
    if let Some(template) = &spec.template {
        report.field("template", |r| labels(r, "labels", &template.labels));
    }
    if let Some(check) = &spec.probe {
        report.field("probe", |r| probe(r, check));
    }
}

/// Reports every error of a ProxyConfig's spec.
pub fn proxy_config(spec: &ProxyConfigSpec, report: &mut Report) {
    selection::selector(report, spec.selector.as_ref());
    not_negative(report, "concurrency", spec.concurrency.unwrap_or(0));
    if let Some(image) = &spec.image
        && !matches!(image.image_type.as_str(), "" | "default" | "debug" | "distroless")
    {
        report.field("image", |r| {
            r.warn_at("imageType", format!("{:?} is no type of Istio's images", image.image_type))
        });
    }
}

fn probe(report: &mut Report, probe: &ReadinessProbe) {
    not_negative(report, "periodSeconds", probe.period_seconds);
    not_negative(report, "initialDelaySeconds", probe.initial_delay_seconds);
    not_negative(report, "timeoutSeconds", probe.timeout_seconds);
    not_negative(report, "successThreshold", probe.success_threshold);
    not_negative(report, "failureThreshold", probe.failure_threshold);
    match &probe.health_check_method {
        Some(HealthCheckMethod::HttpGet(get)) => report.field("httpGet", |r| http_get(r, get)),
        Some(HealthCheckMethod::TcpSocket(to)) => {
            report.field("tcpSocket", |r| r.check_at("port", port(to.port)))
        }
        Some(HealthCheckMethod::Grpc(to)) => report.field("grpc", |r| r.check_at("port", port(to.port))),
        Some(HealthCheckMethod::Exec(exec)) if exec.command.is_empty() => {
            report.field("exec", |r| r.error_at("command", "command is required"));
        }
        Some(HealthCheckMethod::Exec(_)) => {}
        None => report.error("probe must have httpGet, tcpSocket, exec or grpc"),
    }
}

fn http_get(report: &mut Report, get: &HttpHealthCheck) {
    report.check_at("port", port(get.port));
    if !matches!(get.scheme.as_str(), "" | "HTTP" | "HTTPS") {
        report.error_at("scheme", format!("must be HTTP or HTTPS, not {:?}", get.scheme));
    }
    report
        .each("httpHeaders", &get.http_headers, |r, header| r.check_at("name", headers::name(&header.name)));
}
