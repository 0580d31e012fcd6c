//! How requests are traced.

use std::collections::BTreeMap;

use lateen_api::mesh_config::providers::{ExtensionProvider, Provider, ZipkinProvider};
use lateen_api::mesh_config::tracing::{ProxyCustomTag, Tracer};
use lateen_api::telemetry::{CustomTag, TelemetrySpec};

use super::{Side, is_for};
use crate::Settings;

/// How requests are traced on one side.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Where spans are sent.
    pub provider: ExtensionProvider,
    /// The share of requests that are traced, in percent.
    pub sampling: f64,
    /// Tags to add to spans, by name.
    pub tags: BTreeMap<String, CustomTag>,
    /// The request id tells whether a request is traced.
    pub use_request_id: bool,
    /// Istio's own tags are added.
    pub istio_tags: bool,
    /// How many bytes of a path are kept where the provider does not say; 0: the proxy's default.
    pub max_path_tag_length: u32,
}

/// Istio's share of traced requests where nothing says otherwise (`PILOT_TRACE_SAMPLING`), in percent.
const SAMPLING: f64 = 1.0;

/// How requests are traced on one side; none where they are not.
///
/// Source: Istio, Telemetry `tracing`: the first entry for the side counts; what a more specific object says replaces
/// what a less specific one said, field by field. Where no provider is named, MeshConfig's `defaultProviders.tracing`
/// is, and at last the address of `defaultConfig.tracing` where `enableTracing` is set.
pub(super) fn effective(specs: &[&TelemetrySpec], settings: &Settings, side: Side) -> Option<Tracing> {
    let base = settings.proxy_tracing.as_ref();
    let mut provider = settings.default_tracing.first().map(|name| name.to_string());
    let sampling = base.map(|base| base.sampling).filter(|share| *share > 0.0).unwrap_or(SAMPLING);
    let mut tags: BTreeMap<String, CustomTag> = BTreeMap::new();
    for (name, tag) in base.iter().flat_map(|base| &base.custom_tags) {
        tags.insert(name.clone(), of_proxy_config(tag));
    }
    let (mut sampling, mut disabled) = (sampling, false);
    let (mut use_request_id, mut istio_tags) = (true, base.and_then(|b| b.enable_istio_tags).unwrap_or(true));
    for spec in specs {
        let Some(entry) = spec.tracing.iter().find(|entry| is_for(entry.r#match.as_ref(), side)) else {
            continue;
        };
        if let Some(named) = entry.providers.first() {
            provider = Some(named.name.clone());
        }
        if !entry.custom_tags.is_empty() {
            tags.clone_from(&entry.custom_tags);
        }
        sampling = entry.random_sampling_percentage.unwrap_or(sampling);
        disabled = entry.disable_span_reporting.unwrap_or(disabled);
        use_request_id = entry.use_request_id_for_trace_sampling.unwrap_or(use_request_id);
        istio_tags = entry.enable_istio_tags.unwrap_or(istio_tags);
    }
    if disabled {
        return None;
    }
    let provider = match provider {
        Some(name) => settings.provider(&name).filter(|provider| is_tracer(provider))?.clone(),
        None => of_address(settings)?,
    };
    let max_path_tag_length = base.map_or(0, |base| base.max_path_tag_length);
    Some(Tracing { provider, sampling, tags, use_request_id, istio_tags, max_path_tag_length })
}

fn is_tracer(provider: &ExtensionProvider) -> bool {
    matches!(
        provider.provider,
        Some(
            Provider::Zipkin(_) | Provider::OpenTelemetry(_) | Provider::Datadog(_) | Provider::SkyWalking(_)
        )
    )
}

/// The tracer of ProxyConfig, by its `host:port`.
fn of_address(settings: &Settings) -> Option<ExtensionProvider> {
    let tracer = settings.proxy_tracing.as_ref().filter(|_| settings.enable_tracing)?.tracer.as_ref()?;
    let Tracer::Zipkin(zipkin) = tracer else { return None };
    let (host, port) = zipkin.address.rsplit_once(':')?;
    let zipkin =
        ZipkinProvider { service: host.to_owned(), port: port.parse().ok()?, ..ZipkinProvider::default() };
    Some(ExtensionProvider { name: "zipkin".to_owned(), provider: Some(Provider::Zipkin(zipkin)) })
}

fn of_proxy_config(tag: &ProxyCustomTag) -> CustomTag {
    match tag {
        ProxyCustomTag::Unset => CustomTag::Unset,
        ProxyCustomTag::Literal(tag) => CustomTag::Literal(tag.clone()),
        ProxyCustomTag::Environment(tag) => CustomTag::Environment(tag.clone()),
        ProxyCustomTag::Header(tag) => CustomTag::Header(tag.clone()),
        ProxyCustomTag::Formatter(tag) => CustomTag::Formatter(tag.clone()),
    }
}

/// Host and port of the service that spans are sent to (`namespace/host` or `host`).
pub fn service(provider: &ExtensionProvider) -> Option<(&str, u16)> {
    let (service, port) = match provider.provider.as_ref()? {
        Provider::Zipkin(p) => (&p.service, p.port),
        Provider::OpenTelemetry(p) => (&p.service, p.port),
        Provider::Datadog(p) | Provider::SkyWalking(p) => (&p.service, p.port),
        _ => return None,
    };
    Some((service, u16::try_from(port).ok()?))
}
