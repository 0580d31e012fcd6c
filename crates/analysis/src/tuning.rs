//! EnvoyFilters and Telemetries that do not do what they say.

use lateen_api::mesh_config::providers::Provider;
use lateen_api::networking::envoy_filter::{ApplyTo, PatchOperation};
use lateen_api::telemetry::TagOperation;
use lateen_mesh::telemetry::{Condition, is_text};
use lateen_mesh::{EnvoyFilter, Kind, Mesh, Telemetry};
use lateen_xds::json::Pool;

use crate::finding::{Code, Finding, Severity, key};

pub(crate) fn check(mesh: &Mesh, findings: &mut Vec<Finding>) {
    if !mesh.envoy_filters.is_empty()
        && let Ok(pool) = Pool::load()
    {
        mesh.envoy_filters.all().for_each(|filter| patches(&pool, filter, findings));
    }
    for telemetry in mesh.telemetries.all() {
        logging(mesh, telemetry, findings);
        tags(telemetry, findings);
    }
}

fn patches(pool: &Pool, filter: &EnvoyFilter, findings: &mut Vec<Finding>) {
    for (at, patch) in filter.spec.config_patches.iter().enumerate() {
        let mut report = |field: &str, message: String, mend: &str| {
            findings.push(Finding::new(
                Code::SchemaValidationError,
                Severity::Error,
                key(Kind::EnvoyFilter, &filter.meta),
                format!("spec.configPatches[{at}].{field}"),
                message,
                mend,
            ));
        };
        let operation = patch.patch.as_ref().map(|change| change.operation);
        if patch.apply_to == ApplyTo::Bootstrap && operation.is_some_and(|o| o != PatchOperation::Merge) {
            report("patch.operation", "a bootstrap can only be merged with".to_owned(), "use MERGE");
            continue;
        }
        let Some(change) = patch.patch.as_ref().filter(|change| !change.value.is_empty()) else { continue };
        let Some(name) = EnvoyFilter::message_name(patch.apply_to) else { continue };
        let text = serde_json::to_string(&change.value).unwrap_or_default();
        if let Err(error) = pool.read_encoded(name, &text) {
            let message = format!("the value is no {name}, and the patch is left out: {error}");
            report("patch.value", message, "correct the field");
        }
    }
}

fn tags(telemetry: &Telemetry, findings: &mut Vec<Finding>) {
    for (at, entry) in telemetry.spec.metrics.iter().enumerate() {
        for (number, change) in entry.overrides.iter().enumerate() {
            let values = change.tag_overrides.iter().filter(|(_, tag)| tag.operation == TagOperation::Upsert);
            for (name, tag) in values.filter(|(_, tag)| !is_text(&tag.value)) {
                findings.push(Finding::new(
                    Code::SchemaValidationError,
                    Severity::Warning,
                    key(Kind::Telemetry, &telemetry.meta),
                    format!("spec.metrics[{at}].overrides[{number}].tagOverrides[{name}].value"),
                    format!("{:?} cannot be evaluated, and the label stays as it is", tag.value),
                    "use a quoted text, such as \"'core'\"",
                ));
            }
        }
    }
}

fn logging(mesh: &Mesh, telemetry: &Telemetry, findings: &mut Vec<Finding>) {
    for (at, entry) in telemetry.spec.access_logging.iter().enumerate() {
        let resource = || key(Kind::Telemetry, &telemetry.meta);
        for (number, provider) in entry.providers.iter().enumerate() {
            let known = mesh.settings.extension_providers.iter().find(|p| p.name == provider.name);
            let (message, mend) = match known.map(|p| &p.provider) {
                None => ("is no provider of the mesh", "add it to extensionProviders of MeshConfig"),
                Some(Some(Provider::FileAccessLog(_))) => continue,
                Some(_) => ("is a provider that does not log into a file", "use one of envoyFileAccessLog"),
            };
            findings.push(Finding::new(
                Code::ReferencedResourceNotFound,
                Severity::Error,
                resource(),
                format!("spec.accessLogging[{at}].providers[{number}].name"),
                format!("{:?} {message}; nothing is logged there", provider.name),
                mend,
            ));
        }
        let expression = entry.filter.as_ref().map(|f| f.expression.as_str()).unwrap_or_default();
        if !expression.is_empty() && Condition::parse(expression).is_none() {
            findings.push(Finding::new(
                Code::SchemaValidationError,
                Severity::Warning,
                resource(),
                format!("spec.accessLogging[{at}].filter.expression"),
                "Lateen's proxies cannot evaluate it and log everything; Envoys evaluate it".to_owned(),
                "use response.code, response.flags, request.method, request.path, request.host or \
                 request.headers['name'] with comparisons, startsWith, endsWith and contains",
            ));
        }
    }
}
