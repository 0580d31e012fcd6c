//! Rules of Telemetry.

use super::{common, selection};
use crate::telemetry::{
    CustomTag, MetricMatch, Metrics, MetricsOverrides, ProviderRef, TagOperation, TelemetrySpec, Tracing,
};
use crate::wire::report::Report;

/// Reports every error of the spec.
pub fn validate(spec: &TelemetrySpec, report: &mut Report) {
    selection::validate(report, spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
    report.each("metrics", &spec.metrics, metrics);
    if spec.tracing.len() > 1 {
        report.warn_at("tracing", "multiple tracing is not supported; the first is used");
    }
    report.each("tracing", &spec.tracing, tracing);
    report.each("accessLogging", &spec.access_logging, |r, logging| {
        providers(r, &logging.providers);
        if logging.filter.as_ref().is_some_and(|filter| filter.expression.trim().is_empty()) {
            r.field("filter", |r| r.error_at("expression", "must not be empty"));
        }
    });
}

fn providers(report: &mut Report, providers: &[ProviderRef]) {
    report.each("providers", providers, |r, provider| {
        if provider.name.is_empty() {
            r.error_at("name", "providers.name may not be empty");
        }
    });
}

fn tracing(report: &mut Report, tracing: &Tracing) {
    if tracing.providers.len() > 1 {
        report.warn_at("providers", "multiple providers is not supported; the first is used");
    }
    providers(report, &tracing.providers);
    if tracing.random_sampling_percentage.is_some_and(|p| !(0.0..=100.0).contains(&p)) {
        report.error_at("randomSamplingPercentage", "must be in range [0.0, 100.0]");
    }
    report.field("customTags", |r| {
        for (name, tag) in &tracing.custom_tags {
            r.key(name, |r| {
                if name.is_empty() {
                    r.error("tag name may not be empty");
                }
                custom_tag(r, tag);
            });
        }
    });
}

fn custom_tag(report: &mut Report, tag: &CustomTag) {
    let (empty, field, what) = match tag {
        CustomTag::Unset => return report.error("must have literal, environment, header or formatter"),
        CustomTag::Literal(tag) => (tag.value.is_empty(), "literal", "value"),
        CustomTag::Formatter(tag) => (tag.value.is_empty(), "formatter", "value"),
        CustomTag::Environment(tag) => (tag.name.is_empty(), "environment", "name"),
        CustomTag::Header(tag) => (tag.name.is_empty(), "header", "name"),
    };
    if empty {
        report.field(field, |r| r.error_at(what, format!("{field} tag {what} may not be empty")));
    }
}

fn metrics(report: &mut Report, metrics: &Metrics) {
    providers(report, &metrics.providers);
    common::duration_at(report, "reportingInterval", metrics.reporting_interval);
    report.each("overrides", &metrics.overrides, overrides);
}

fn overrides(report: &mut Report, overrides: &MetricsOverrides) {
    report.field("tagOverrides", |r| {
        for (name, change) in &overrides.tag_overrides {
            r.key(name, |r| match change.operation {
                TagOperation::Upsert if change.value.is_empty() => {
                    r.error_at("value", "must be set when operation is UPSERT");
                }
                TagOperation::Remove if !change.value.is_empty() => {
                    r.error_at("value", "may only be set when operation is UPSERT");
                }
                _ => {}
            });
        }
    });
    if let Some(selector) = &overrides.r#match
        && matches!(&selector.metric_match, Some(MetricMatch::CustomMetric(name)) if name.is_empty())
    {
        report.field("match", |r| r.error_at("customMetric", "customMetric may not be empty"));
    }
}
