//! EnvoyFilters and Telemetries that do not do what they say.

use lateen_api::mesh_config::providers::Provider;
use lateen_api::networking::envoy_filter::ApplyTo;
use lateen_mesh::telemetry::Condition;
use lateen_mesh::{EnvoyFilter, Kind, Mesh, Telemetry};
use lateen_xds::json::Pool;

use crate::finding::{Code, Finding, Severity, key};

pub(crate) fn check(mesh: &Mesh, findings: &mut Vec<Finding>) {
    if !mesh.envoy_filters.is_empty()
        && let Ok(pool) = Pool::load()
    {
        mesh.envoy_filters.all().for_each(|filter| patches(&pool, filter, findings));
    }
    mesh.telemetries.all().for_each(|telemetry| logging(mesh, telemetry, findings));
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
        if patch.apply_to == ApplyTo::Bootstrap {
            let mend = "use the pod's annotation sidecar.istio.io/bootstrapOverride";
            report("applyTo", "BOOTSTRAP is not applied: proxies have started by then".to_owned(), mend);
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
